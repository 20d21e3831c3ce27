# Fine-tuning: AdamW with a smaller rate for each deeper layer, linear warm-up, then linearly to 0.
# For 16 crops a step: `tools/train.py --cfg-options auto_scale_lr.enable=True` adapts lr to others.
optim_wrapper = dict(
    type='OptimWrapper',
    _scope_='groupvit_mmseg',  # guarded
    constructor='GroupViTOptimConstructor',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(flat_decay_mult=0.0, layer_decay=0.75),
    clip_grad=dict(max_norm=5.0),
)
max_iters = 20_000
warmup = dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=1000)
param_scheduler = [
    warmup,
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=1000, end=max_iters),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters // 10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(base_batch_size=16, enable=False)
