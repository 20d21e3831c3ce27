# Fine-tuning of GroupViT on ImageNet-1k with MMPretrain: all layers, mixed images.
#
# Command:  tools/dist_train.sh \
#             configs/classification/groupvit-small-p16_finetune_8xb128-100e_in1k-224px.py 8
# Weights:  see checkpoint in configs/_base_/models/classifier_groupvit-small-p16.py
# Hardware: 8 GPUs; not yet timed
# Expected: not yet measured
_base_ = [
    '../_base_/models/classifier_groupvit-small-p16.py',
    '../_base_/datasets/imagenet_classification_224.py',
    '../_base_/schedules/adamw-cos-100e_finetune.py',
    '../_base_/mmpretrain_runtime.py',
]
model = dict(
    head=dict(loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)
