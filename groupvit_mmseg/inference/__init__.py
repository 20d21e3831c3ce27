"""Segmentation of single images by class names; the demo and other front ends build on it."""

from groupvit_mmseg.datasets.image_decoding import load_image
from groupvit_mmseg.inference.config import segmentation_config
from groupvit_mmseg.inference.inferencer import GroupViTInferencer
from groupvit_mmseg.inference.loading import check_device, load_segmentor
from groupvit_mmseg.results import InferenceResult

__all__ = [
    'GroupViTInferencer',
    'InferenceResult',
    'check_device',
    'load_image',
    'load_segmentor',
    'segmentation_config',
]
