"""Segments for a tower that does not group: clusters of its patch tokens.

The paper's zero-shot baselines with a vision transformer. Without clustering every patch is
classified by itself, which is the paper's pixel-wise baseline. Shapes: ``B`` images, ``N`` patches,
``S`` clusters, ``C`` channels.
"""

import importlib.util
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from numpy.typing import NDArray
from torch import Tensor

from groupvit_mmseg.models.outputs import GroupViTOutput
from groupvit_mmseg.models.similarity import normalize

Points = NDArray[np.float32]
Labels = NDArray[np.int64]

MEAN_SHIFT_STARTS = 128
"""int: Tokens from which modes are searched; all 784 of a 448 px crop would take ten seconds."""


@MODELS.register_module()
class PatchClustering(BaseModule):
    """The ``neck`` of a :class:`GroupViTSegmentor` whose backbone does not group.

    It also replaces the groups of a :class:`GroupViT` with one grouping stage and
    ``assignment=dict(mean_of_tokens=True)``. A projector with ``pool_projected`` projects tokens
    before the mean.

    The L2-normalised tokens of each crop are clustered separately; a segment is the mean of its
    tokens, not normalised. Nothing is learned and nothing is random: a crop has the same clusters
    alone, in a batch and in every run.

    - ``'kmeans'``: k-means, the best of ten starts.
    - ``'mean_shift'``: mean shift from at most 128 tokens, with a flat kernel whose width contains
      three tenths of the tokens on average (scikit-learn's default). It determines the number of
      clusters; if that exceeds ``num_clusters``, tokens outside the largest ones join the nearest
      of them.
    - ``'spectral'``: normalised cuts of the graph whose edges are ``exp(-|a - b|^2)``.

    With ``features='colours'`` the clusters depend on no network: a patch is its mean colour, as
    normalised for the network, and the row and column of its centre in [-1, 1]. Tokens still give
    the segments' embeddings, and thus their names.

    Args:
        method (str): One of the three.
        num_clusters (int): Largest number of segments of a crop. Defaults to 8, as a GroupViT has.
        features (str): ``'tokens'`` or ``'colours'``, which is for k-means and mean shift.
            Defaults to ``'tokens'``.

    Raises:
        ImportError: If scikit-learn is not installed.
        ValueError: If there is no such method, no cluster, or no such features.

    Example:
        >>> import torch
        >>> from groupvit_mmseg.models import GroupViTOutput, PatchClustering
        >>> tokens = torch.randn(1, 12, 5)  # of 3 x 4 patches
        >>> output = GroupViTOutput(tokens, tokens.mean(1), (), (), (3, 4), (24, 32))
        >>> clustered = PatchClustering('kmeans', num_clusters=2)(output)
        >>> clustered.segments.shape, clustered.group_map().unique()
        (torch.Size([1, 2, 5]), tensor([0, 1]))
    """

    def __init__(self, method: str, *, num_clusters: int = 8, features: str = 'tokens') -> None:
        super().__init__()
        if features not in ('tokens', 'colours') or (features, method) == ('colours', 'spectral'):
            raise ValueError(
                f"PatchClustering: features must be 'tokens', or with kmeans and mean_shift "
                f"'colours', not {features!r} with {method!r}."
            )
        if method not in METHODS:
            raise ValueError(
                f'PatchClustering: method must be one of {sorted(METHODS)}, not {method!r}; leave '
                'the neck out to name every patch by itself.'
            )
        if num_clusters < 1:
            raise ValueError(f'PatchClustering: num_clusters = {num_clusters} must be positive.')
        if importlib.util.find_spec('sklearn') is None:
            raise ImportError(
                'PatchClustering needs scikit-learn; run: pip install "groupvit-mmseg[clustering]"'
            )
        self.method = method
        self.num_clusters = num_clusters
        self.features = features

    @torch.no_grad()
    def forward(self, output: GroupViTOutput, images: Tensor | None = None) -> GroupViTOutput:
        """Merge the tokens of each crop into segments.

        Args:
            output (GroupViTOutput): Output of a tower that does not group, or whose output has the
                tokens of its patches.
            images (Tensor, optional): The images ``(B, 3, H, W)``; read only for colours. Defaults
                to None.

        Returns:
            GroupViTOutput: With ``num_clusters`` segments and one assignment ``(B, S, N)``. If a
            crop has fewer clusters, the rest are copies of its first segment without patches: they
            change no maximum over segments.

        Raises:
            ValueError: If the tower groups, or there are no images for the colours.
        """
        tokens = output.tokens if len(output.hard_assignments) == 1 else None
        if tokens is None:
            if output.hard_assignments:
                raise ValueError(
                    'PatchClustering makes segments for a tower without groups, such as an '
                    'ImageTower: leave the neck out where the backbone is a GroupViT.'
                )
            tokens = output.segments
        points = self._points(output, tokens, images)  # (B, N, C)
        labels = torch.stack([self._labels(crop) for crop in points]).to(points.device)  # (B, N)
        membership = F.one_hot(labels, self.num_clusters)  # (B, N, S)
        membership = membership.transpose(1, 2).to(points.dtype)  # (B, S, N)
        sizes = membership.sum(dim=-1, keepdim=True)  # (B, S, 1)
        means = membership @ tokens.to(points.dtype) / sizes.clamp(min=1)  # (B, S, C)
        return output._replace(
            segments=torch.where(sizes > 0, means, means[:, :1]),
            hard_assignments=(membership,),
            soft_assignments=(membership,),
            tokens=tokens,
        )

    def _points(self, output: GroupViTOutput, tokens: Tensor, images: Tensor | None) -> Tensor:
        """Return the points to cluster, ``(B, N, C)``: tokens, or colours and positions."""
        if self.features == 'tokens':
            return normalize(tokens)[0]
        if images is None:
            raise ValueError("PatchClustering: features='colours' needs the images.")
        return colours_and_positions(images, output.patch_shape)

    def _labels(self, points: Tensor) -> Tensor:
        """Return the cluster of each point ``(N, C)``, int64 ``(N,)``; cluster 0 is not empty."""
        distinct, copies = np.unique(points.cpu().numpy(), axis=0, return_inverse=True)
        if len(distinct) <= self.num_clusters:
            return torch.from_numpy(copies.reshape(-1))
        labels = METHODS[self.method](points.cpu().numpy(), self.num_clusters)
        return torch.from_numpy(np.unique(labels, return_inverse=True)[1].reshape(-1))


