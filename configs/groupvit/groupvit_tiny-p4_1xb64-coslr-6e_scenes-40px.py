# GroupViT small enough to learn the scenes in minutes on a CPU; `make quickstart` runs it.
#   python tools/dataset_converters/make_scenes.py --out data/scenes
#   python tools/train.py configs/groupvit/groupvit_tiny-p4_1xb64-coslr-6e_scenes-40px.py
# Data: the scenes, which the first command draws
# Validates on things + grounds: mIoU 96.5 +- 1.9, five trainings (93.2 to 98.1); measured in
# November 2026 on one thread of a CPU with AVX2, 8 to 10 minutes. docs/scenes.md has more.
_base_ = [
    '../_base_/models/groupvit_tiny.py',
    '../_base_/datasets/scenes.py',
    '../_base_/default_runtime.py',
]
max_epochs = 6
lr = 1e-3
optim_wrapper = dict(
    type='OptimWrapper',
    _scope_='groupvit_mmseg',  # guarded
    constructor='GroupViTOptimConstructor',
    optimizer=dict(type='AdamW', lr=lr, weight_decay=0.05, fused=True),
    paramwise_cfg=dict(flat_decay_mult=0.0),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.01,
        by_epoch=True,
        begin=0,
        end=1,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.025,
        by_epoch=True,
        begin=1,
        end=max_epochs,
        T_max=max_epochs - 1,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=2)
val_cfg = dict(
    type='ZeroShotValLoop',
    segmentor=dict(
        _base_.segmentor,
        decode_head=dict(_base_.segmentor.decode_head, class_names=_base_.things + _base_.grounds),
    ),
)
default_hooks = dict(logger=dict(interval=25))
