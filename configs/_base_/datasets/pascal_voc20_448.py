# Pascal VOC 2012, validation split (1,449 images), 20 classes; background pixels do not count.
# Protocol of the paper's evaluation: short side 448, long side at most 2048, aspect kept.
# Another place: --cfg-options test_dataloader.dataset.data_root=FOLDER
data_root = 'data/VOCdevkit/VOC2012'
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(2048, 448), keep_ratio=True),
    # after Resize: the masks keep the size they are compared at
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='PascalVOC20Dataset',
        data_root=data_root,
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
        ann_file='ImageSets/Segmentation/val.txt',
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
val_cfg = dict(type='ValLoop')
val_evaluator = dict(type='PerClassIoUMetric', iou_metrics=['mIoU'])
test_dataloader = val_dataloader
test_cfg = dict(type='TestLoop')
test_evaluator = val_evaluator
