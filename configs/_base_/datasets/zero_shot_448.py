# The protocol of the paper's evaluation: short side 448, long side at most 2048, same aspect. A
# child names the set; another folder:
#   --cfg-options test_dataloader.dataset.data_root=FOLDER
_base_ = ['masks_evaluation.py']
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(2048, 448), keep_ratio=True),
    # after Resize: the masks keep the size they are compared at
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
tta_resize = [
    dict(type='Resize', scale=(int(2048 * ratio), int(448 * ratio)), keep_ratio=True)
    for ratio in _base_.tta_ratios
]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='TestTimeAug', transforms=[tta_resize, *_base_.tta_after_resize]),
]
val_dataloader = dict(num_workers=2, dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
