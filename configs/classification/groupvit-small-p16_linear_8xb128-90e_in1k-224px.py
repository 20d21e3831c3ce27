# Linear probe of GroupViT on ImageNet-1k with MMPretrain: the backbone is frozen.
#
# Command:  tools/dist_train.sh \
#             configs/classification/groupvit-small-p16_linear_8xb128-90e_in1k-224px.py 8
# Weights:  see checkpoint in configs/_base_/models/classifier_groupvit-small-p16.py
# Hardware: 8 GPUs; not yet timed
# Expected: 69.8 top-1 with the GCC+YFCC weights (published, of the paper's own schedule; not yet
#           measured here)
_base_ = [
    '../_base_/models/classifier_groupvit-small-p16.py',
    '../_base_/datasets/imagenet_classification_224.py',
    '../_base_/schedules/sgd-cos-90e_linear.py',
    '../_base_/mmpretrain_runtime.py',
]
model = dict(backbone=dict(frozen_stages=3))
