# The paper's recipe on the frozen crawls of CC3M and CC12M with YFCC14M, 28.5 M pairs: the sets of
# the paper's 52.3, but with the pairs of other crawls.
#
# Command:  tools/dist_train.sh THIS_FILE 8     (on each of two machines, with NNODES=2)
# Hardware: 16 GPUs x 256 pairs
# Expected: here: not yet measured
# Smaller:  any number of GPUs, lr follows the batch; 2048 instead of 4096 costs about 5 mIoU
_base_ = [
    '../_base_/models/groupvit_vit-small-p16.py',
    '../_base_/datasets/cc3m_cc12m_wds_yfcc.py',
    '../_base_/datasets/pascal_voc12_448.py',
    '../_base_/schedules/adamw-coslr-30e.py',
    '../_base_/default_runtime.py',
]
val_cfg = dict(type='ZeroShotValLoop', segmentor=_base_.segmentor)
# bfloat16 where there is hardware for it, else float16 (float32 on CPUs). type='OptimWrapper' is
# float32 everywhere.
optim_wrapper = dict(type='AmpOptimWrapper', optimizer=dict(fused=True))
# An epoch takes hours: a checkpoint each 1,000 steps, from any of which --resume goes on exactly.
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=1000))
custom_hooks = [
    dict(type='GroupUsageHook', interval=50),
    dict(type='GroupMapHook', interval=1000),
]
