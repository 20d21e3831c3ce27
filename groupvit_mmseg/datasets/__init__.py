"""Image-text pairs for pretraining, and the segmentation sets that MMSeg lacks."""

from groupvit_mmseg.datasets.image_loading import LoadImageFromFile
from groupvit_mmseg.datasets.image_text import ImageTextDataset
from groupvit_mmseg.datasets.image_text_batch import ImageTextBatch, collate_image_text
from groupvit_mmseg.datasets.image_text_hook import ImageTextDataHook, check_loader
from groupvit_mmseg.datasets.image_text_sampler import ImageTextSampler
from groupvit_mmseg.datasets.image_text_transforms import (
    CaptionPrompts,
    LoadImageText,
    PackImageText,
)
from groupvit_mmseg.datasets.label_maps import LoadLabelMap
from groupvit_mmseg.datasets.rand_augment import TimmRandAugment
from groupvit_mmseg.datasets.random_erasing import RandomHorizontalFlip, RandomPixelErasing
from groupvit_mmseg.datasets.random_resized_crop import LoadRandomResizedCrop
from groupvit_mmseg.datasets.segmentation import (
    ClassFileDataset,
    COCOObjectDataset,
    PascalVOC20Dataset,
)

__all__ = [
    'COCOObjectDataset',
    'CaptionPrompts',
    'ClassFileDataset',
    'ImageTextBatch',
    'ImageTextDataHook',
    'ImageTextDataset',
    'ImageTextSampler',
    'LoadImageFromFile',
    'LoadImageText',
    'LoadLabelMap',
    'LoadRandomResizedCrop',
    'PackImageText',
    'PascalVOC20Dataset',
    'RandomHorizontalFlip',
    'RandomPixelErasing',
    'TimmRandAugment',
    'check_loader',
    'collate_image_text',
]
