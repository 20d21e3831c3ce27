# Pascal VOC 2012 with the masks of SBD: 10,582 images of train and aug together, 1,449 of val.
# tools/dataset_converters/voc_aug.py of MMSegmentation makes SegmentationClassAug and aug.txt.
_base_ = ['pascal_voc12_512.py']
train_set = dict(_base_.train_dataloader.dataset, pipeline=_base_.train_pipeline)
aug_set = dict(
    train_set,
    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClassAug'),
    ann_file='ImageSets/Segmentation/aug.txt',
)
train_dataloader = dict(
    dataset=dict(_delete_=True, type='ConcatDataset', datasets=[train_set, aug_set])
)
