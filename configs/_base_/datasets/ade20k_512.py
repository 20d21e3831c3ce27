# ADE20K: 20,210 images of training, 2,000 of validation, 150 classes.
_base_ = ['supervised_512.py']
data_name = 'ade20k'
num_classes = 150
dataset = dict(type='ADE20KDataset', data_root='data/ade/ADEChallengeData2016')
train_prefix = dict(img_path='images/training', seg_map_path='annotations/training')
val_prefix = dict(img_path='images/validation', seg_map_path='annotations/validation')
train_dataloader = dict(dataset=dict(dataset, data_prefix=train_prefix))
val_dataloader = dict(dataset=dict(dataset, data_prefix=val_prefix))
test_dataloader = dict(dataset=dict(dataset, data_prefix=val_prefix))
