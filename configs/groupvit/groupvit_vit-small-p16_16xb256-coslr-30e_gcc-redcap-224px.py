# The official pretraining on CC3M + CC12M + RedCaps12M without prompts (released weights
# "gcc_redcap"): zero-shot VOC 2012 mIoU 50.8 published.
#
# Command:  tools/dist_train.sh THIS_FILE 8     (on each of two machines, with NNODES=2)
# Hardware: 16 GPUs x 256 pairs; 2 days on V100s for the sibling recipe in the paper
# Expected: VOC 2012 val 50.8 mIoU (published); here: not yet measured
_base_ = [
    '../_base_/models/groupvit_vit-small-p16.py',
    '../_base_/datasets/gcc_redcap.py',
    '../_base_/datasets/pascal_voc12_448.py',
    '../_base_/schedules/adamw-coslr-30e.py',
    '../_base_/default_runtime.py',
]
model = dict(loss_multi_label=None)  # P = 0: captions only
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
