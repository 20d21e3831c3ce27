# The paper's schedule: AdamW, 30 epochs of which 2 warm up, cosine, everything per step.
# Rates are ratios of lr, so that auto_scale_lr scales them all: 4e-6 -> 1.6e-3 -> 4e-5 at 4096.
lr = 1.6e-3
optim_wrapper = dict(
    # float32, guarded; the leaves and --amp choose mixed precision
    type='OptimWrapper',
    _scope_='groupvit_mmseg',
    constructor='GroupViTOptimConstructor',
    optimizer=dict(type='AdamW', lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05),
    paramwise_cfg=dict(flat_decay_mult=0.0),  # biases, norms, logit scales
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=4e-6 / lr,
        by_epoch=True,
        begin=0,
        end=2,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=4e-5 / lr,
        by_epoch=True,
        begin=2,
        end=30,
        T_max=28,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=30, val_interval=1)
auto_scale_lr = dict(base_batch_size=4096, enable=True)
