"""A check that scores are numbers, which names the reason if they are not."""

import torch
from torch import Tensor, nn


class NotFiniteError(ValueError):
    """Pixels, weights or scores that are NaN or infinite."""


def check_finite(values: Tensor, images: Tensor | None, model: nn.Module) -> None:
    """Refuse results of a forward pass that are NaN or infinite.

    A NaN spreads to every segment of its image: without this check the first class would win
    everywhere. Only the results are looked at, unless one of them is not finite.

    Args:
        values (Tensor): Results of the forward pass, of any shape.
        images (Tensor, optional): Its input ``(B, 3, H, W)``; None if it is not at hand.
        model (nn.Module): The model.

    Raises:
        NotFiniteError: If a value is not finite; the message names the pixels or the weight.

    Example:
        >>> images = torch.tensor([[[[0.0, float('nan')]]]])
        >>> check_finite(images.sum(), images, nn.Identity())
        Traceback (most recent call last):
        ...
        groupvit_mmseg.models.finite_scores.NotFiniteError: 1 of the 2 pixel values of an ...
    """
    if bool(torch.isfinite(values).all()):
        return
    for image in [] if images is None else images:
        if count := _not_finite(image):
            raise NotFiniteError(
                f'{count} of the {image.numel()} pixel values of an image are NaN or infinite: '
                'check the file and the transforms of the pipeline.'
            )
    for name, weight in [*model.named_parameters(), *model.named_buffers()]:
        if count := _not_finite(weight):
            raise NotFiniteError(
                f'The weight {name} has {count} of {weight.numel()} values that are NaN or '
                'infinite, as after a training that diverged: take an earlier checkpoint.'
            )
    raise NotFiniteError(
        'The scores of an image are NaN or infinite, though its pixels and all weights are finite: '
        "where test_cfg has another precision than 'fp32', take that."
    )


def _not_finite(tensor: Tensor) -> int:
    """Count the values that are NaN or infinite."""
    return int((~torch.isfinite(tensor)).sum())
