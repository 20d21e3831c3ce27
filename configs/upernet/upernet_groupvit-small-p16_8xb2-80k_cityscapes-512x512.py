# UPerNet on GroupViT, Cityscapes, 80,000 steps of 16 crops of 512 px.
#
# Command:  tools/dist_train.sh \
#             configs/upernet/upernet_groupvit-small-p16_8xb2-80k_cityscapes-512x512.py 8
# Weights:  see checkpoint in configs/_base_/models/groupvit-small-p16_levels.py
# Hardware: 8 GPUs; not yet timed
# Expected: not yet measured
_base_ = [
    '../_base_/models/upernet_groupvit-small-p16.py',
    '../_base_/datasets/cityscapes_512.py',
    '../_base_/schedules/adamw-poly-80k.py',
    '../_base_/iter_runtime.py',
]
model = dict(
    decode_head=dict(num_classes=_base_.num_classes),
    auxiliary_head=dict(num_classes=_base_.num_classes),
)
