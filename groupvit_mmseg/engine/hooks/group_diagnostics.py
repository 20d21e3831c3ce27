"""Hooks that log how the groups are used in training and draw the group maps of some images.

Letters of shapes are those of :mod:`groupvit_mmseg.models`: ``B`` images, ``N`` tokens, ``S``
segments, ``C`` channels, ``h, w`` patches, ``H, W`` pixels.
"""

import logging
import math
from collections.abc import Callable
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmseg.registry import HOOKS
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from groupvit_mmseg.engine.optimizers.non_finite_watch import unwrap_model
from groupvit_mmseg.engine.sharding import gathered
from groupvit_mmseg.models.assignment import Assignment, mean_of_members
from groupvit_mmseg.models.grouping import GroupingBlock
from groupvit_mmseg.models.groupvit import GroupViT
from groupvit_mmseg.visualization import draw_groups, enlarge

SMALLEST_SIDE = 160
"""int: Images with a shorter side are enlarged before groups are drawn over them."""


@HOOKS.register_module()
class GroupUsageHook(Hook):
    """Logs how evenly segments are used, and warns if they collapse into one.

    Values are over the patches of a step on all ranks. For each grouping stage:
    ``group_entropy_STAGE``, the entropy of the segments' shares divided by that of equal shares
    (1: all are used equally, 0: one owns all patches), and ``dead_groups_STAGE``, the fraction of
    segments that own nothing. Also ``segment_similarity``, the mean cosine similarity of two final
    segments of an image.

    Args:
        interval (int): Steps between two measurements. Defaults to 50.
        min_entropy (float): Entropy below which a stage counts as collapsed. Defaults to 0.1.
        max_similarity (float): Similarity above which segments count as collapsed. Defaults to
            0.99.

    Example:
        >>> custom_hooks = [dict(type='GroupUsageHook', interval=100)]
    """

    priority = 'NORMAL'

    def __init__(
        self, interval: int = 50, *, min_entropy: float = 0.1, max_similarity: float = 0.99
    ) -> None:
        self.interval = interval
        self.min_entropy = min_entropy
        self.max_similarity = max_similarity
        self._handles: list[RemovableHandle] = []
        self._patch_counts: dict[int, Tensor] = {}  # (S,) of each stage
        self._hard = torch.empty(0)  # (B, S, N) of the last stage so far
        self._similarities: list[Tensor] = []
        self._num_collapses = 0

    def before_train(self, runner: Runner) -> None:
        """Refuse a model without groups.

        Raises:
            ValueError: If its backbone has no grouping block.
        """
        check_groups(runner.model, type(self).__name__)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None
    ) -> None:
        """Attach the forward hooks every ``interval`` steps."""
        if (runner.iter + 1) % self.interval:
            return
        backbone = backbone_of(unwrap_model(runner.model))
        blocks = [m for m in backbone.modules() if isinstance(m, GroupingBlock)]
        self._patch_counts, self._similarities = {}, []
        self._handles = [
            block.register_forward_hook(self._count(stage)) for stage, block in enumerate(blocks, 1)
        ]
        compare = self._compare_means if backbone.keeps_tokens else self._compare
        self._handles.append(backbone.norm.register_forward_hook(compare))

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict | None = None,
    ) -> None:
        """Remove the forward hooks and log their measurements."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        values = self._values()
        self._patch_counts, self._similarities = {}, []
        self._hard = torch.empty(0)
        for name, value in values.items():
            runner.message_hub.update_scalar(f'train/{name}', value)
        self._warn_of_collapse(values)

    def _count(self, stage: int) -> Callable[[nn.Module, tuple, tuple[Tensor, Assignment]], None]:
        """Make the forward hook of a stage, which counts the tokens that each segment owns."""

        def count(_: nn.Module, inputs: tuple, output: tuple[Tensor, Assignment]) -> None:
            self._hard = hard = output[1].hard.detach()  # (B, S, N)
            counts = hard.sum(dim=(0, 2), dtype=torch.float32)  # (S,), exact below 16 million
            self._patch_counts[stage] = self._patch_counts.get(stage, 0) + counts

        return count

    def _compare(self, _: nn.Module, inputs: tuple, segments: Tensor) -> None:
        """Record the mean cosine similarity of an image's segments, as a hook of the last norm."""
        unit = F.normalize(segments.detach().float(), dim=-1)  # (B, S, C)
        # (B,): the segments, without empty ones, which are 0 where segments are plain means; and
        # the sum of all their cosines, including each segment's with itself.
        count = unit.any(dim=-1).sum(1)
        sums = unit.sum(1).square().sum(-1)
        self._similarities.append(((sums - count) / (count * (count - 1)).clamp_min(1)).mean())

    def _compare_means(self, norm: nn.Module, inputs: tuple, tokens: Tensor) -> None:
        """Record the same where the norm is that of the tokens, whose means the segments are."""
        segments = mean_of_members(tokens.detach().float(), self._hard.float())
        self._compare(norm, inputs, segments)

    def _values(self) -> dict[str, float]:
        """Reduce the measurements over all ranks; return the values by name."""
        values: dict[str, float] = {}
        for stage, counts in sorted(self._patch_counts.items()):
            all_reduce(counts)
            values[f'group_entropy_{stage}'] = usage_entropy(counts)
            values[f'dead_groups_{stage}'] = float((counts < 0.5).double().mean())
        if self._similarities:
            similarity = torch.stack(self._similarities).mean()
            all_reduce(similarity, 'mean')
            values['segment_similarity'] = float(similarity)
        return values

    def _warn_of_collapse(self, values: dict[str, float]) -> None:
        """Warn at the first collapse and each time the number of collapses has doubled."""
        stages = [name for name in values if 'entropy' in name]
        signs = [
            f'{name} is {values[name]:.2f}' for name in stages if values[name] < self.min_entropy
        ]
        if values.get('segment_similarity', 0.0) > self.max_similarity:
            signs.append(f'segment_similarity is {values["segment_similarity"]:.3f}')
        if not signs:
            return
        self._num_collapses += 1
        if self._num_collapses & (self._num_collapses - 1) == 0:
            print_log(
                f'The groups collapse: {", ".join(signs)}; lower the learning rate, use a longer '
                'warm-up or see docs/training.md, "What the groups do".',
                logger='current',
                level=logging.WARNING,
            )


