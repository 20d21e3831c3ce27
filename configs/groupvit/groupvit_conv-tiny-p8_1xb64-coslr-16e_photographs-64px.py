# The photographs in 75 minutes: larger crops, four times the epochs, stronger augmentation, and
# fewer pairs of VOC, whose 2,663 photographs are learnt by heart otherwise.
#
# Command:  python tools/train.py THIS_FILE
#           python tools/real.py --config THIS_FILE --checkpoint CHECKPOINT
# Data: as groupvit_conv-tiny-p8_1xb64-coslr-4e_photographs-48px.py
# Hardware: one CPU core, 75 minutes beside other trainings
# Expected: on VOC-446 14.89 mIoU over 20 classes without background, 10.68 with background
#           (docs/measurements.md, "Photographs from words")
_base_ = 'groupvit_conv-tiny-p8_1xb64-coslr-4e_photographs-48px.py'
crop_size = 64
train_pipeline = _base_.train_pipeline
train_pipeline[0].update(scale=crop_size)
train_pipeline[3:3] = [  # after the colours, before the prompts
    dict(type='TimmRandAugment', num_ops=2, magnitude=5),
    dict(type='RandomPixelErasing', prob=0.25),
]
voc, flickr, tiny = _base_.train_dataloader.dataset.sources
train_dataloader = dict(
    dataset=dict(
        pipeline=train_pipeline,
        sources=[dict(voc, weight=0.2), dict(flickr, weight=0.2), dict(tiny, weight=0.6)],
    )
)
del voc, flickr, tiny
size = dict(backbone=dict(img_size=crop_size, num_group_tokens=(8,), num_output_groups=(8,)))
model = size
# After 16 epochs the whole photograph says better than a segment what it shows.
segmentor = dict(size, decode_head=dict(image_weight=0.5))
val_cfg = dict(segmentor=segmentor)
del size
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=(2048, 80))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
tta_resize = [
    dict(test_pipeline[1], scale=(int(2048 * ratio), int(80 * ratio)))
    for ratio in _base_.tta_ratios
]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='TestTimeAug', transforms=[tta_resize, *_base_.tta_after_resize]),
]
max_epochs = 16
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=300)
param_scheduler[1].update(end=max_epochs, T_max=max_epochs)
train_cfg = dict(max_epochs=max_epochs, val_interval=4)
