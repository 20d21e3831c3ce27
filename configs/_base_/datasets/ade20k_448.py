# ADE20K, validation split (2,000 images), 150 classes.
_base_ = ['zero_shot_448.py']
dataset = dict(
    type='ADE20KDataset',
    data_root='data/ade/ADEChallengeData2016',
    data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
