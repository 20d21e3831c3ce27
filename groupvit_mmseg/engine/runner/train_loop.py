"""Training loops that resume at any step."""

from collections.abc import Generator, Mapping
from typing import Any

from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from mmseg.registry import LOOPS
from torch import nn
from torch.utils.data import DataLoader

from groupvit_mmseg.checkpoints.types import CheckpointMeta
from groupvit_mmseg.engine.hooks.loader_workers_hook import stop_workers
from groupvit_mmseg.engine.runner.epoch_progress import EpochProgress


@LOOPS.register_module()
class ResumableTrainLoop(EpochBasedTrainLoop):
    """mmengine's loop by epochs that also resumes in the middle of an epoch.

    With an ``ImageTextSampler`` a resumed run reads the remaining samples in the same order as an
    uninterrupted one; with another number of ranks or loader workers it reads the same samples in
    another order. A checkpoint of the end of an epoch may be written before the epoch's validation;
    a run that resumes from it validates first. :class:`GroupViTRunner` builds this loop for
    ``train_cfg = dict(by_epoch=True, ...)`` and instead of mmengine's ``EpochBasedTrainLoop``.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): The loader or its config.
        kwargs (Any): Options of mmengine's EpochBasedTrainLoop.

    Example:
        >>> train_cfg = dict(type='ResumableTrainLoop', max_epochs=30, val_interval=5)
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        **kwargs: Any,  # mmengine's options, which are listed there
    ) -> None:
        super().__init__(runner, dataloader, **kwargs)
        self._progress = EpochProgress(self.dataloader, world_size=self.runner.world_size)
        self._validated = 0  # epochs done at the last validation

    def progress(self, iteration: int, *, by_epoch: bool) -> CheckpointMeta:
        """Return the entries of a checkpoint's ``meta`` besides its epoch and iteration.

        Args:
            iteration (int): Iterations done by the run at the time of the checkpoint.
            by_epoch (bool): Whether an epoch has just ended.

        Returns:
            CheckpointMeta: Those of :meth:`.EpochProgress.state_dict`, without any step if an epoch
            has ended, and ``validated``, the epochs done at the last validation.
        """
        meta = self._progress.state_dict(iteration)
        if by_epoch:
            meta['taken'] = []
        meta['validated'] = self._validated
        return meta

    def resume(self, meta: CheckpointMeta) -> None:
        """Resume from a checkpoint.

        Args:
            meta (CheckpointMeta): ``epoch``, ``iter`` and the entries of :meth:`progress`.

        Raises:
            ValueError: If the checkpoint is from the middle of an epoch with another number of
                pairs per step.
        """
        self._epoch, self._iter = int(meta['epoch']), int(meta['iter'])
        self._validated = int(meta.get('validated', 0))
        steps = 0 if 'taken' in meta else self._steps_of_epoch()
        self._progress.resume(meta, self._iter, steps)

    def _steps_of_epoch(self) -> int:
        """Compute the steps done of the epoch, for checkpoints of mmengine's own Runner.

        They record only epoch and iteration.
        """
        length = len(self.dataloader)
        if self._epoch == 0:  # mmengine's loop by iterations does not count epochs
            self._epoch = self._iter // length
        steps = self._iter - self._epoch * length
        if not 0 <= steps < length:
            raise ValueError(
                f'The checkpoint is of epoch {self._epoch} and iteration {self._iter}, which is '
                f'impossible with {length} steps per epoch: keep the data and '
                '`train_dataloader.batch_size`.'
            )
        return steps

    def run(self) -> nn.Module:
        """Train until the last epoch is done; return the model."""
        self.runner.call_hook('before_train')
        if self._epoch > self._validated and not self._progress.history:
            self._validate()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate()
        stop_workers(self.dataloader)
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Do the remaining steps of an epoch."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = self._progress.steps_before
        if done < len(self.dataloader):
            for index, data_batch in enumerate(self._progress.batches(self._epoch), done):
                self.run_iter(index, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1
        self._progress.enter(self._iter)

    def _validate(self) -> None:
        """Validate if a validation is due at the end of this epoch."""
        self._decide_current_val_interval()
        due = self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs
        if self.runner.val_loop is not None and self._epoch >= self.val_begin and due:
            self._validated = self._epoch  # run() writes the best checkpoint
            self.runner.val_loop.run()


@LOOPS.register_module()
class ResumableIterTrainLoop(IterBasedTrainLoop):
    """mmengine's loop by iterations that resumes exactly when it reads image-text pairs.

    Every pass reads each pair once, in its own order; ``epoch`` counts the passes done. Ranks,
    workers and validation behave as in :class:`ResumableTrainLoop`, and either loop can resume from
    a checkpoint of the other. :class:`GroupViTRunner` builds this loop for
    ``train_cfg = dict(by_epoch=False, ...)`` and instead of mmengine's ``IterBasedTrainLoop``.
    With other samplers than ``ImageTextSampler`` it behaves like mmengine's.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader | dict): The loader or its config.
        kwargs (Any): Options of mmengine's IterBasedTrainLoop.

    Example:
        >>> train_cfg = dict(type='ResumableIterTrainLoop', max_iters=80_000, val_interval=8_000)
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        **kwargs: Any,  # mmengine's options, which are listed there
    ) -> None:
        super().__init__(runner, dataloader, **kwargs)
        self._progress = EpochProgress(self.dataloader, world_size=self.runner.world_size)
        self._validated = 0  # iterations done at the last validation

    def progress(self, iteration: int, *, by_epoch: bool) -> CheckpointMeta:
        """Return the entries of a checkpoint's ``meta`` besides its iteration.

        Args:
            iteration (int): Iterations done by the run at the time of the checkpoint.
            by_epoch (bool): Whether the checkpoint hook counts epochs; has no effect.

        Returns:
            CheckpointMeta: Those of :meth:`.EpochProgress.state_dict`, ``epoch``, the passes done,
            and ``validated_iter``, the iterations done at the last validation.
        """
        if self._progress.sampler is None:
            return {}
        meta = self._progress.state_dict(iteration)
        meta.update({'epoch': self._epoch, 'validated_iter': self._validated})
        return meta

    def resume(self, meta: CheckpointMeta) -> None:
        """Resume from a checkpoint.

        Args:
            meta (CheckpointMeta): ``iter`` and the entries of :meth:`progress`.

        Raises:
            ValueError: If the checkpoint is from the middle of a pass with another number of pairs
                per step.
        """
        self._epoch, self._iter = int(meta['epoch']), int(meta['iter'])
        if self._progress.sampler is None:
            return
        steps = 0
        if 'taken' not in meta:  # a checkpoint of mmengine's own Runner
            self._epoch, steps = divmod(self._iter, len(self.dataloader))
        self._validated = int(meta.get('validated_iter', 0))
        self._progress.resume(meta, self._iter, steps)

    def run(self) -> nn.Module:  # type: ignore[override]  # mmengine annotates None
        """Train until the last iteration is done; return the model."""
        if self._progress.sampler is None:
            super().run()
            return self.runner.model
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self._validate()
        batches = self._batches()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(batches))
            self._validate()
        batches.close()
        stop_workers(self.dataloader)
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _batches(self) -> Generator[Any, None, None]:
        """Return the rest of this pass over the data, then pass after pass."""
        while True:
            yield from self._progress.batches(self._epoch)
            self._epoch += 1
            self._progress.enter(self._iter)

    def _validate(self) -> None:
        """Validate if a validation is due at this iteration and not done yet."""
        self._decide_current_val_interval()
        due = self._iter % self.val_interval == 0 or self._iter == self._max_iters
        begun = self._iter >= self.val_begin and self._iter > self._validated
        if self.runner.val_loop is not None and begun and due:
            self._validated = self._iter  # run() writes the best checkpoint
            self.runner.val_loop.run()


