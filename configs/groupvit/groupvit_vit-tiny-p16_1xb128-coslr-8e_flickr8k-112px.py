# A first training on real photographs: small enough for two CPU cores, large enough to see groups.
# Reproduces no published number: 7,500 images instead of 29 million.
#
# Command:  python tools/real.py --config THIS_FILE --epochs 8 --minutes 7
# Hardware: two CPU cores, at most 15 minutes with both evaluations
# Expected: see docs/measurements.md, "Real photographs"
_base_ = [
    '../_base_/models/groupvit_vit-tiny-p16.py',
    '../_base_/datasets/flickr8k.py',
    '../_base_/datasets/pascal_voc12_448.py',
    '../_base_/default_runtime.py',
]

text_encoder = dict(type='GroupViTTextEncoder', context_length=32, embed_dims=128, num_layers=1)
image_projector = dict(
    type='GroupViTProjector', in_channels=192, hidden_channels=512, out_channels=128
)
text_projector = dict(
    type='GroupViTProjector', in_channels=128, hidden_channels=512, out_channels=128
)
mean = [123.675, 116.28, 103.53]
std = [58.395, 57.12, 57.375]
model = dict(
    type='GroupViTPretrainer',
    data_preprocessor=dict(type='ImgDataPreprocessor', mean=mean, std=std, bgr_to_rgb=True),
    backbone=_base_.backbone,
    text_encoder=text_encoder,
    image_projector=image_projector,
    text_projector=text_projector,
    loss_contrastive=dict(type='ImageTextContrastiveLoss'),
    loss_multi_label=dict(
        type='MultiLabelContrastiveLoss', level='patches', match_equal_prompts=True
    ),
)
data_preprocessor = dict(
    type='SegDataPreProcessor', mean=mean, std=std, bgr_to_rgb=True, size_divisor=1
)
segmentor = dict(
    type='GroupViTSegmentor',
    data_preprocessor=data_preprocessor,
    backbone=_base_.backbone,
    decode_head=dict(
        type='GroupViTZeroShotHead',
        text_encoder=text_encoder,
        image_projector=image_projector,
        text_projector=text_projector,
        class_names='pascal_voc',
        with_background=True,
        bg_thresh='official',
    ),
    test_cfg=dict(mode='slide', crop_size=(448, 448), stride=(224, 224)),
)

max_epochs = 8
optim_wrapper = dict(
    type='OptimWrapper',
    _scope_='groupvit_mmseg',  # guarded
    constructor='GroupViTOptimConstructor',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.98), weight_decay=0.05),
    paramwise_cfg=dict(flat_decay_mult=0.0),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=1, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.02,
        begin=1,
        end=max_epochs,
        T_max=max_epochs - 1,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=max_epochs)
val_cfg = dict(type='ZeroShotValLoop', segmentor=segmentor)
val_evaluator = [
    dict(type='PerClassIoUMetric', iou_metrics=['mIoU']),
    # So small a model rarely finds the background; does it name what is in front?
    dict(type='ForegroundIoUMetric', iou_metrics=['mIoU']),
]
test_evaluator = val_evaluator
default_hooks = dict(logger=dict(interval=10))
