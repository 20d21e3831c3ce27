# Image-text pairs at 224 pixels: the paper's augmentation (timm's rand-m9-mstd0.5-inc1, random
# erasing per pixel; colour jitter is replaced by the policy). A child names its sources.
train_pipeline = [
    dict(type='LoadRandomResizedCrop', scale=224, crop_ratio_range=(0.08, 1.0)),
    dict(type='RandomHorizontalFlip', prob=0.5),
    dict(type='TimmRandAugment', num_ops=2, magnitude=9, magnitude_std=0.5),
    dict(type='RandomPixelErasing', prob=0.25),
    dict(type='CaptionPrompts', num_prompts=3, templates='full'),
    dict(type='PackImageText', context_length=77),
]
train_dataloader = dict(
    batch_size=256,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='ImageTextSampler'),
    collate_fn=dict(type='collate_image_text'),
    dataset=dict(
        type='ImageTextDataset',
        sources=[],
        pipeline=train_pipeline,
        shuffle_buffer=10_000,
    ),
)
