# A model of a few thousand weights with the whole machinery around it; data_root comes from tests.
default_scope = 'mmseg'
runner_type = 'GroupViTRunner'
custom_imports = dict(imports=['groupvit_mmseg'], allow_failed_imports=False)
log_level = 'WARNING'
_backbone = dict(
    type='GroupViT',
    img_size=32,
    patch_size=8,
    embed_dims=16,
    depths=(1, 1, 1),
    num_heads=(2, 2, 2),
    num_group_tokens=(6, 4, 0),
    num_output_groups=(6, 4),
)
_text_encoder = dict(type='GroupViTTextEncoder', embed_dims=16, num_layers=1, num_heads=2)
_projector = dict(
    type='GroupViTProjector', in_channels=16, hidden_channels=24, out_channels=8, num_layers=2
)
_normalise = dict(
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
)
model = dict(
    type='GroupViTSegmentor',
    data_preprocessor=dict(type='SegDataPreProcessor', **_normalise),
    backbone=_backbone,
    decode_head=dict(
        type='GroupViTZeroShotHead',
        text_encoder=_text_encoder,
        image_projector=_projector,
        text_projector=_projector,
        class_names='pascal_voc',
        with_background=True,
        bg_thresh='official',
    ),
    test_cfg=dict(mode='slide', crop_size=(32, 32), stride=(16, 16)),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='PascalVOCDataset',
        data_root='nowhere',
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
        ann_file='ImageSets/Segmentation/val.txt',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=(2048, 40), keep_ratio=True),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs'),
        ],
        test_mode=True,
    ),
)
test_evaluator = dict(type='PerClassIoUMetric', iou_metrics=['mIoU'])
test_cfg = dict(type='TestLoop')
