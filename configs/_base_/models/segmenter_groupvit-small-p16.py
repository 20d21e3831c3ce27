# Segmenter's mask transformer (Strudel et al. 2021, arXiv 2105.05633): classes are tokens too.
# The FPN adds features of deeper stages to the patches' own tokens: the head reads level 0.
_base_ = ['groupvit-small-p16_levels.py']
model = dict(
    neck=dict(type='FPN', in_channels=[384, 384, 384, 384], out_channels=384, num_outs=4),
    decode_head=dict(
        type='SegmenterMaskTransformerHead',
        in_channels=384,
        in_index=0,
        channels=384,
        embed_dims=384,
        num_layers=2,
        num_heads=6,
        dropout_ratio=0.0,
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
    ),
)
find_unused_parameters = True  # the FPN's levels that no head reads
