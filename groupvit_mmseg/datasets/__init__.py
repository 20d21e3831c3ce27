"""Image-text pairs for pretraining, and the segmentation sets that MMSeg lacks."""

from .image_loading import LoadImageFromFile
from .image_text import ImageTextDataset
from .image_text_batch import ImageTextBatch, collate_image_text
from .image_text_hook import ImageTextDataHook, check_loader
from .image_text_sampler import ImageTextSampler
from .image_text_transforms import CaptionPrompts, LoadImageText, PackImageText
from .label_maps import LoadLabelMap
from .segmentation import COCOObjectDataset, PascalVOC20Dataset

__all__ = [
    'COCOObjectDataset',
    'CaptionPrompts',
    'ImageTextBatch',
    'ImageTextDataHook',
    'ImageTextDataset',
    'ImageTextSampler',
    'LoadImageFromFile',
    'LoadImageText',
    'LoadLabelMap',
    'PackImageText',
    'PascalVOC20Dataset',
    'check_loader',
    'collate_image_text',
]
