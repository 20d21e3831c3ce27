# UPerNet (Xiao et al. 2018, arXiv 1807.10221) on strides 4, 8, 16, 32, with an auxiliary FCN head.
_base_ = ['groupvit-small-p16_levels.py']
model = dict(
    neck=dict(type='SimpleFeaturePyramid', in_channels=384, out_channels=(384, 384, 384, 384)),
    decode_head=dict(
        type='UPerHead',
        in_channels=[384, 384, 384, 384],
        in_index=[0, 1, 2, 3],
        channels=512,
        norm_cfg=_base_.norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
    ),
    auxiliary_head=dict(
        type='FCNHead',
        in_channels=384,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        norm_cfg=_base_.norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True, loss_weight=0.4),
    ),
)
