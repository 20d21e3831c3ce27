# Nighttime Driving, test split (50 images), the 19 classes of Cityscapes.
_base_ = ['zero_shot_448.py']
dataset = dict(
    type='NightDrivingDataset',
    data_root='data/NighttimeDrivingTest',
    data_prefix=dict(
        img_path='leftImg8bit/test/night', seg_map_path='gtCoarse_daytime_trainvaltest/test/night'
    ),
)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
