# The grid of benchmarks/cifar100: all methods, then IE-KD's ablations; several processes may run it at once.
C="tutelage compare cifar100 --teachers benchmarks/cifar100/teachers/wrn_16_2.safetensors --students zoo:resnet8
   --train-size 10000 --batch-size 64 --epochs 10 --engine.validate-every 10 --engine.precision bf16
   --engine.accelerator cpu --out runs/cifar100 --seeds 1"
for s in 0 1 2; do
  $C --first-seed $s --cache on --methods ce kd kd:task_weight=1,weight=4 dml iedml:warmup_epochs=0.5
  $C --first-seed $s --methods at ft ofd iekd iekd:form=at iekd:form=od iekd+kd
  $C --first-seed $s --cache on --methods ickd:warmup_epochs=1 ckd refilled refilled:stages=classifier dkd:warmup_epochs=0.8 dist \
     logit_mse rkd crd cc pkt tuple_matching label_smoothing tf_kd cs_kd one
  $C --first-seed $s --methods fitnet sp vid nst ab fsp fsp:weight=1 review_kd:warmup_epochs=0.8
  $C --first-seed $s --methods iekd:explore=0 iekd:inherit=0 iekd:inherit=500 iekd:ratio=0.25 iekd:ratio=0.75 iekd:distance=l2 \
     iekd:distance=cosine,explore=1,inherit=1 iekd:explore=10,inherit=10 iekd:explore=200,inherit=200
done
