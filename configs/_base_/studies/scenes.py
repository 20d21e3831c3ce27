# What the studies on the scenes share. `background`: every ground is class 0, as in Pascal VOC, and
# the threshold is chosen on scenes that are not for testing.
config = '../_base_/studies/groupvit_tiny_scenes.py'
classes = ['background', 'ball', 'ring', 'box', 'kite', 'cross', 'tent', 'star', 'heart']
seeds = [0, 1, 2]
evaluations = {
    'background': {
        'val_dataloader.dataset.metainfo.classes': classes,
        'val_dataloader.dataset.metainfo.palette': [[0, 0, 0]] * len(classes),
        'val_dataloader.dataset.data_prefix.seg_map_path': 'SegmentationClass',
        'val_cfg.segmentor.decode_head.class_names': classes,
        'val_cfg.segmentor.decode_head.with_background': True,
        'val_cfg.segmentor.decode_head.bg_thresh': 0.0,  # until it is calibrated
        'calibrate': {'val_dataloader.dataset.ann_file': 'ImageSets/Segmentation/calib.txt'},
    }
}
del classes
metrics = [
    'mIoU',
    'oracle/mIoU',
    'boundary/mIoU',
    'tag/mIoU',
    'background: mIoU',
    'background: foreground/mIoU',
    'background: tag_foreground/mIoU',
    'background: probing/jaccard',
]
