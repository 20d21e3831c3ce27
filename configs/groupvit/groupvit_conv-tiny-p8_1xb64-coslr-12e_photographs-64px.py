# The photographs, twelve epochs more: goes on from the weights of
# groupvit_conv-tiny-p8_1xb64-coslr-16e_photographs-64px.py with a new schedule and fewer pairs of
# VOC, whose photographs these weights have seen 47 times.
#
# Command:  python tools/train.py THIS_FILE --cfg-options load_from=CHECKPOINT_OF_16_EPOCHS
#           and once more: load_from=CHECKPOINT_OF_THIS_FILE randomness.seed=1
#           python tools/real.py --config THIS_FILE --checkpoint CHECKPOINT --views
# Data: as groupvit_conv-tiny-p8_1xb64-coslr-4e_photographs-48px.py
# Hardware: one CPU core, 76 to 85 minutes beside other trainings, after the 75 of 16 epochs
# Expected: on VOC-446 16.14 mIoU over 20 classes without background, 11.36 with background, once
#           more 16.99 and 11.49; more with averages over views (docs/measurements.md, "Photographs
#           from words")
_base_ = 'groupvit_conv-tiny-p8_1xb64-coslr-16e_photographs-64px.py'
voc, flickr, tiny = _base_.train_dataloader.dataset.sources
train_dataloader = dict(
    dataset=dict(
        sources=[dict(voc, weight=0.15), dict(flickr, weight=0.25), dict(tiny, weight=0.6)]
    )
)
del voc, flickr, tiny
max_epochs = 12
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=max_epochs, T_max=max_epochs)
train_cfg = dict(max_epochs=max_epochs)
