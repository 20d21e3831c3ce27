# GroupViT without grouping, the paper's baseline: a ViT-S/16 whose mean token is the image
# embedding, by the recipe of groupvit_vit-small-p16_16xb256-coslr-30e_gcc-yfcc-224px.py.
#
# Command:  tools/dist_train.sh THIS_FILE 8     (on each of two machines, with NNODES=2)
# Hardware: 16 GPUs x 256 pairs; not yet timed
# Expected: not yet measured; validates with every patch named by itself
_base_ = [
    '../groupvit/groupvit_vit-small-p16_16xb256-coslr-30e_gcc-yfcc-224px.py',
    '../_base_/models/vit-small-p16_tower.py',
]
model = dict(backbone=dict(_base_.tower, _delete_=True))
val_cfg = dict(segmentor=dict(backbone=dict(_base_.tower, _delete_=True)))
custom_hooks = []  # those of the base look at groups
