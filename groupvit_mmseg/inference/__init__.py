"""Segmentation of single images by class names; the demo and other front ends build on it."""

from groupvit_mmseg.datasets.image_decoding import load_image
from groupvit_mmseg.inference.config import segmentation_config
from groupvit_mmseg.inference.inferencer import GroupViTInferencer
from groupvit_mmseg.inference.loading import (
    EvaluatedSegmentor,
    check_device,
    load_evaluated,
    load_segmentor,
)
from groupvit_mmseg.results import InferenceResult

__all__ = [
    'EvaluatedSegmentor',
    'GroupViTInferencer',
    'InferenceResult',
    'check_device',
    'load_evaluated',
    'load_image',
    'load_segmentor',
    'segmentation_config',
]
