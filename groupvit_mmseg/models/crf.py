"""Fully connected CRF on the scores (Krähenbühl & Koltun, arXiv 1210.5644), by pydensecrf2.

The package is an extra: ``pip install "groupvit-mmseg[crf]"`` (Python 3.10 to 3.12).
"""

from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# In the ranges that DeepLab searches (arXiv 1606.00915, section 4); pixels and grey levels.
SMOOTHNESS = dict(sxy=3, compat=3)
APPEARANCE = dict(sxy=67, srgb=3, compat=4)
LEAST = 1e-4
"""float: Probability of a class that a pixel's segment does not answer to."""


def dense_crf(scores: Tensor, image: NDArray[np.uint8], *, num_steps: int = 10) -> Tensor:
    """Posterior of the classes that any pixel answers to, by mean-field iterations.

    Args:
        scores (Tensor): ``(C, H, W)``, none below 0; a pixel's share of each is its probability.
        image (NDArray): RGB ``(H, W, 3)`` uint8.
        num_steps (int): Iterations. Defaults to 10.

    Returns:
        Tensor: ``(C, H, W)``; channels that are 0 everywhere stay so.

    Raises:
        ImportError: If pydensecrf2 is not installed.
    """
    library = load_library()
    active = scores.flatten(1).amax(dim=1).nonzero().flatten()
    if len(active) < 2:  # nothing to choose between
        return scores
    height, width = scores.shape[1:]
    crf = library.DenseCRF2D(width, height, len(active))
    crf.setUnaryEnergy(_unary(scores[active]))
    crf.addPairwiseGaussian(**SMOOTHNESS)
    crf.addPairwiseBilateral(rgbim=np.ascontiguousarray(image), **APPEARANCE)
    posterior = np.array(crf.inference(num_steps), np.float32).reshape(-1, height, width)
    refined = torch.zeros_like(scores)
    refined[active] = torch.from_numpy(posterior).to(scores)
    return refined


def load_library() -> ModuleType:
    """The package's module.

    Raises:
        ImportError: If it is not installed; says what to run.
    """
    try:
        from pydensecrf import densecrf
    except ImportError as error:
        raise ImportError(
            'crf_steps needs the package pydensecrf2, which is not installed (it builds on Python '
            '3.10 to 3.12): pip install "groupvit-mmseg[crf]"'
        ) from error
    return densecrf


def _unary(scores: Tensor) -> NDArray[np.float32]:
    """Minus the logarithm of each pixel's probabilities, ``(C, HW)``."""
    floored = scores.float().cpu().clamp(min=LEAST)
    probs = floored / floored.sum(dim=0)
    return np.ascontiguousarray(-probs.log().flatten(1).numpy())
