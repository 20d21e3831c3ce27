"""Hook that checks masks and data sets of training, validation and test."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from mmseg.models.decode_heads import STDCHead, VPDDepthHead
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import HOOKS
from torch import nn
from torch.utils.data import Dataset

from groupvit_mmseg.datasets.segmentation_checks import check_masks, check_set
from groupvit_mmseg.engine.optimizers.non_finite_watch import unwrap_model
from groupvit_mmseg.models import GroupViTSegmentor

HEADS_WITHOUT_CLASSES = (STDCHead, VPDDepthHead)  # they predict boundaries and depths


@HOOKS.register_module()
class SegmentationChecksHook(Hook):
    """Names the file of a label without a class, which would be an index out of range.

    :class:`GroupViTRunner` always has this hook. It checks data sets once, when a loop begins, and
    the masks of each batch before the model receives them. A :class:`GroupViTSegmentor` checks its
    masks itself.

    Example:
        >>> custom_hooks = [dict(type='SegmentationChecksHook')]  # for mmengine's own Runner
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Check the training and the validation set before the first step."""
        num_classes = classes_of(unwrap_model(runner.model))
        if num_classes is not None:
            _check(runner.train_dataloader.dataset, num_classes, for_training=True)
        if runner.val_loop is not None:
            self._check_evaluated(runner.val_loop, runner)

    def before_val(self, runner: Runner) -> None:
        """Check the set of a validation outside training; within training it has been checked."""
        if runner._train_loop is None or isinstance(runner._train_loop, dict):
            self._check_evaluated(runner.val_loop, runner)

    def before_test(self, runner: Runner) -> None:
        """Check the test set."""
        self._check_evaluated(runner.test_loop, runner)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None
    ) -> None:
        """Check the masks of a training batch, which have the size of the images."""
        _check_batch(runner, data_batch, at_original_size=False)

    def before_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None
    ) -> None:
        """Check the masks of a batch, which have their original size."""
        _check_batch(runner, data_batch, at_original_size=True)

    before_test_iter = before_val_iter

    @staticmethod
    def _check_evaluated(loop: BaseLoop, runner: Runner) -> None:
        """Check a loop's set for the model that the loop evaluates."""
        num_classes = classes_of(getattr(loop, 'segmentor', unwrap_model(runner.model)))
        if num_classes is not None:
            _check(loop.dataloader.dataset, num_classes)


def classes_of(model: nn.Module) -> int | None:
    """Return the number of classes that a model segments; None if it does not segment.

    Raises:
        ValueError: If its heads have different numbers of classes.
    """
    if isinstance(model, GroupViTSegmentor):
        return model.num_classes
    heads = {
        name: head.num_classes
        for name, head in model.named_modules()
        if isinstance(head, BaseDecodeHead) and not isinstance(head, HEADS_WITHOUT_CLASSES)
    }
    if len(set(heads.values())) > 1:
        raise ValueError(
            f'The heads have different numbers of classes, {heads}: set num_classes of each.'
        )
    return next(iter(heads.values()), None)


def _check(dataset: Dataset, num_classes: int, *, for_training: bool = False) -> None:
    """Check a data set, or the sets that it wraps."""
    parts: Sequence[Dataset] = getattr(dataset, 'datasets', None) or [dataset]
    for part in parts:
        check_set(getattr(part, 'dataset', part), num_classes, for_training=for_training)


def _check_batch(runner: Runner, data_batch: DATA_BATCH, *, at_original_size: bool) -> None:
    """Check the masks of a batch of a model that segments."""
    model = unwrap_model(runner.model)
    samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
    if samples is None or isinstance(model, GroupViTSegmentor):
        return
    num_classes = classes_of(model)
    if num_classes is not None:
        num_labels = max(num_classes, 2)  # one class with a sigmoid has the labels 0 and 1
        head = getattr(model, 'decode_head', None)
        ignore_index = getattr(head, 'ignore_index', 255)
        check_masks(samples, num_labels, ignore_index, at_original_size=at_original_size)
