"""GroupViT for MMSegmentation; importing the package registers everything in it.

Xu et al., "GroupViT: Semantic Segmentation Emerges from Text Supervision", CVPR 2022
(arXiv 2202.11094).
"""

from groupvit_mmseg._openmmlab import import_openmmlab

__version__ = '0.2.0'

import_openmmlab()

from groupvit_mmseg import datasets, engine, evaluation, models  # noqa: E402
from groupvit_mmseg.openmmlab_names import register_names  # noqa: E402

register_names()

__all__ = ['__version__', 'datasets', 'engine', 'evaluation', 'models']
