# The scenes' config as the studies measured it: no image skips the attention.
_base_ = '../../groupvit/groupvit_tiny-p4_1xb64-coslr-6e_scenes-40px.py'
backbone = dict(attn_drop_path=None)
model = dict(backbone=backbone)
val_cfg = dict(segmentor=dict(backbone=backbone))
