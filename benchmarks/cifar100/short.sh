# Longer trainings of benchmarks/cifar100: do they rank methods as the literature does? Several processes may run it at once.
# bash benchmarks/cifar100/short.sh EPOCHS
C="tutelage compare cifar100 --recipe short --epochs $1 --teachers benchmarks/cifar100/teachers/wrn_16_2.safetensors
   --students zoo:resnet8 --engine.validate-every 5 --engine.accelerator cpu --out runs/short$1 --seeds 1"
$C --cache on --methods ce kd pkt rkd cc
$C --methods fitnet ft ab sp at vid
$C --cache on --methods crd
$C --methods nst fsp
