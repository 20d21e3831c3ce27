# Zero-shot segmentation of ADE20K validation, 150 classes, no background.
# Prompts: the data set's own class names.
#
#   python tools/test.py \
#     configs/groupvit/groupvit_vit-small-p16_zeroshot_ade20k-448.py CHECKPOINT
#
# Hardware: one GPU; not yet timed
# Expected: 9.2 mIoU with the GCC+RedCaps weights under the TCL paper's protocol
#           (published; not yet measured here)
_base_ = [
    '../_base_/models/groupvit_vit-small-p16_zeroshot.py',
    '../_base_/datasets/ade20k_448.py',
    '../_base_/default_runtime.py',
]
model = dict(decode_head=dict(class_names='ade20k', with_background=False, bg_thresh=None))
