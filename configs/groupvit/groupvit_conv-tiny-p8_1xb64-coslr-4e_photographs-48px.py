# Photographs of a few kinds of things, mostly animals, named and outlined from words alone, in
# minutes: `make real` runs it. Reproduces no published number: 39,000 small photographs instead of
# 29 million, of which 31,663 have captions made of labels instead of those that a person wrote.
#
# Command:  python tools/real.py
# Data: configs/_base_/datasets/photographs_48.py says which; VOC 2012 to evaluate on
# Hardware: two threads of one CPU core with AVX512_BF16, 14 minutes in all
# Expected: on VOC-446 8.41 mIoU over 20 classes without background, 7.09 with background
#           (docs/measurements.md, "Photographs from words")
_base_ = [
    '../_base_/models/groupvit_conv-tiny-p8.py',
    '../_base_/datasets/photographs_48.py',
    '../_base_/datasets/pascal_voc12_448.py',
    '../_base_/default_runtime.py',
]
# Whole photographs, their things about as large as in training: crops show parts of photographs.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    # averages pixels: others leave them out when a photograph becomes so small
    dict(type='Resize', scale=(2048, 80), keep_ratio=True, interpolation='area'),
    # after Resize: the masks keep the size they are compared at
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
tta_resize = [
    dict(
        type='Resize',
        scale=(int(2048 * ratio), int(80 * ratio)),
        keep_ratio=True,
        interpolation='area',
    )
    for ratio in _base_.tta_ratios
]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='TestTimeAug', transforms=[tta_resize, *_base_.tta_after_resize]),
]

max_epochs = 4
optim_wrapper = dict(
    type='AmpOptimWrapper',
    _scope_='groupvit_mmseg',  # guarded
    constructor='GroupViTOptimConstructor',
    # AdamW needs more than twice as many steps. With it the groups collapse above 1e-3.
    optimizer=dict(
        type='MuonAdamW',
        lr=6e-4,
        muon_lr_mult=3.0,
        betas=(0.9, 0.98),
        weight_decay=0.05,
        fused=True,
    ),
    paramwise_cfg=dict(flat_decay_mult=0.0),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=200),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.02,
        begin=0,
        end=max_epochs,
        T_max=max_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=max_epochs)
val_cfg = dict(type='ZeroShotValLoop', segmentor=_base_.segmentor)
custom_hooks = [
    # Evaluated and kept: the mean of the weights over the last 500 steps.
    dict(type='EMAHook', momentum=0.002, update_buffers=True),
    dict(type='GroupUsageHook', interval=50),
]
val_evaluator = [
    dict(type='PerClassIoUMetric', iou_metrics=['mIoU']),
    dict(type='ForegroundIoUMetric', iou_metrics=['mIoU']),
    # The best word painted over the whole photograph: knows what, but not where.
    dict(type='ImageTagIoUMetric', iou_metrics=['mIoU']),
    dict(type='ImageTagIoUMetric', iou_metrics=['mIoU'], foreground_only=True),
    # And in an ellipse in the middle alone: knows that photographers aim at things, too.
    dict(type='ImageTagIoUMetric', iou_metrics=['mIoU'], center_share=0.3),
    dict(type='OracleIoUMetric', iou_metrics=['mIoU']),
    dict(type='BoundaryIoUMetric', iou_metrics=['mIoU']),
    dict(type='MaskProbingMetric'),
]
test_evaluator = val_evaluator
default_hooks = dict(logger=dict(interval=50))
