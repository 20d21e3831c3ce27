# ADE20K-full (2021), validation split (2,000 images), 847 classes. Masks of 16 bits, their
# classes and the list of images: tools/dataset_converters/ade20k_847.py.
_base_ = ['zero_shot_448.py']
dataset = dict(
    type='ClassFileDataset',
    data_root='data/ADE20K_2021_17_01',
    data_prefix=dict(img_path='images/ADE/validation', seg_map_path='ade847/masks'),
    ann_file='ade847/val.txt',
    class_file='ade847/classes.json',
    ignore_index=65535,
)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
val_evaluator = dict(ignore_index=65535)
test_evaluator = dict(ignore_index=65535)
