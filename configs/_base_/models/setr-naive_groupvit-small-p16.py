# SETR (Zheng et al. 2021, arXiv 2012.15840), naive upsampling, auxiliary heads on three levels.
# The FPN adds features of deeper stages to the patches' own tokens: the main head reads level 0.
_base_ = ['groupvit-small-p16_levels.py']
head = dict(
    type='SETRUPHead',
    in_channels=384,
    channels=256,
    num_convs=1,
    up_scale=4,
    kernel_size=1,
    dropout_ratio=0.0,
    norm_cfg=_base_.norm_cfg,
    align_corners=False,
    loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
)
auxiliary_loss = dict(type='CrossEntropyLoss', avg_non_ignore=True, loss_weight=0.4)
model = dict(
    neck=dict(type='FPN', in_channels=[384, 384, 384, 384], out_channels=384, num_outs=4),
    decode_head=dict(head, in_index=0),
    auxiliary_head=[dict(head, in_index=i, loss_decode=auxiliary_loss) for i in (1, 2, 3)],
)
