# Mapillary Vistas 1.2, validation split (2,000 images), 66 classes.
_base_ = ['zero_shot_448.py']
dataset = dict(
    type='MapillaryDataset_v1',
    data_root='data/mapillary',
    data_prefix=dict(img_path='validation/images', seg_map_path='validation/v1.2/labels'),
)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
