# SegFormer's all-MLP head (Xie et al. 2021, arXiv 2105.15203) on strides 4, 8, 16, 32.
_base_ = ['groupvit-small-p16_levels.py']
model = dict(
    neck=dict(type='SimpleFeaturePyramid', in_channels=384, out_channels=(384, 384, 384, 384)),
    decode_head=dict(
        type='SegformerHead',
        in_channels=[384, 384, 384, 384],
        in_index=[0, 1, 2, 3],
        channels=256,
        norm_cfg=_base_.norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
    ),
)
