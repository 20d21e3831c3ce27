# Adapts released weights to a set of one's own, from 1,000 pairs on, without a collapse of the
# groups. Reproduces no published number. docs/data_preparation.md, "Small data", has the reasons.
#
# Command:  python tools/train.py THIS_FILE --cfg-options load_from=WEIGHTS
# Data: data/mine, a folder with images and a metadata.csv ("file_name,text")
# Weights: any of docs/weights.md, such as a download of nvidia/groupvit-gcc-yfcc
# Hardware: 1 GPU x 128 pairs
# Expected: here: not yet measured
_base_ = [
    '../_base_/models/groupvit_vit-small-p16.py',
    '../_base_/datasets/image_text_224.py',
    '../_base_/datasets/pascal_voc12_448.py',
    '../_base_/default_runtime.py',
]
train_dataloader = dict(
    batch_size=128,
    num_workers=4,
    dataset=dict(
        sources=[dict(name='mine', data_root='data/mine', table='metadata.csv')],
        shuffle_buffer=1000,
    ),
)
max_epochs = 10
optim_wrapper = dict(
    type='AmpOptimWrapper',
    _scope_='groupvit_mmseg',  # guarded
    constructor='GroupViTOptimConstructor',
    # The paper's rate for 128 pairs: 1.6e-3 x 128 / 4096.
    optimizer=dict(type='AdamW', lr=5e-5, weight_decay=0.05),
    paramwise_cfg=dict(flat_decay_mult=0.0),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=2, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.02,
        begin=2,
        end=max_epochs,
        T_max=max_epochs - 2,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type='ZeroShotValLoop', segmentor=_base_.segmentor)
custom_hooks = [
    # The image tower keeps how it groups; the projectors and the words are learnt.
    dict(type='FreezeHook', patterns=['backbone']),
    dict(type='GroupUsageHook', interval=5),
]
default_hooks = dict(logger=dict(interval=5))
