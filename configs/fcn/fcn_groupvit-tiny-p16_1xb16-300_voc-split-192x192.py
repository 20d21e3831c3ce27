# What pretraining on captions is worth when there are few masks: a small GroupViT and a 1x1
# convolution on one half of a set of masks, tested on the other half.
#
# Command:  python tools/benchmarks/compare_pretraining.py THIS_FILE --weights \
#             CHECKPOINT --data-root FOLDER --out DIR     (folder: VOC's layout)
# Hardware: one CPU core, 8 minutes a run where it was shared with others
# Expected: on VOC-446 6.2 mIoU with weights from Flickr8k's captions, 5.2 from scratch
#           (docs/measurements.md)
_base_ = [
    '../_base_/models/groupvit_vit-tiny-p16.py',
    '../_base_/datasets/masks_evaluation.py',
    '../_base_/iter_runtime.py',
]
data_preprocessor = dict(
    type='SegDataPreProcessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    size=(192, 192),
    seg_pad_val=255,
)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=data_preprocessor,
    backbone=dict(_base_.backbone, out_indices=(0, 1), out_type=('raw', 'featmap')),
    decode_head=dict(
        type='FCNHead',
        in_channels=[192, 192],
        in_index=[0, 1],
        input_transform='resize_concat',
        channels=384,
        num_convs=0,
        concat_input=False,
        dropout_ratio=0.0,
        num_classes=21,
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
    ),
    test_cfg=dict(mode='whole'),
)
dataset = dict(
    type='PascalVOCDataset',
    data_root='data/VOCdevkit/VOC2012',
    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(2048, 192), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
tta_resize = [
    dict(type='Resize', scale=(int(2048 * ratio), int(192 * ratio)), keep_ratio=True)
    for ratio in _base_.tta_ratios
]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='TestTimeAug', transforms=[tta_resize, *_base_.tta_after_resize]),
]
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        **dataset,
        ann_file='train.txt',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(type='RandomResize', scale=(384, 192), ratio_range=(0.75, 1.5), keep_ratio=True),
            dict(type='RandomCrop', crop_size=(192, 192), cat_max_ratio=0.9),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackSegInputs'),
        ],
    ),
)
val_dataloader = dict(
    num_workers=1, dataset=dict(**dataset, ann_file='test.txt', pipeline=test_pipeline)
)
test_dataloader = val_dataloader
max_iters = 300
optim_wrapper = dict(
    type='OptimWrapper',
    _scope_='groupvit_mmseg',  # guarded
    constructor='GroupViTOptimConstructor',
    optimizer=dict(type='AdamW', lr=5e-4, weight_decay=0.05),
    paramwise_cfg=dict(flat_decay_mult=0.0),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, end=30),
    dict(type='CosineAnnealingLR', eta_min=0, by_epoch=False, begin=30, end=max_iters),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(checkpoint=dict(interval=max_iters), logger=dict(interval=20))
