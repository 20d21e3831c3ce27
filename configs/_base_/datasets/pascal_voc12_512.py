# Pascal VOC 2012: 1,464 images of train, 1,449 of val, 20 classes and background.
_base_ = ['supervised_512.py']
data_name = 'voc12'
num_classes = 21
dataset = dict(
    type='PascalVOCDataset',
    data_root='data/VOCdevkit/VOC2012',
    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
)
val_dataset = dict(dataset, ann_file='ImageSets/Segmentation/val.txt')
train_dataloader = dict(dataset=dict(dataset, ann_file='ImageSets/Segmentation/train.txt'))
val_dataloader = dict(dataset=val_dataset)
test_dataloader = dict(dataset=val_dataset)
