# Fine-tuning: AdamW with a smaller rate for each deeper layer, warm-up over 5 epochs, cosine,
# 1,024 images a step.
optim_wrapper = dict(
    type='OptimWrapper',
    _scope_='groupvit_mmseg',  # guarded
    constructor='mmseg.GroupViTOptimConstructor',
    optimizer=dict(type='AdamW', lr=2e-3, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(flat_decay_mult=0.0, layer_decay=0.75),
    clip_grad=dict(max_norm=5.0),
)
max_epochs = 100
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, by_epoch=True, end=5, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        T_max=max_epochs - 5,
        by_epoch=True,
        begin=5,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=1)
auto_scale_lr = dict(base_batch_size=1024, enable=False)
