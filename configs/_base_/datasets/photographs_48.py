# Three small sets of real photographs as one mix of image-text pairs, at 48 px:
#   flickr8k_128      7,500 photographs, each with five captions that people wrote
#   tiny_imagenet_64  29,000 photographs, captions made of the name of their class; the other 1,000
#                     are for tests
#   voc_words_128     2,663 photographs of Pascal VOC that are not of its validation split,
#                     captions made of the names of their classes, 224 with people's captions too
# Captions made of labels are weak labels of images: say so wherever a number of them is given.
# Another folder: --cfg-options train_dataloader.dataset.sources.0.data_root=FOLDER, 1 and 2 too.
# Words that say nothing about the picture, and the frame of captions made of labels.
ignored_words = [
    *('am', 'are', 'be', 'been', 'being', 'had', 'has', 'have', 'is', 'was', 'were'),
    *('background', 'camera', 'close-up', 'front', 'group', 'photo', 'picture', 'side', 'top'),
]
train_pipeline = [
    dict(type='LoadRandomResizedCrop', scale=48, crop_ratio_range=(0.5, 1.0), captions='json'),
    dict(type='RandomHorizontalFlip', prob=0.5),
    dict(type='mmpretrain.ColorJitter', brightness=0.3, contrast=0.3, saturation=0.3),
    # One template and only words of the captions, so that equal words make equal prompts.
    dict(
        type='CaptionPrompts',
        num_prompts=2,
        templates='simple',
        repeat_words=True,
        singular=True,
        ignored_words=ignored_words,
    ),
    dict(type='PackImageText', context_length=32),
]
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='ImageTextSampler'),
    collate_fn=dict(type='collate_image_text'),
    dataset=dict(
        type='ImageTextDataset',
        sources=[
            dict(
                name='voc_words',
                data_root='data/voc_words_128',
                shards='voc-train-{000..007}.tar',
                weight=0.5,
            ),
            dict(
                name='flickr8k',
                data_root='data/flickr8k_128',
                shards='flickr8k-train-{000000..000014}.tar',
                weight=0.1,
            ),
            dict(
                name='tiny_imagenet',
                data_root='data/tiny_imagenet_64',
                shards='tiny-train-{000..028}.tar',  # the last one is for tests
                weight=0.4,
            ),
        ],
        pipeline=train_pipeline,
        shuffle_buffer=3000,
    ),
)
