# Linear probe: SGD on the head alone, cosine, 1,024 images a step.
optim_wrapper = dict(
    type='OptimWrapper',
    _scope_='groupvit_mmseg',  # guarded
    optimizer=dict(type='SGD', lr=0.8, momentum=0.9, weight_decay=0.0),
)
max_epochs = 90
param_scheduler = dict(
    type='CosineAnnealingLR', T_max=max_epochs, by_epoch=True, convert_to_iter_based=True
)
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=1)
auto_scale_lr = dict(base_batch_size=1024, enable=False)
