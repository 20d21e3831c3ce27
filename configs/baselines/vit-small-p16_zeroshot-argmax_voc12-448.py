# Zero-shot Pascal VOC 2012 without grouping: every patch is named by itself.
# The threshold is GroupViT's; calibrate another with tools/analysis_tools/calibrate_threshold.py.
#
#   python tools/test.py \
#     configs/baselines/vit-small-p16_zeroshot-argmax_voc12-448.py CHECKPOINT
#
# Hardware: one GPU; not yet timed
# Expected: not yet measured
_base_ = [
    '../groupvit/groupvit_vit-small-p16_zeroshot_voc12-448.py',
    '../_base_/models/vit-small-p16_tower.py',
]
model = dict(backbone=dict(_base_.tower, _delete_=True))
