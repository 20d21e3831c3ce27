# Cityscapes: 2,975 images of train, 500 of val (2048 x 1024), 19 classes. Crops of 512 px of images
# at half to twice their size; validation at their own.
_base_ = ['supervised_512.py']
data_name = 'cityscapes'
num_classes = 19
train_pipeline = _base_.train_pipeline
train_pipeline[2].scale = (2048, 1024)
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = (2048, 1024)
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [
    dict(type='Resize', scale=(int(2048 * ratio), int(1024 * ratio)), keep_ratio=True)
    for ratio in _base_.tta_ratios
]
dataset = dict(type='CityscapesDataset', data_root='data/cityscapes')
train_prefix = dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train')
val_prefix = dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val')
val_dataset = dict(dataset, data_prefix=val_prefix, pipeline=test_pipeline)
train_dataloader = dict(dataset=dict(dataset, data_prefix=train_prefix, pipeline=train_pipeline))
val_dataloader = dict(dataset=val_dataset)
test_dataloader = dict(dataset=val_dataset)
