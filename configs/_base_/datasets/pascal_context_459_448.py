# Pascal Context, validation split (5,104 images of VOC 2010), 459 classes. Masks of 16 bits, their
# classes and the list of images: tools/dataset_converters/pascal_context_459.py.
_base_ = ['zero_shot_448.py']
dataset = dict(
    type='ClassFileDataset',
    data_root='data/VOCdevkit/VOC2010',
    data_prefix=dict(img_path='JPEGImages', seg_map_path='context459/masks'),
    ann_file='context459/val.txt',
    class_file='context459/classes.json',
    ignore_index=65535,
)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
val_evaluator = dict(ignore_index=65535)
test_evaluator = dict(ignore_index=65535)
