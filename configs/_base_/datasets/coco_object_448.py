# COCO-Object, val2017 (5,000 images), 80 classes and background; masks of COCOObjectDataset.
_base_ = ['zero_shot_448.py']
dataset = dict(
    type='COCOObjectDataset',
    data_root='data/coco_object',
    data_prefix=dict(img_path='images/val2017', seg_map_path='annotations/val2017'),
)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
