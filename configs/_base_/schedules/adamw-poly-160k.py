# adamw-poly-20k.py over 160,000 steps.
_base_ = ['adamw-poly-20k.py']
max_iters = 160_000
param_scheduler = [
    _base_.warmup,
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=1000, end=max_iters),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 10)
