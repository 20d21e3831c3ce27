# Cityscapes, validation split (500 images), 19 classes; masks as MMSegmentation converts them.
_base_ = ['zero_shot_448.py']
dataset = dict(
    type='CityscapesDataset',
    data_root='data/cityscapes',
    data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
