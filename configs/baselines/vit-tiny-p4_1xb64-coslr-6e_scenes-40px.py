# GroupViT without grouping on the scenes: as groupvit_tiny-p4_1xb64-coslr-6e_scenes-40px.py, but
# the image tower is a plain vision transformer of as many blocks, and no image skips its attention.
# Every patch is named by itself.
#   python tools/dataset_converters/make_scenes.py --out data/scenes
#   python tools/train.py configs/baselines/vit-tiny-p4_1xb64-coslr-6e_scenes-40px.py
# Data: the scenes, which the first command draws
# Numbers: docs/measurements.md.
_base_ = '../groupvit/groupvit_tiny-p4_1xb64-coslr-6e_scenes-40px.py'
backbone = dict(
    _delete_=True,
    type='ImageTower',
    backbone=dict(
        type='mmpretrain.VisionTransformer',
        arch=dict(embed_dims=64, num_layers=1, num_heads=2, feedforward_channels=256),
        img_size=40,
        patch_size=4,
        with_cls_token=False,
        out_type='featmap',
    ),
    embed_dims=64,
    patch_size=4,
)
model = dict(backbone=backbone)
val_cfg = dict(segmentor=dict(backbone=backbone))