def check_groups(model: nn.Module, hook: str) -> None:
    """Refuse a model without a grouping block.

    Raises:
        ValueError: If the model has none.
    """
    if not any(isinstance(module, GroupingBlock) for module in model.modules()):
        raise ValueError(f'{hook} measures groups and the model has none: remove the hook.')


def backbone_of(model: nn.Module) -> GroupViT:
    """Return the backbone of a model that has passed :func:`check_groups`."""
    return cast(GroupViT, model.backbone)  # only a GroupViT has grouping blocks


def usage_entropy(counts: Tensor) -> float:
    """Compute the entropy of shares divided by that of equal shares.

    Args:
        counts (Tensor): ``(S,)``, the number of patches that each segment owns.

    Returns:
        float: In [0, 1]; 1 for a single segment, which cannot be used unevenly.
    """
    if len(counts) < 2:
        return 1.0
    shares = counts / counts.sum()
    return float(-torch.special.xlogy(shares, shares).sum()) / math.log(len(counts))


@HOOKS.register_module()
class GroupMapHook(Hook):
    """Draws the group maps of the first images of the validation data at regular intervals.

    The run's visualizer writes the figures to files or TensorBoard as ``group_map_NUMBER``.

    Args:
        interval (int): Steps between two figures. Defaults to 1000.
        num_images (int): Number of images. Defaults to 4.

    Example:
        >>> custom_hooks = [dict(type='GroupMapHook', interval=500)]
    """

    priority = 'LOW'

    def __init__(self, interval: int = 1000, *, num_images: int = 4) -> None:
        self.interval = interval
        self.num_images = num_images

    def before_train(self, runner: Runner) -> None:
        """Refuse a model without groups.

        Raises:
            ValueError: If its backbone has no grouping block.
        """
        check_groups(runner.model, type(self).__name__)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict | None = None,
    ) -> None:
        """Draw after every ``interval`` steps."""
        if self.every_n_train_iters(runner, self.interval):
            self._draw(runner)

    def _draw(self, runner: Runner) -> None:
        """Draw one figure per image; only the visualizer of rank 0 writes."""
        dataset = runner.val_dataloader.dataset
        model = unwrap_model(runner.model)
        training = model.training
        model.eval()
        for index in range(min(self.num_images, len(dataset))):
            with gathered(model):
                figure = group_figure(model, dataset[index]['inputs'])
            runner.visualizer.add_image(f'group_map_{index}', figure, step=runner.iter + 1)
        model.train(training)


@torch.no_grad()
def group_figure(model: nn.Module, image: Tensor) -> NDArray[np.uint8]:
    """Draw the segments of an image over it, each in its colour; a small image is enlarged.

    Args:
        model (nn.Module): A pretrainer in evaluation mode.
        image (Tensor): BGR ``(3, H, W)`` uint8.

    Returns:
        NDArray: RGB ``(H, W, 3)`` uint8, a whole number of times the size of the image.
    """
    preprocess = cast(nn.Module, model.data_preprocessor)  # every model of mmengine has one
    batch = preprocess(dict(inputs=image[None]))  # (1, 3, H, W)
    output = backbone_of(model).encode(batch['inputs'])
    group_map = output.group_map()[0].cpu().numpy()  # (H, W)
    pixels = image.flip(0).permute(1, 2, 0).cpu().numpy()
    return draw_groups(enlarge(pixels, SMALLEST_SIDE), enlarge(group_map, SMALLEST_SIDE))
