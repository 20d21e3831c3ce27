# The second step of the training on photographs: larger images, from the weights of the first.
#
# Command:  python tools/train.py THIS_FILE
#           python tools/real.py --config THIS_FILE --checkpoint CHECKPOINT
# Data: as for the first step
# Hardware: one CPU core, 10 minutes
# Expected: on VOC-446 8.2 mIoU over 20 classes without background, 4.9 with background words: no
#           gain over the first step (docs/measurements.md, "Photographs from words")
_base_ = ['./groupvit_conv-tiny-p8_1xb64-coslr-8e_photographs-48px.py']
first = 'work_dirs/groupvit_conv-tiny-p8_1xb64-coslr-8e_photographs-48px/epoch_8.pth'
size = 80
train_pipeline = _base_.train_pipeline
train_pipeline[0].scale = size
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
backbone = dict(img_size=size)
# Positions are resized to the larger grid.
model = dict(backbone=backbone, init_cfg=dict(type='Pretrained', checkpoint=first))
val_cfg = dict(segmentor=dict(backbone=backbone))
# Short side of the photographs.
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (2048, 2 * size)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
tta_pipeline = _base_.tta_pipeline
for step, ratio in zip(tta_pipeline[1].transforms[0], _base_.tta_ratios):
    step.scale = (int(2048 * ratio), int(2 * size * ratio))

max_epochs = 1
optim_wrapper = dict(optimizer=dict(lr=3e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=100, by_epoch=False),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.02,
        begin=0,
        end=max_epochs,
        T_max=max_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=max_epochs, val_interval=1)
