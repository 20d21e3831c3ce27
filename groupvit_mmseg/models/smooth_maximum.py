"""The smooth maximum of cosines over the segments of an image.

Shapes: ``B`` images, ``S`` segments, ``M`` texts.
"""

import torch
from torch import Tensor

SMALLEST_SHARE = 1e-6  # added: the logarithm of an empty segment has to be finite

LARGEST_BETA = 80.0  # exp(80) is finite in float32, and so is a sum of many


def smooth_maximum(cosines: Tensor, beta: float, shares: Tensor | None = None) -> Tensor:
    """Return ``log(sum_s a_s exp(beta x_s)) / beta``.

    Args:
        cosines (Tensor): ``(B, S, M)``.
        beta (float): The larger, the nearer to the maximum.
        shares (Tensor, optional): ``(B, S)``, the weights ``a``; None weights each with 1.
            Defaults to None.

    Returns:
        Tensor: ``(B, M)``.

    Example:
        >>> cosines = torch.tensor([[[1.0], [0.0]]])
        >>> smooth_maximum(cosines, beta=100.0)
        tensor([[1.]])
    """
    if beta <= LARGEST_BETA:
        terms = (beta * cosines).exp()
        if shares is not None:
            terms = terms * shares.unsqueeze(-1)  # (B, S, M) * (B, S, 1)
        return terms.sum(1).log() / beta
    exponents = beta * cosines
    if shares is not None:
        exponents = exponents + (shares + SMALLEST_SHARE).log().unsqueeze(-1)
    return torch.logsumexp(exponents, dim=1) / beta
