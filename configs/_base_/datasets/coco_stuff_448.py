# COCO-Stuff 164k, val2017 (5,000 images), 171 classes; masks as MMSegmentation converts them.
_base_ = ['zero_shot_448.py']
dataset = dict(
    type='COCOStuffDataset',
    data_root='data/coco_stuff164k',
    data_prefix=dict(img_path='images/val2017', seg_map_path='annotations/val2017'),
)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
