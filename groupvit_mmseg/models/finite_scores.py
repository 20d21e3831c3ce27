"""A check that scores are numbers, which names the reason if they are not."""

import torch
from torch import Tensor, nn


def check_finite(values: Tensor, images: Tensor | None, model: nn.Module) -> None:
    """Refuse results of a forward pass that are NaN or infinite.

    A NaN spreads to every segment of its image: without this check the first class would win
    everywhere. Only the results are looked at, unless one of them is not finite.

    Args:
        values (Tensor): Results of the forward pass, of any shape.
        images (Tensor, optional): Its input ``(B, 3, H, W)``; None if it is not at hand.
        model (nn.Module): The model.

    Raises:
        ValueError: If a value is not finite; the message names the pixels or the weight.

    Example:
        >>> images = torch.tensor([[[[0.0, float('nan')]]]])
        >>> check_finite(images.sum(), images, nn.Identity())
        Traceback (most recent call last):
        ...
        ValueError: 1 of the 2 pixel values of an image are NaN or infinite: check the file and ...
    """
    if bool(torch.isfinite(values).all()):
        return
    for image in [] if images is None else images:
        if count := _not_finite(image):
            raise ValueError(
                f'{count} of the {image.numel()} pixel values of an image are NaN or infinite: '
                'check the file and the transforms of the pipeline.'
            )
    for name, weight in [*model.named_parameters(), *model.named_buffers()]:
        if count := _not_finite(weight):
            raise ValueError(
                f'The weight {name} has {count} of {weight.numel()} values that are NaN or '
                'infinite, as after a training that diverged: take an earlier checkpoint.'
            )
    raise ValueError(
        'The scores of an image are NaN or infinite, though its pixels and all weights are finite: '
        "use precision='fp32' in the test_cfg."
    )


def _not_finite(tensor: Tensor) -> int:
    """Count the values that are NaN or infinite."""
    return int((~torch.isfinite(tensor)).sum())
