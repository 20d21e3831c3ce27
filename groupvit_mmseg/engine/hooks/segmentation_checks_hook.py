"""Masks and data sets are checked where a model learns from masks or is evaluated on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.hooks import Hook
from mmseg.models.decode_heads import STDCHead, VPDDepthHead
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.registry import HOOKS

from groupvit_mmseg.datasets.segmentation_checks import check_masks, check_set
from groupvit_mmseg.engine.optimizers.non_finite_watch import unwrap_model
from groupvit_mmseg.models import GroupViTSegmentor

OF_OTHER_LABELS = (STDCHead, VPDDepthHead)  # boundaries, depths


@HOOKS.register_module()
class SegmentationChecksHook(Hook):
    """Says which file it is where a label without a class would be an index out of range.

    :class:`GroupViTRunner` has it always. Data sets are checked once, when a loop begins; masks in
    each batch, before the model sees them. A :class:`GroupViTSegmentor` checks its masks itself.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Any) -> None:
        """Check the sets to learn from and to validate on, before the first step."""
        num_classes = classes_of(unwrap_model(runner.model))
        if num_classes is not None:
            _check(runner.train_dataloader.dataset, num_classes, for_training=True)
        if runner.val_loop is not None:
            self._check_evaluated(runner.val_loop, runner)

    def before_val(self, runner: Any) -> None:
        """Check the set of a validation alone; in a training it has been."""
        if runner._train_loop is None or isinstance(runner._train_loop, dict):
            self._check_evaluated(runner.val_loop, runner)

    def before_test(self, runner: Any) -> None:
        """Check the set to test on."""
        self._check_evaluated(runner.test_loop, runner)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Check the masks of a training batch, cut as they are."""
        _check_batch(runner, data_batch, at_original_size=False)

    def before_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Check the masks of a batch."""
        _check_batch(runner, data_batch, at_original_size=True)

    before_test_iter = before_val_iter

    @staticmethod
    def _check_evaluated(loop: Any, runner: Any) -> None:
        """Check the set of a loop for the model that the loop evaluates."""
        num_classes = classes_of(getattr(loop, 'segmentor', unwrap_model(runner.model)))
        if num_classes is not None:
            _check(loop.dataloader.dataset, num_classes)


def classes_of(model: Any) -> int | None:
    """Classes that a model tells apart; None if it does not segment.

    Raises:
        ValueError: If its heads disagree.
    """
    if isinstance(model, GroupViTSegmentor):
        return model.num_classes
    heads = {
        name: head.num_classes
        for name, head in model.named_modules()
        if isinstance(head, BaseDecodeHead) and not isinstance(head, OF_OTHER_LABELS)
    }
    if len(set(heads.values())) > 1:
        raise ValueError(
            f'The heads have different numbers of classes, {heads}: set num_classes of each.'
        )
    return next(iter(heads.values()), None)


def _check(dataset: Any, num_classes: int, *, for_training: bool = False) -> None:
    """Check a data set, or the ones that it is made of."""
    parts: Sequence[Any] = getattr(dataset, 'datasets', None) or [dataset]
    for part in parts:
        check_set(getattr(part, 'dataset', part), num_classes, for_training=for_training)


def _check_batch(runner: Any, data_batch: Any, *, at_original_size: bool) -> None:
    """Check the masks of a batch of a model that segments."""
    model = unwrap_model(runner.model)
    samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
    if samples is None or isinstance(model, GroupViTSegmentor):
        return
    num_classes = classes_of(model)
    if num_classes is not None:
        labels = max(num_classes, 2)  # one class by a sigmoid has the labels 0 and 1
        head = getattr(model, 'decode_head', None)
        ignored = getattr(head, 'ignore_index', 255)
        check_masks(samples, labels, ignored, at_original_size=at_original_size)
