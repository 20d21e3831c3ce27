# Dark Zurich, validation split (50 images), the 19 classes of Cityscapes.
_base_ = ['zero_shot_448.py']
dataset = dict(
    type='DarkZurichDataset',
    data_root='data/dark_zurich',
    data_prefix=dict(img_path='rgb_anon/val/night/GOPR0356', seg_map_path='gt/val/night/GOPR0356'),
)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
