# Zero-shot segmentation of Pascal Context validation, 59 classes and background.
# Threshold: preset "official" (.35, the authors' release).
#
#   python tools/test.py \
#     configs/groupvit/groupvit_vit-small-p16_zeroshot_context-448.py CHECKPOINT
#
# Hardware: one GPU; not yet timed
# Expected: 22.4 mIoU with the GCC+YFCC weights, 23.7 with GCC+RedCaps
#           (published; not yet measured here)
_base_ = [
    '../_base_/models/groupvit_vit-small-p16_zeroshot.py',
    '../_base_/datasets/pascal_context_448.py',
    '../_base_/default_runtime.py',
]
model = dict(
    decode_head=dict(class_names='pascal_context', with_background=True, bg_thresh='official')
)
