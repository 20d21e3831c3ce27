# Evaluation on masks as MMSegmentation does it: one image at a time, mean IoU and IoU by class. A
# child names the set, `test_pipeline` and `tta_pipeline`.
tta_ratios = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)  # each also flipped
tta_after_resize = [
    [dict(type='RandomFlip', prob=prob, direction='horizontal') for prob in (0.0, 1.0)],
    [dict(type='LoadAnnotations')],
    [dict(type='PackSegInputs')],
]
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(test_mode=True),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='PerClassIoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
