"""The parts of the model, one per file.

Axes, here and in every docstring: ``B`` images, ``N`` patch tokens, ``G`` group tokens, ``S``
segments (output groups), ``C`` channels of a tower, ``D`` channels of the common space, ``K``
classes, ``T`` templates, ``L`` text tokens, ``P`` prompts per caption, ``R`` ranks, ``h, w`` patch
grid, ``H, W`` pixels.
"""

from groupvit_mmseg.models.augmenting_preprocessor import AugmentingPreprocessor
from groupvit_mmseg.models.clustering_loss import GroupClusteringLoss
from groupvit_mmseg.models.feature_pyramid import SimpleFeaturePyramid
from groupvit_mmseg.models.grouping import GroupingBlock
from groupvit_mmseg.models.groupvit import GroupViT, GroupViTOutput
from groupvit_mmseg.models.image_tower import ImageTower
from groupvit_mmseg.models.losses import ImageTextContrastiveLoss, MultiLabelContrastiveLoss
from groupvit_mmseg.models.open_vocabulary_model import OpenVocabularyModel
from groupvit_mmseg.models.open_vocabulary_segmentor import OpenVocabularySegmentor
from groupvit_mmseg.models.patch_clustering import PatchClustering
from groupvit_mmseg.models.pretrainer import GroupViTPretrainer
from groupvit_mmseg.models.projector import GroupViTProjector
from groupvit_mmseg.models.segmentor import GroupViTSegmentor
from groupvit_mmseg.models.text_encoder import GroupViTTextEncoder
from groupvit_mmseg.models.zero_shot_head import GroupViTZeroShotHead

__all__ = [
    'AugmentingPreprocessor',
    'GroupClusteringLoss',
    'GroupViT',
    'GroupViTOutput',
    'GroupViTPretrainer',
    'GroupViTProjector',
    'GroupViTSegmentor',
    'GroupViTTextEncoder',
    'GroupViTZeroShotHead',
    'GroupingBlock',
    'ImageTextContrastiveLoss',
    'ImageTower',
    'MultiLabelContrastiveLoss',
    'OpenVocabularyModel',
    'OpenVocabularySegmentor',
    'PatchClustering',
    'SimpleFeaturePyramid',
]
