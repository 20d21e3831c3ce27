# ACDC, validation split (406 images), the 19 classes of Cityscapes.
# val.txt is written by tools/dataset_converters/list_images.py: see docs/evaluation.md.
_base_ = ['zero_shot_448.py']
dataset = dict(
    type='CityscapesDataset',
    data_root='data/acdc',
    data_prefix=dict(img_path='rgb_anon', seg_map_path='gt'),
    ann_file='val.txt',
    img_suffix='_rgb_anon.png',
    seg_map_suffix='_gt_labelTrainIds.png',
)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
