"""Scores refined by the image: PAMR and a fully connected CRF."""

from collections.abc import Iterator
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

DILATIONS = (1, 2, 4, 8, 12, 24)
"""tuple[int, ...]: Distances of the eight neighbours, as TCL evaluates with PAMR."""

# The paper's text divides differences by the variance, but the results reported with PAMR were
# computed with a tenth of the standard deviation, which is therefore used here.
SHARPNESS = 0.1
EPS = 1e-8


def pamr(
    scores: Tensor, image: Tensor, *, num_steps: int = 10, dilations: tuple[int, ...] = DILATIONS
) -> Tensor:
    """Refine scores by the image.

    Args:
        scores (Tensor): ``(C, H, W)``; channels do not influence each other.
        image (Tensor): ``(3, H, W)``, in any scale: only differences divided by the local standard
            deviation matter.
        num_steps (int): Iterations; 0 changes nothing. Defaults to 10.
        dilations (tuple[int, ...]): Distances of the neighbours in pixels.
            Defaults to ``DILATIONS``.

    Returns:
        Tensor: ``(C, H, W)``.
    """
    return refine(scores, affinities(image, dilations), num_steps, dilations)


def affinities(image: Tensor, dilations: tuple[int, ...] = DILATIONS) -> Tensor:
    """Compute the weights of each pixel's neighbours ``(8 D, H, W)``, which add up to 1.

    Args:
        image (Tensor): ``(3, H, W)``.
        dilations (tuple[int, ...]): Distances of the neighbours. Defaults to ``DILATIONS``.
    """
    spread = _spread(image, dilations)
    weights = image.new_empty((8 * len(dilations), *image.shape[1:]))
    for weight, neighbour in zip(weights, _neighbours(image, dilations), strict=True):
        weight.copy_(-((image - neighbour).abs() / (EPS + SHARPNESS * spread)).mean(dim=0))
    # A softmax in place: the weights are by far the largest tensor here.
    weights.sub_(weights.amax(dim=0)).exp_()
    return weights.div_(weights.sum(dim=0))


def _spread(image: Tensor, dilations: tuple[int, ...]) -> Tensor:
    """Compute the standard deviation of each pixel and its neighbours, a neighbour at a time."""
    count = 9 * len(dilations)
    mean = torch.zeros_like(image)
    for neighbour in _neighbours(image, dilations, with_centre=True):
        mean.add_(neighbour, alpha=1 / count)
    squares = torch.zeros_like(image)
    for neighbour in _neighbours(image, dilations, with_centre=True):
        squares.add_((neighbour - mean).square())
    return squares.div_(count - 1).sqrt_()


def refine(
    scores: Tensor, weights: Tensor, num_steps: int, dilations: tuple[int, ...] = DILATIONS
) -> Tensor:
    """Average scores ``(C, H, W)`` over neighbours by :func:`affinities`, ``num_steps`` times."""
    for _ in range(num_steps):
        refined = torch.zeros_like(scores)
        for weight, neighbour in zip(weights, _neighbours(scores, dilations), strict=True):
            refined.addcmul_(weight, neighbour)
        scores = refined
    return scores


def _neighbours(
    maps: Tensor, dilations: tuple[int, ...], *, with_centre: bool = False
) -> Iterator[Tensor]:
    """Yield maps ``(C, H, W)`` shifted to each neighbour; pixels of the border are repeated."""
    height, width = maps.shape[1:]
    for distance in dilations:
        padded = F.pad(maps[None], [distance] * 4, mode='replicate')[0]
        for row in range(3):
            for column in range(3):
                if with_centre or (row, column) != (1, 1):
                    top, left = row * distance, column * distance
                    yield padded[:, top : top + height, left : left + width]


# In the ranges that DeepLab searches (arXiv 1606.00915, section 4); pixels and grey levels.
SMOOTHNESS = dict(sxy=3, compat=3)
APPEARANCE = dict(sxy=67, srgb=3, compat=4)
LEAST = 1e-4
"""float: Least probability of a class at a pixel."""


def dense_crf(scores: Tensor, image: NDArray[np.uint8], *, num_steps: int = 10) -> Tensor:
    """Compute the posterior of the classes with any score above 0, by mean-field iterations.

    Args:
        scores (Tensor): ``(C, H, W)``, none below 0; divided by their sum they are a pixel's
            probabilities.
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
    """Import the CRF's module.

    Raises:
        ImportError: If it is not installed; the message names the command that installs it.
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
    """Return the negative logarithm of each pixel's probabilities, ``(C, HW)``."""
    floored = scores.float().cpu().clamp(min=LEAST)
    probs = floored / floored.sum(dim=0)
    return np.ascontiguousarray(-probs.log().flatten(1).numpy())
