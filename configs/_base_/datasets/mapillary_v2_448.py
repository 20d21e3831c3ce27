# Mapillary Vistas 2.0, validation split (2,000 images), 124 classes.
_base_ = ['zero_shot_448.py']
dataset = dict(
    type='MapillaryDataset_v2',
    data_root='data/mapillary',
    data_prefix=dict(img_path='validation/images', seg_map_path='validation/v2.0/labels'),
)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
