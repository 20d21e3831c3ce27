# SETR with multi-level aggregation (Zheng et al. 2021, arXiv 2012.15840).
_base_ = ['groupvit-small-p16_levels.py']
model = dict(
    neck=dict(
        type='MLANeck', in_channels=[384, 384, 384, 384], out_channels=256, norm_cfg=_base_.norm_cfg
    ),
    decode_head=dict(
        type='SETRMLAHead',
        in_channels=(256, 256, 256, 256),
        in_index=(0, 1, 2, 3),
        channels=512,
        mla_channels=128,
        dropout_ratio=0.0,
        norm_cfg=_base_.norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
    ),
    auxiliary_head=[
        dict(
            type='FCNHead',
            in_channels=256,
            in_index=i,
            channels=256,
            num_convs=0,
            kernel_size=1,
            concat_input=False,
            dropout_ratio=0.0,
            align_corners=False,
            loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True, loss_weight=0.4),
        )
        for i in range(4)
    ],
)