RESUMABLE_LOOPS = (ResumableTrainLoop, ResumableIterTrainLoop)
# With their scope, because the default scope may be MMPretrain's.
_REPLACEMENTS = {
    'EpochBasedTrainLoop': 'mmseg.ResumableTrainLoop',
    'IterBasedTrainLoop': 'mmseg.ResumableIterTrainLoop',
}


def resumable(train_cfg: Mapping[str, object]) -> dict[str, object]:
    """Replace mmengine's two training loops in a config by those of this module.

    Args:
        train_cfg (Mapping): Config of a training loop, with ``type`` or ``by_epoch``.

    Returns:
        dict: The config with ``type``; other loops are not replaced.

    Example:
        >>> resumable(dict(by_epoch=True, max_epochs=30))
        {'max_epochs': 30, 'type': 'mmseg.ResumableTrainLoop'}
    """
    cfg = dict(train_cfg)
    if 'type' not in cfg and 'by_epoch' in cfg:
        cfg['type'] = 'EpochBasedTrainLoop' if cfg.pop('by_epoch') else 'IterBasedTrainLoop'
    kind = cfg.get('type')
    name = str(getattr(kind, '__name__', kind)).rpartition('.')[2]  # a class, or a scoped name
    return {**cfg, 'type': _REPLACEMENTS[name]} if name in _REPLACEMENTS else cfg
