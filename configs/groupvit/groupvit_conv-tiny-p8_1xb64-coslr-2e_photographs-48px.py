# The photographs in minutes: `make real` runs it.
# Two epochs instead of 24, four fifths of them photographs of VOC: in so short a time little is
# learnt from photographs of other things.
#
# Command:  python tools/real.py
# Data: as groupvit_conv-tiny-p8_1xb64-coslr-24e_photographs-48px.py
# Hardware: two CPU cores, 11 minutes in all
# Expected: on VOC-446 3.6 mIoU over 20 classes without background, 3.9 with it
#           (docs/measurements.md, "Photographs from words")
_base_ = 'groupvit_conv-tiny-p8_1xb64-coslr-24e_photographs-48px.py'
voc, flickr, tiny = _base_.train_dataloader.dataset.sources
train_dataloader = dict(
    dataset=dict(
        sources=[dict(voc, weight=0.8), dict(flickr, weight=0.1), dict(tiny, weight=0.1)],
    )
)
del voc, flickr, tiny
max_epochs = 2
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=100),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.02,
        begin=0,
        end=max_epochs,
        T_max=max_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
