# The paper's supervised transfer: a 1x1 convolution on GroupViT, everything learns; VOC 2012.
#
# Command:  python tools/train.py configs/fcn/fcn_groupvit-small-p16_1xb16-4k_voc12-512x512.py
# Weights:  see checkpoint in configs/_base_/models/groupvit-small-p16_levels.py
# Hardware: one GPU; not yet timed
# Expected: not yet measured
_base_ = [
    '../_base_/models/fcn_groupvit-small-p16.py',
    '../_base_/datasets/pascal_voc12_512.py',
    '../_base_/schedules/adamw-poly-4k.py',
    '../_base_/iter_runtime.py',
]
model = dict(decode_head=dict(num_classes=_base_.num_classes))
train_dataloader = dict(batch_size=16)
