# Segmenter on GroupViT, ADE20K, 160,000 steps of 16 crops of 512 px.
#
# Command:  tools/dist_train.sh \
#             configs/segmenter/segmenter_groupvit-small-p16_8xb2-160k_ade20k-512x512.py 8
# Weights:  see checkpoint in configs/_base_/models/groupvit-small-p16_levels.py
# Hardware: 8 GPUs; not yet timed
# Expected: not yet measured
_base_ = [
    '../_base_/models/segmenter_groupvit-small-p16.py',
    '../_base_/datasets/ade20k_512.py',
    '../_base_/schedules/adamw-poly-160k.py',
    '../_base_/iter_runtime.py',
]
model = dict(decode_head=dict(num_classes=_base_.num_classes))
