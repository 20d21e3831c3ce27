"""Recall of the retrieval of captions by images and of images by captions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmpretrain.evaluation import Accuracy, RetrievalRecall
from torch import Tensor

RANKS = (1, 5, 10)
LABEL_RANKS = (1, 5)


def retrieval_recall(
    image_embeds: Tensor, text_embeds: Tensor, owners: Sequence[int], ranks: Sequence[int] = RANKS
) -> dict[str, float]:
    """Return how often what belongs together is among the first, in percent.

    An image counts as found if any of its captions is among the first; each caption is looked up by
    itself. Equal similarities are in the order of the captions or images.

    Args:
        image_embeds (Tensor): ``(N, D)``, not necessarily normalised.
        text_embeds (Tensor): ``(M, D)``.
        owners (Sequence[int]): Image of each caption, ``M`` indices; every image has one at least.
        ranks (Sequence[int]): Numbers of first places. Defaults to 1, 5 and 10.

    Returns:
        dict[str, float]: ``image_to_text/R@1`` ... and ``text_to_image/R@1`` ..., in [0, 100].

    Raises:
        ValueError: If the numbers do not fit, or an image has no caption.

    Example:
        >>> images = torch.eye(3)
        >>> texts = torch.eye(3)[[0, 0, 1, 1]]  # the last caption is that of the third image
        >>> recall = retrieval_recall(images, texts, [0, 0, 1, 2], ranks=[1, 3])
        >>> [f'{name} {value:.0f}' for name, value in recall.items() if '@1' in name]
        ['image_to_text/R@1 67', 'text_to_image/R@1 75']
    """
    if len(owners) != len(text_embeds) or set(owners) != set(range(len(image_embeds))):
        raise ValueError(
            f'{len(text_embeds)} captions with {len(owners)} owners do not give each of '
            f'{len(image_embeds)} images a caption.'
        )
    similarity = F.normalize(image_embeds, dim=-1) @ F.normalize(text_embeds, dim=-1).T  # (N, M)
    captions: list[list[int]] = [[] for _ in image_embeds]
    for caption, owner in enumerate(owners):
        captions[owner].append(caption)
    found = {
        'image_to_text': (similarity, captions),
        'text_to_image': (similarity.T, [[owner] for owner in owners]),
    }
    scores: dict[str, float] = {}
    for name, (rows, targets) in found.items():
        first = _first_places(rows, max(ranks))
        # Annotated for arrays and one number, documented for lists and several.
        recalls = RetrievalRecall.calculate(
            first,  # type: ignore[arg-type]
            targets,  # type: ignore[arg-type]
            topk=tuple(ranks),
            pred_indices=True,
            target_indices=True,
        )
        for k, recall in zip(ranks, recalls, strict=True):  # type: ignore[call-overload]
            scores[f'{name}/R@{k}'] = float(recall)
    return scores


def label_accuracy(
    image_embeds: Tensor,
    label_embeds: Tensor,
    labels: Sequence[int],
    ranks: Sequence[int] = LABEL_RANKS,
) -> dict[str, float]:
    """Return how often an image's label is among the nearest of all labels, in percent.

    Args:
        image_embeds (Tensor): ``(N, D)``, not necessarily normalised.
        label_embeds (Tensor): ``(K, D)``, each label once.
        labels (Sequence[int]): Label of each image, ``N`` indices below ``K``.
        ranks (Sequence[int]): Numbers of first places. Defaults to 1 and 5.

    Returns:
        dict[str, float]: ``top-1`` ..., in [0, 100].

    Example:
        >>> label_accuracy(torch.eye(2), torch.eye(2), [0, 0], ranks=[1])
        {'top-1': 50.0}
    """
    similarity = F.normalize(image_embeds, dim=-1) @ F.normalize(label_embeds, dim=-1).T  # (N, K)
    places = tuple(min(k, len(label_embeds)) for k in ranks)  # there may be fewer labels
    # Without a threshold, which would leave out labels with a negative cosine.
    accuracies = Accuracy.calculate(similarity, torch.tensor(labels), topk=places, thrs=(None,))
    return {f'top-{k}': float(value) for k, (value,) in zip(ranks, accuracies, strict=True)}


def _first_places(similarity: Tensor, count: int) -> list[list[int]]:
    """Return the columns of the highest values of each row, the highest first."""
    order = torch.sort(similarity, dim=1, descending=True, stable=True).indices
    return order[:, :count].tolist()
