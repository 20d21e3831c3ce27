"""Background and thresholds: affinities of segments to classes become scores.

Shapes: ``B`` images, ``S`` segments, ``K`` classes without the background.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from groupvit_mmseg.text.class_list import ClassList


def pool_words(affinity: Tensor, classes: ClassList) -> Tensor:
    """Pool affinities to words over the words of each class but the background.

    Args:
        affinity (Tensor): ``(..., W)`` of the ``W`` words of ``classes.prompts``.
        classes (ClassList): The classes.

    Returns:
        Tensor: ``(..., K)``.

    Example:
        >>> from groupvit_mmseg.text.class_list import make_class_list
        >>> classes = make_class_list(['cat', 'dog'], aliases={'cat': ['kitten']})
        >>> pool_words(torch.tensor([0.1, 0.7, 0.2]), classes)
        tensor([0.7000, 0.2000])
    """
    labels, num_classes = classes.word_classes, len(classes.class_names)
    first = int(classes.with_background)
    if len(labels) - len(classes.background_words) == num_classes - first:
        return affinity[..., : num_classes - first]
    words_of: dict[int, list[int]] = defaultdict(list)
    for word, label in enumerate(labels):
        words_of[label].append(word)
    pool = torch.amax if classes.alias_pooling == 'max' else torch.mean
    columns = [pool(affinity[..., words_of[label]], dim=-1) for label in range(first, num_classes)]
    return torch.stack(columns, dim=-1)  # (..., classes but the background)


def score_foreground(affinity: Tensor, classes: ClassList, *, contrast: bool) -> Tensor:
    """Compute what thresholds are compared with: a score of each class but the background.

    Args:
        affinity (Tensor): ``(B, S, W)`` of the ``W`` words of ``classes.prompts``.
        classes (ClassList): The classes.
        contrast (bool): Whether the words of the background are compared with, as
            :func:`against_background` does, if there are any and ``bg_thresh`` as well.

    Returns:
        Tensor: ``(B, S, K)`` in [0, 1].
    """
    foreground = pool_words(affinity, classes)
    if not _is_contrasted(classes, contrast):
        return foreground
    return against_background(foreground, _background_affinity(affinity, classes))


def score_classes(affinity: Tensor, classes: ClassList, *, contrast: bool) -> Tensor:
    """Convert affinities to words ``(B, S, W)`` to class scores ``(B, S, num_classes)``.

    :func:`score_foreground` and :func:`add_background` say how.
    """
    foreground = score_foreground(affinity, classes, contrast=contrast)
    if not classes.with_background:
        return foreground
    background = affinity.new_zeros(*affinity.shape[:2], 1)
    if classes.background_words and not _is_contrasted(classes, contrast):
        background = _background_affinity(affinity, classes).amax(dim=-1, keepdim=True)
    return add_background(
        foreground,
        background,
        bg_thresh=classes.bg_thresh,
        class_thresholds=classes.thresholds,
    )


def _is_contrasted(classes: ClassList, contrast: bool) -> bool:
    """Return whether a threshold divides the classes from words of the background."""
    return contrast and bool(classes.background_words) and classes.bg_thresh is not None


def _background_affinity(affinity: Tensor, classes: ClassList) -> Tensor:
    """Return the affinities to the words of the background, which are the last."""
    return affinity[..., -len(classes.background_words) :]


def against_background(foreground: Tensor, background: Tensor) -> Tensor:
    """Compare affinities with those to the nearest word of the background.

    Args:
        foreground (Tensor): Affinities to the classes ``(..., K)``, in [0, 1].
        background (Tensor): Affinities to the background words ``(..., W)``, in [0, 1].

    Returns:
        Tensor: ``(..., K)`` in [0, 1]: .5 where a class and the nearest background word are even.

    Example:
        >>> against_background(torch.tensor([0.7, 0.5]), torch.tensor([0.6, 0.2]))
        tensor([0.6000, 0.4000])
    """
    return (0.5 + foreground - background.amax(dim=-1, keepdim=True)).clamp(0.0, 1.0)


def add_background(
    foreground: Tensor,
    background: Tensor,
    *,
    bg_thresh: float | None,
    class_thresholds: Sequence[float],
) -> Tensor:
    """Put the score of the background before those of the classes.

    A class whose affinity is below its threshold is no candidate. Segments are background, with
    score 1, if they have no candidate, or if that with the highest affinity is below ``bg_thresh``.
    ``bg_thresh`` is at most the best affinity of a candidate in the window, so that it leaves at
    least one segment with a class; thresholds of classes have no such limit. Classes that are no
    candidate score 0 in segments that have one; segments of the background keep all affinities.

    Args:
        foreground (Tensor): Affinities to the classes ``(B, S, K)``, in [0, 1].
        background (Tensor): Affinity to the words of the background ``(B, S, 1)``; 0 without words.
        bg_thresh (float, optional): Background threshold, in [0, 1].
        class_thresholds (Sequence[float]): ``K`` thresholds in [0, 1]; 0 for none.

    Returns:
        Tensor: ``(B, S, 1 + K)``.

    Example:
        >>> affinity = torch.tensor([[[0.5, 0.4], [0.3, 0.1]]])
        >>> scores = add_background(
        ...     affinity, torch.zeros(1, 2, 1), bg_thresh=None, class_thresholds=[0.6, 0.2]
        ... )
        >>> scores[0].argmax(dim=-1)  # the second class, then the background
        tensor([2, 0])
    """
    if not any(class_thresholds):
        if bg_thresh is not None:
            best = foreground.amax(dim=-1, keepdim=True)  # (B, S, 1)
            is_background = best < capped_threshold(best, bg_thresh)
            background = torch.where(is_background, 1.0, background)
        return torch.cat([background, foreground], dim=-1)
    candidates = candidate_affinity(foreground, class_thresholds)
    best = candidates.amax(dim=-1, keepdim=True)  # (B, S, 1)
    is_background = best <= 0
    if bg_thresh is not None:
        is_background = is_background | (best < capped_threshold(best, bg_thresh))
    background = torch.where(is_background, 1.0, background)
    return torch.cat([background, torch.where(is_background, foreground, candidates)], dim=-1)


def candidate_affinity(foreground: Tensor, class_thresholds: Sequence[float]) -> Tensor:
    """Return affinities ``(B, S, K)`` with 0 where a class is below its threshold."""
    if not any(class_thresholds):
        return foreground
    thresholds = foreground.new_tensor(class_thresholds)  # (K,)
    return foreground.where(foreground >= thresholds, 0.0)


def capped_threshold(best: Tensor, bg_thresh: float) -> Tensor:
    """Return the background threshold of a window, at most its best affinity.

    Args:
        best (Tensor): Best affinity of each segment ``(B, S, 1)``.
        bg_thresh (float): Background threshold, in [0, 1].

    Returns:
        Tensor: ``(B, 1, 1)``.
    """
    return best.amax(dim=1, keepdim=True).clamp(max=bg_thresh)


def threshold_distance(
    foreground: Tensor, *, bg_thresh: float | None, class_thresholds: Sequence[float]
) -> Tensor:
    """Compute the distance of affinities to the nearest threshold that decides about them.

    Args:
        foreground (Tensor): Affinities to the classes ``(B, S, K)``.
        bg_thresh (float, optional): Background threshold.
        class_thresholds (Sequence[float]): ``K`` thresholds; 0 for none.

    Returns:
        Tensor: ``(B, S)``; infinite without thresholds.
    """
    distance = torch.full_like(foreground[..., 0], torch.inf)
    if any(class_thresholds):
        limits = foreground.new_tensor([limit or -torch.inf for limit in class_thresholds])  # (K,)
        distance = (foreground - limits).abs().amin(dim=-1)
    if bg_thresh is not None:
        best = candidate_affinity(foreground, class_thresholds).amax(dim=-1, keepdim=True)
        to_background = (best - capped_threshold(best, bg_thresh)).abs()[..., 0]
        # The segment that is itself the threshold is equal to it in any implementation.
        to_background = to_background.where(to_background > 0, torch.inf)
        distance = torch.minimum(distance, to_background)
    return distance
