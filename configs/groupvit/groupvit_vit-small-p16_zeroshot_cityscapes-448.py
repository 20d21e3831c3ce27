# Zero-shot segmentation of Cityscapes validation, 19 classes, no background.
# Prompts: the data set's own class names.
#
#   python tools/test.py \
#     configs/groupvit/groupvit_vit-small-p16_zeroshot_cityscapes-448.py CHECKPOINT
#
# Hardware: one GPU; not yet timed
# Expected: 11.1 mIoU with the GCC+RedCaps weights under the TCL paper's protocol
#           (published; not yet measured here)
_base_ = [
    '../_base_/models/groupvit_vit-small-p16_zeroshot.py',
    '../_base_/datasets/cityscapes_448.py',
    '../_base_/default_runtime.py',
]
model = dict(decode_head=dict(class_names='cityscapes', with_background=False, bg_thresh=None))
