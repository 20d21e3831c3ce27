"""A loss that teaches groups to be clusters of the patches of an image.

Shapes: ``B`` images, ``N = h * w`` patches, ``S`` segments, ``D`` channels, ``F`` features.
"""

import math

import torch
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor

from groupvit_mmseg.models.precision import autocast_disabled, upcast_half

# The logarithm and the gradient of smaller ones would not be finite; they have no gradient.
SMALLEST_PROBABILITY = 1e-30
# Of the mean square of points; below it their differences are rounding errors.
SMALLEST_VARIANCE = 1e-10

LIMITS = {
    'temperature': 'a number above 1e-6',
    'position_weight': 'a number, at least 0',
    'num_balancing_steps': 'an integer, at least 0',
    'loss_weight': 'a number, at least 0',
}


@MODELS.register_module()
class GroupClusteringLoss(BaseModule):
    r"""Cross-entropy between the assignment of patches and the clusters that they form.

    The targets are one step of k-means. The features of a patch are its projected token, scaled so
    that its squared distance to the image's mean is 1 on average, and its row and column, scaled in
    the same way and then by ``position_weight``. The centre of segment :math:`s` is the mean of all
    patches, weighted with their assignment to it; a patch at distance :math:`d_s` from it belongs
    to it with a probability in proportion to :math:`\exp(-d_s^2 / \text{temperature})`. Lest one
    segment take everything, Sinkhorn's algorithm draws them towards equal sizes over all images
    of a forward pass, as SwAV does with its prototypes (arXiv 2006.09882). Its few steps do not
    split clusters that are far apart.

    No gradient passes through the targets. Ours, not the paper's, whose groups learn from captions
    alone; for segments that are plain means of their tokens, with
    ``backbone.assignment.mean_of_tokens`` and ``image_projector.pool_projected``.

    Args:
        temperature (float): Above 1e-6; the smaller, the nearer to the nearest segment alone.
            Defaults to 0.1.
        position_weight (float): Factor on rows and columns, at least 0; with 1 they count as much
            as the token. Defaults to 0.5.
        num_balancing_steps (int): Steps of Sinkhorn's algorithm; 0 leaves segments as large as they
            become. Several GPUs, and batches whose gradients are accumulated, balance their own
            images. Defaults to 3.
        loss_weight (float): Factor on the loss. Defaults to 1.0.

    Raises:
        ValueError: If an option is out of its range.

    Example:
        >>> import torch
        >>> from groupvit_mmseg.models import GroupClusteringLoss
        >>> loss = GroupClusteringLoss()
        >>> assignment = torch.randn(2, 4, 3, 5).softmax(1)  # of 3 x 5 patches to 4 segments
        >>> loss(torch.randn(2, 15, 8), assignment).shape
        torch.Size([])
    """

    def __init__(
        self,
        *,
        temperature: float = 0.1,
        position_weight: float = 0.5,
        num_balancing_steps: int = 3,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        for name, value in (
            ('temperature', temperature),
            ('position_weight', position_weight),
            ('num_balancing_steps', num_balancing_steps),
            ('loss_weight', loss_weight),
        ):
            kind = int if name == 'num_balancing_steps' else int | float
            is_number = isinstance(value, kind) and math.isfinite(value)
            if not is_number or value < 0 or (name == 'temperature' and value < 1e-6):
                raise ValueError(f'GroupClusteringLoss: {name} = {value!r} must be {LIMITS[name]}.')
        self.temperature = temperature
        self.position_weight = position_weight
        self.num_balancing_steps = num_balancing_steps
        self.loss_weight = loss_weight

    def forward(self, token_embeds: Tensor, assignment: Tensor) -> Tensor:
        """Return the loss of a batch.

        Args:
            token_embeds (Tensor): Projected tokens ``(B, N, D)``, not normalised.
            assignment (Tensor): Probabilities ``(B, S, h, w)`` of the segments.

        Returns:
            Tensor: Scalar, the mean over all patches.
        """
        with autocast_disabled(token_embeds):
            tokens, probs = upcast_half(token_embeds, assignment)
            targets = self.targets(tokens, probs)  # (B, S, N)
            log_probs = probs.flatten(2).clamp(min=SMALLEST_PROBABILITY).log()
            return -self.loss_weight * (targets * log_probs).sum(dim=1).mean()

    @torch.no_grad()
    def targets(self, token_embeds: Tensor, assignment: Tensor) -> Tensor:
        """Return the probability of each segment at each patch, ``(B, S, N)``.

        Args:
            token_embeds (Tensor): ``(B, N, D)``.
            assignment (Tensor): ``(B, S, h, w)``.
        """
        positions = grid_positions(assignment)  # (1, N, 2)
        parts = [unit_variance(token_embeds), self.position_weight * unit_variance(positions)]
        features = torch.cat([parts[0], parts[1].expand(len(token_embeds), -1, -1)], dim=-1)
        members = assignment.flatten(2)  # (B, S, N)
        sizes = members.sum(dim=-1, keepdim=True).clamp(min=SMALLEST_PROBABILITY)
        means = (members / sizes) @ features  # (B, S, N) @ (B, N, F)
        logits = -torch.cdist(means, features).square() / self.temperature  # (B, S, N)
        rows = logits.transpose(1, 2).flatten(0, 1)  # (B * N, S)
        balanced = balance(rows, self.num_balancing_steps).softmax(dim=1)
        return balanced.unflatten(0, token_embeds.shape[:2]).transpose(1, 2)


def unit_variance(points: Tensor) -> Tensor:
    """Return points ``(B, N, D)`` around their mean, at a mean squared distance of 1.

    Points that are all the same become 0, but for rounding errors.
    """
    centred = points - points.mean(dim=1, keepdim=True)
    variance, square = (
        each.square().sum(dim=-1).mean(dim=1)[:, None, None] for each in (centred, points)
    )  # (B, 1, 1)
    smallest = SMALLEST_VARIANCE * square + torch.finfo(points.dtype).tiny
    return centred / torch.maximum(variance, smallest).sqrt()


def grid_positions(maps: Tensor) -> Tensor:
    """Return rows and columns, in [0, 1), of the places of maps ``(B, S, h, w)``: ``(1, N, 2)``."""
    height, width = maps.shape[2:]
    rows = torch.arange(height, device=maps.device, dtype=maps.dtype) / height
    columns = torch.arange(width, device=maps.device, dtype=maps.dtype) / width
    return torch.cartesian_prod(rows, columns).view(1, -1, 2)


def balance(logits: Tensor, num_steps: int) -> Tensor:
    """Scale rows and columns of ``exp(logits)`` in turn (Sinkhorn and Knopp, 1967).

    Args:
        logits (Tensor): ``(n, S)``.
        num_steps (int): The more, the nearer is the sum of each column to ``n / S`` where those of
            rows are 1.

    Returns:
        Tensor: Logarithms ``(n, S)``; rows sum to one if there was a step.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [1.0, 0.0]])
        >>> balance(logits, 100).exp().sum(0).round(decimals=3)
        tensor([1., 1.])
    """
    column_sum = math.log(len(logits) / logits.shape[1])
    for _ in range(num_steps):
        logits = logits - logits.logsumexp(dim=0) + column_sum
        logits = logits.log_softmax(dim=1)
    return logits
