"""The result of one image, its figures, and its forms for other programs."""

from groupvit_mmseg.results.formats import coco_categories, encode_rle, polygons
from groupvit_mmseg.results.result import InferenceResult

__all__ = ['InferenceResult', 'coco_categories', 'encode_rle', 'polygons']
