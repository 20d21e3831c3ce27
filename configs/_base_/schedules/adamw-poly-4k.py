# The paper's transfer recipe: Adam at 1e-3, weight decay .05, 4,000 steps of 16 crops. Decoupled
# decay (AdamW): as a part of Adam's gradient .05 would outweigh the loss.
_base_ = ['adamw-poly-20k.py']
max_iters = 4_000
optim_wrapper = dict(optimizer=dict(lr=1e-3), paramwise_cfg=dict(layer_decay=1.0))
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=0.0, by_epoch=False, end=max_iters)]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters // 4)
