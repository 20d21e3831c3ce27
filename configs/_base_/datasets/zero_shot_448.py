# The protocol of the paper's evaluation: short side 448, long side at most 2048, aspect kept. A
# child names the set; another place of it:
#   --cfg-options test_dataloader.dataset.data_root=FOLDER
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(2048, 448), keep_ratio=True),
    # after Resize: the masks keep the size they are compared at
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
tta_ratios = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)  # each also flipped
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='Resize', scale=(int(2048 * ratio), int(448 * ratio)), keep_ratio=True)
                for ratio in tta_ratios
            ],
            [dict(type='RandomFlip', prob=prob, direction='horizontal') for prob in (0.0, 1.0)],
            [dict(type='LoadAnnotations')],
            [dict(type='PackSegInputs')],
        ],
    ),
]
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(pipeline=test_pipeline, test_mode=True),
)
val_cfg = dict(type='ValLoop')
val_evaluator = dict(type='PerClassIoUMetric', iou_metrics=['mIoU'])
test_dataloader = val_dataloader
test_cfg = dict(type='TestLoop')
test_evaluator = val_evaluator
