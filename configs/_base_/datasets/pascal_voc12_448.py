# Pascal VOC 2012, validation split (1,449 images), 20 classes and background.
_base_ = ['zero_shot_448.py']
dataset = dict(
    type='PascalVOCDataset',
    data_root='data/VOCdevkit/VOC2012',
    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
    ann_file='ImageSets/Segmentation/val.txt',
)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
