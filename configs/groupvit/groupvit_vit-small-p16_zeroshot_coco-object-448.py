# Zero-shot segmentation of COCO-Object val2017, 80 classes and background.
# Threshold: preset "official" (.95, the authors' release).
#
#   python tools/test.py \
#     configs/groupvit/groupvit_vit-small-p16_zeroshot_coco-object-448.py CHECKPOINT
#
# Hardware: one GPU; not yet timed
# Expected: 24.3 mIoU with the GCC+YFCC weights, 27.5 with GCC+RedCaps
#           (published; not yet measured here)
_base_ = [
    '../_base_/models/groupvit_vit-small-p16_zeroshot.py',
    '../_base_/datasets/coco_object_448.py',
    '../_base_/default_runtime.py',
]
model = dict(
    decode_head=dict(class_names='coco_object', with_background=True, bg_thresh='official')
)
