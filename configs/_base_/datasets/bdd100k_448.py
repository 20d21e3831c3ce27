# BDD100K, validation split of 10k images (1,000), the 19 classes of Cityscapes.
_base_ = ['zero_shot_448.py']
dataset = dict(
    type='BDD100KDataset',
    data_root='data/bdd100k',
    data_prefix=dict(img_path='images/10k/val', seg_map_path='labels/sem_seg/masks/val'),
)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
