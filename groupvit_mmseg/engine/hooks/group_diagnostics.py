"""What the groups do while training: how many are used, how alike they are, what they cover."""

import logging
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmseg.registry import HOOKS
from torch import Tensor, nn

from groupvit_mmseg.engine.optimizers.non_finite_watch import unwrap_model
from groupvit_mmseg.engine.sharding import gathered
from groupvit_mmseg.models.grouping import GroupingBlock
from groupvit_mmseg.visualization import draw_groups


@HOOKS.register_module()
class GroupUsageHook(Hook):
    """Logs how segments are used, and warns where they collapse into one.

    For each grouping stage, over the patches of a step of all ranks: ``group_entropy_STAGE``, the
    entropy of the segments' shares over that of equal shares (1: all used alike, 0: one has all),
    and ``dead_groups_STAGE``, the share of the segments that own nothing. And
    ``segment_similarity``, the mean cosine between two final segments of an image.

    Args:
        interval (int): Steps between two looks. Defaults to 50.
        min_entropy (float): Entropy below which a stage counts as collapsed. Defaults to 0.1.
        max_similarity (float): Similarity above which segments do. Defaults to 0.99.
    """

    priority = 'NORMAL'

    def __init__(
        self, interval: int = 50, *, min_entropy: float = 0.1, max_similarity: float = 0.99
    ) -> None:
        self.interval = interval
        self.min_entropy = min_entropy
        self.max_similarity = max_similarity
        self._handles: list[Any] = []
        self._owned: dict[int, Tensor] = {}
        self._similarity: list[Tensor] = []
        self._warned = 0

    def before_train(self, runner: Any) -> None:
        """Refuse a model that has no groups.

        Raises:
            ValueError: If nothing in its backbone groups.
        """
        check_groups(runner.model, type(self).__name__)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Look at this step if it is one of those."""
        if (runner.iter + 1) % self.interval:
            return
        pretrainer: Any = unwrap_model(runner.model)
        backbone = pretrainer.backbone
        blocks = [m for m in backbone.modules() if isinstance(m, GroupingBlock)]
        self._owned, self._similarity = {}, []
        self._handles = [
            block.register_forward_hook(self._count(stage)) for stage, block in enumerate(blocks, 1)
        ]
        self._handles.append(backbone.norm.register_forward_hook(self._compare))

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Log what was seen."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        values = self._values()
        self._owned, self._similarity = {}, []
        for name, value in values.items():
            runner.message_hub.update_scalar(f'train/{name}', value)
        self._warn_of_collapse(values)

    def _count(self, stage: int) -> Callable[..., None]:
        """A forward hook of a grouping block: tokens that each of its segments owns."""

        def count(_: nn.Module, inputs: Any, output: Any) -> None:
            owned = output[1].hard.detach().sum(dim=(0, 2)).double()  # (S,)
            self._owned[stage] = self._owned.get(stage, 0) + owned

        return count

    def _compare(self, _: nn.Module, inputs: Any, segments: Tensor) -> None:
        """A forward hook of the last norm: mean cosine between an image's segments."""
        count = segments.shape[1]
        unit = F.normalize(segments.detach().float(), dim=-1)
        of_all = unit.sum(1).square().sum(-1)  # sum of all cosines, those with itself included
        self._similarity.append(((of_all - count) / max(count * (count - 1), 1)).mean())

    def _values(self) -> dict[str, float]:
        """Numbers over all ranks by name."""
        values: dict[str, float] = {}
        for stage, owned in sorted(self._owned.items()):
            all_reduce(owned)
            values[f'group_entropy_{stage}'] = usage_entropy(owned)
            values[f'dead_groups_{stage}'] = float((owned < 0.5).double().mean())
        if self._similarity:
            similarity = torch.stack(self._similarity).mean()
            all_reduce(similarity, 'mean')
            values['segment_similarity'] = float(similarity)
        return values

    def _warn_of_collapse(self, values: dict[str, float]) -> None:
        """One line at the first collapsed look and whenever their number has doubled."""
        stages = [name for name, value in values.items() if 'entropy' in name]
        found = [
            f'{name} is {values[name]:.2f}' for name in stages if values[name] < self.min_entropy
        ]
        if values.get('segment_similarity', 0.0) > self.max_similarity:
            found.append(f'segment_similarity is {values["segment_similarity"]:.3f}')
        if not found:
            return
        self._warned += 1
        if self._warned & (self._warned - 1) == 0:
            print_log(
                f'The groups collapse: {", ".join(found)}; lower the learning rate, warm up longer '
                'or look at docs/training.md, "What the groups do".',
                logger='current',
                level=logging.WARNING,
            )


def check_groups(model: nn.Module, hook: str) -> None:
    """Raise ``ValueError`` with one sentence if nothing in a model groups."""
    if not any(isinstance(module, GroupingBlock) for module in model.modules()):
        raise ValueError(f'{hook} looks at groups and the model has none: leave the hook out.')


def usage_entropy(owned: Tensor) -> float:
    """Entropy of shares over that of equal shares.

    Args:
        owned (Tensor): ``(S,)``, what each segment owns.

    Returns:
        float: in [0, 1]; 1 for a single segment, which cannot be used unevenly.
    """
    if len(owned) < 2:
        return 1.0
    shares = owned / owned.sum()
    return float(-torch.special.xlogy(shares, shares).sum()) / math.log(len(owned))


@HOOKS.register_module()
class GroupMapHook(Hook):
    """Draws the group maps of the same few images every so many steps.

    The images are the first of the validation data. The pictures go to whatever the run's
    visualizer writes to, files or TensorBoard, as ``group_map_NUMBER``.

    Args:
        interval (int): Steps between two pictures. Defaults to 1000.
        num_images (int): Images. Defaults to 4.
    """

    priority = 'LOW'

    def __init__(self, interval: int = 1000, *, num_images: int = 4) -> None:
        self.interval = interval
        self.num_images = num_images

    def before_train(self, runner: Any) -> None:
        """Refuse a model that has no groups.

        Raises:
            ValueError: If nothing in its backbone groups.
        """
        check_groups(runner.model, type(self).__name__)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Draw after every ``interval`` steps."""
        if self.every_n_train_iters(runner, self.interval):
            self._draw(runner)

    def _draw(self, runner: Any) -> None:
        """One picture per image; only rank 0's visualizer writes."""
        dataset = runner.val_dataloader.dataset
        model = unwrap_model(runner.model)
        training = model.training
        model.eval()
        for number in range(min(self.num_images, len(dataset))):
            with gathered(model):
                picture = group_picture(model, dataset[number]['inputs'])
            runner.visualizer.add_image(f'group_map_{number}', picture, step=runner.iter + 1)
        model.train(training)


@torch.no_grad()
def group_picture(model: Any, image: Tensor) -> Any:
    """An image under the colours of its groups.

    Args:
        model (GroupViTPretrainer): In evaluation mode.
        image (Tensor): ``(3, H, W)`` uint8, blue-green-red.

    Returns:
        NDArray: RGB ``(H, W, 3)`` uint8, each pixel in the colour of its segment.
    """
    batch = model.data_preprocessor(dict(inputs=image[None]))
    output = model.backbone.encode(batch['inputs'])
    group_map = output.group_map()[0].cpu().numpy()
    return draw_groups(image.flip(0).permute(1, 2, 0).cpu().numpy(), group_map)
