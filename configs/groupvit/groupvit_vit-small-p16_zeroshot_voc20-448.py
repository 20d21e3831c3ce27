# Zero-shot segmentation of Pascal VOC 2012 validation, 20 classes, no background.
#
#   python tools/test.py \
#     configs/groupvit/groupvit_vit-small-p16_zeroshot_voc20-448.py CHECKPOINT
#
# Hardware: one GPU; not yet timed
# Expected: 79.7 mIoU with the GCC+RedCaps weights under the TCL paper's protocol
#           (published; not yet measured here)
_base_ = [
    '../_base_/models/groupvit_vit-small-p16_zeroshot.py',
    '../_base_/datasets/pascal_voc20_448.py',
    '../_base_/default_runtime.py',
]
model = dict(decode_head=dict(class_names='pascal_voc20', with_background=False, bg_thresh=None))
