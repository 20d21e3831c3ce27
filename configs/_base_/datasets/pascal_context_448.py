# Pascal Context, validation split (5,104 images of VOC 2010), 59 classes and background.
_base_ = ['zero_shot_448.py']
dataset = dict(
    type='PascalContextDataset',
    data_root='data/VOCdevkit/VOC2010',
    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClassContext'),
    ann_file='ImageSets/SegmentationContext/val.txt',
)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
