# The scenes: python tools/dataset_converters/make_scenes.py --out data/scenes
# Things + grounds: every ground is a class and there is no background, as in Pascal Context 59.
data_root = 'data/scenes'
things = ['ball', 'ring', 'box', 'kite', 'cross', 'tent', 'star', 'heart']
grounds = ['sand', 'grass', 'water', 'snow']
palette = [
    [240, 115, 20],
    [205, 40, 40],
    [120, 75, 40],
    [130, 50, 160],
    [40, 38, 42],
    [30, 165, 160],
    [250, 225, 30],
    [240, 130, 180],
    [200, 186, 160],
    [85, 150, 60],
    [60, 115, 180],
    [236, 242, 250],
]
train_pipeline = [
    dict(type='LoadImageText'),
    dict(type='mmpretrain.RandomFlip', prob=0.5, direction='horizontal'),
    # One word of a caption, another one each time: with more prompts than words the caption itself
    # would be one, and patches would have to match it. One template: twelve words in it make
    # prompts that are equal across a batch.
    dict(type='CaptionPrompts', num_prompts=1, templates='simple'),
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
        sources=[dict(shards='train/scenes-train-*.tar', data_root=data_root)],
        pipeline=train_pipeline,
        shuffle_buffer=2000,
    ),
)
# Scenes are segmented at four times the size of training, where a patch is a pixel of the scene;
# the paper takes twice (224 to 448).
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale_factor=4.0, keep_ratio=True),
    # after Resize: the masks keep the size they are compared at
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
tta_ratios = [4.0 * ratio for ratio in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)]  # each also flipped
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale_factor=ratio, keep_ratio=True) for ratio in tta_ratios],
            [dict(type='RandomFlip', prob=prob, direction='horizontal') for prob in (0.0, 1.0)],
            [dict(type='LoadAnnotations')],
            [dict(type='PackSegInputs')],
        ],
    ),
]
val_dataloader = dict(
    batch_size=50,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='BaseSegDataset',
        metainfo=dict(classes=things + grounds, palette=palette),
        data_root=f'{data_root}/val',
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClassContext'),
        img_suffix='.png',
        seg_map_suffix='.png',
        ann_file='ImageSets/Segmentation/val.txt',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
val_evaluator = dict(type='PerClassIoUMetric', iou_metrics=['mIoU'])
