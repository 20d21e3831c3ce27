# A 1x1 convolution on the patches' tokens beside each patch's segment of the last stage.
_base_ = ['groupvit-small-p16_levels.py']
model = dict(
    decode_head=dict(
        type='FCNHead',
        in_channels=[384, 384],
        in_index=[0, 3],
        input_transform='resize_concat',
        channels=768,
        num_convs=0,
        concat_input=False,
        dropout_ratio=0.0,
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
    )
)
