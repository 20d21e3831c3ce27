# PSPNet (Zhao et al. 2017, arXiv 1612.01105) with an auxiliary FCN head on the last stage.
# The FPN adds features of deeper stages to the patches' own tokens: the main head reads level 0.
_base_ = ['groupvit-small-p16_levels.py']
model = dict(
    neck=dict(type='FPN', in_channels=[384, 384, 384, 384], out_channels=384, num_outs=4),
    decode_head=dict(
        type='PSPHead',
        in_channels=384,
        in_index=0,
        channels=512,
        pool_scales=(1, 2, 3, 6),
        norm_cfg=_base_.norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
    ),
    auxiliary_head=dict(
        type='FCNHead',
        in_channels=384,
        in_index=3,
        channels=256,
        num_convs=1,
        concat_input=False,
        norm_cfg=_base_.norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True, loss_weight=0.4),
    ),
)
find_unused_parameters = True  # the FPN's levels that no head reads