def colours_and_positions(images: Tensor, patch_shape: tuple[int, int]) -> Tensor:
    """Return the mean colour, row and column of each patch.

    Args:
        images (Tensor): ``(B, 3, H, W)``.
        patch_shape (tuple[int, int]): ``h, w``.

    Returns:
        Tensor: ``(B, N, 5)``; rows and columns are those of the centres, in [-1, 1].

    Example:
        >>> colours_and_positions(torch.ones(1, 3, 4, 8), (1, 2))
        tensor([[[ 1.0000,  1.0000,  1.0000,  0.0000, -0.5000],
                 [ 1.0000,  1.0000,  1.0000,  0.0000,  0.5000]]])
    """
    colours = F.adaptive_avg_pool2d(images, patch_shape)  # (B, 3, h, w)
    rows, columns = (
        (2 * torch.arange(count, device=images.device, dtype=images.dtype) + 1) / count - 1
        for count in patch_shape
    )  # (h,), (w,)
    grid = torch.stack(torch.meshgrid(rows, columns, indexing='ij'))  # (2, h, w)
    points = torch.cat([colours, grid.expand(len(images), -1, -1, -1)], dim=1)  # (B, 5, h, w)
    return points.flatten(2).transpose(1, 2)  # (B, N, 5)


def kmeans(points: Points, num_clusters: int) -> Labels:
    """Run k-means from ten sets of distant starts; return the best result."""
    from sklearn.cluster import KMeans

    return KMeans(num_clusters, n_init=10, random_state=0).fit_predict(points)


def mean_shift(points: Points, num_clusters: int) -> Labels:
    """Run mean shift from some of the points; the others join the nearest mode."""
    from sklearn.cluster import MeanShift, estimate_bandwidth

    starts = np.unique(np.linspace(0, len(points) - 1, MEAN_SHIFT_STARTS).astype(int))
    bandwidth = estimate_bandwidth(points, quantile=0.3)
    labels = MeanShift(bandwidth=bandwidth, seeds=points[starts]).fit_predict(points)
    return keep_largest(points, labels, num_clusters)


def spectral(points: Points, num_clusters: int) -> Labels:
    """Cluster the graph of all points spectrally."""
    from sklearn.cluster import SpectralClustering

    edges = np.exp(2 * (points @ points.T) - 2)  # of unit vectors: exp(-|a - b|^2)
    clusters = SpectralClustering(num_clusters, affinity='precomputed', random_state=0)
    return clusters.fit_predict(edges)


def keep_largest(points: Points, labels: Labels, num_clusters: int) -> Labels:
    """Keep the largest clusters; points of the others join the nearest mean."""
    sizes = np.bincount(labels)
    largest = np.sort(np.argsort(-sizes, kind='stable')[:num_clusters])
    means = np.stack([points[labels == label].mean(axis=0) for label in largest])
    nearest = np.linalg.norm(points[:, None] - means, axis=-1).argmin(axis=1)
    return np.where(np.isin(labels, largest), np.searchsorted(largest, labels), nearest)


METHODS: dict[str, Callable[[Points, int], Labels]] = {
    'kmeans': kmeans,
    'mean_shift': mean_shift,
    'spectral': spectral,
}
