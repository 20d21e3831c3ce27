# Flickr8k at 128 pixels in tar shards (6,000 to 8,000 photographs, five captions each), the
# embedded data of a first training on real photographs. Another folder:
# --cfg-options train_dataloader.dataset.sources.0.data_root=FOLDER
train_pipeline = [
    # one of the five captions at random
    dict(type='LoadRandomResizedCrop', scale=112, crop_ratio_range=(0.4, 1.0), captions='json'),
    dict(type='RandomHorizontalFlip', prob=0.5),
    # One template, so that equal words make equal prompts across a batch.
    dict(type='CaptionPrompts', num_prompts=3, templates='simple'),
    dict(type='PackImageText', context_length=32),
]
train_dataloader = dict(
    batch_size=128,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='ImageTextSampler'),
    collate_fn=dict(type='collate_image_text'),
    dataset=dict(
        type='ImageTextDataset',
        sources=[
            dict(
                name='flickr8k',
                data_root='data/flickr8k_128',
                shards='flickr8k-train-{000000..000014}.tar',
            )
        ],
        pipeline=train_pipeline,
        shuffle_buffer=2000,
    ),
)
