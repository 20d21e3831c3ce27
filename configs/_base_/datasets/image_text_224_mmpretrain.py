# The augmentation of image_text_224.py with the transforms of MMPretrain and in their time: the
# reference that tests and tools/benchmarks/measure_loader.py compare with.
_base_ = './image_text_224.py'

train_pipeline = [
    dict(type='LoadImageText'),
    dict(
        type='mmpretrain.RandomResizedCrop',
        scale=224,
        crop_ratio_range=(0.08, 1.0),
        interpolation='bilinear',
        backend='pillow',
    ),
    dict(type='mmpretrain.RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandAugment',
        _scope_='mmpretrain',  # also for the transforms that the policy names
        policies='timm_increasing',
        num_policies=2,
        total_level=10,
        magnitude_level=9,
        magnitude_std=0.5,
        hparams=dict(pad_val=[104, 116, 124], interpolation='bilinear'),
    ),
    dict(
        type='mmpretrain.RandomErasing',
        erase_prob=0.25,
        mode='rand',
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=[103.53, 116.28, 123.675],
        fill_std=[57.375, 57.12, 58.395],
    ),
    dict(type='CaptionPrompts', num_prompts=3, templates='full'),
    dict(type='PackImageText', context_length=77),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
