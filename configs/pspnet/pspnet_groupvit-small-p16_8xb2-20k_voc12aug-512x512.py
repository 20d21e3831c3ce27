# PSPNet on GroupViT, VOC 2012 with SBD, 20,000 steps of 16 crops of 512 px.
#
# Command:  tools/dist_train.sh \
#             configs/pspnet/pspnet_groupvit-small-p16_8xb2-20k_voc12aug-512x512.py 8
# Weights:  see checkpoint in configs/_base_/models/groupvit-small-p16_levels.py
# Hardware: 8 GPUs; not yet timed
# Expected: not yet measured
_base_ = [
    '../_base_/models/pspnet_groupvit-small-p16.py',
    '../_base_/datasets/pascal_voc12_aug_512.py',
    '../_base_/schedules/adamw-poly-20k.py',
    '../_base_/iter_runtime.py',
]
model = dict(
    decode_head=dict(num_classes=_base_.num_classes),
    auxiliary_head=dict(num_classes=_base_.num_classes),
)
