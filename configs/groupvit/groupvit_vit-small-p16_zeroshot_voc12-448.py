# Zero-shot segmentation of Pascal VOC 2012 validation, 20 classes and background.
# Threshold: preset "official" (.95, the authors' release).
#
#   python tools/test.py \
#     configs/groupvit/groupvit_vit-small-p16_zeroshot_voc12-448.py CHECKPOINT
#
# Hardware: one GPU; not yet timed
# Expected: 52.3 mIoU with the GCC+YFCC weights, 50.8 with GCC+RedCaps
#           (published; not yet measured here)
_base_ = [
    '../_base_/models/groupvit_vit-small-p16_zeroshot.py',
    '../_base_/datasets/pascal_voc12_448.py',
    '../_base_/default_runtime.py',
]
model = dict(decode_head=dict(class_names='pascal_voc', with_background=True, bg_thresh='official'))
