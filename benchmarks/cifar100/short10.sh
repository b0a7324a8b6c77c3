# The longer training of benchmarks/cifar100: does it rank methods as the literature does? Several processes may run it at once.
C="tutelage compare cifar100 --recipe short --epochs 10 --teachers benchmarks/cifar100/teachers/wrn_16_2.safetensors
   --students zoo:resnet8 --engine.validate-every 5 --engine.accelerator cpu --out runs/short10 --seeds 1"
$C --cache on --methods ce kd crd pkt rkd cc
$C --methods fitnet at sp nst vid ft ab fsp
