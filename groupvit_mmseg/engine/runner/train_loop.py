"""Training loops that go on where they stopped, at whatever step that was."""

from collections.abc import Generator, Mapping
from typing import Any

from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from mmseg.registry import LOOPS

from groupvit_mmseg.engine.runner.epoch_progress import EpochProgress


@LOOPS.register_module()
class ResumableTrainLoop(EpochBasedTrainLoop):
    """mmengine's epochs, resumed in the middle of one as if nothing had happened.

    With an ``ImageTextSampler`` the remaining samples come in the order in which they would have
    come, or, on other numbers of ranks or loader workers, at least exactly those samples. A
    checkpoint of an epoch's end may be written before that epoch's validation; a run that goes on
    from one validates first. :class:`GroupViTRunner` makes this loop of
    ``train_cfg = dict(by_epoch=True, ...)`` and of mmengine's ``EpochBasedTrainLoop``.

    Args:
        args (Any): Those of mmengine's EpochBasedTrainLoop.
        kwargs (Any): The same by name.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._progress = EpochProgress(self.dataloader, world_size=self.runner.world_size)
        self._validated = 0  # epochs done at the last validation

    def progress(self, iteration: int, *, by_epoch: bool) -> dict[str, Any]:
        """What a checkpoint has to say beside its epoch and iteration.

        Args:
            iteration (int): Steps of the run that the checkpoint knows.
            by_epoch (bool): Whether it is of the end of an epoch.

        Returns:
            dict: That of :meth:`.EpochProgress.state_dict`, with nothing done of the next epoch
            where one has ended, and ``validated``, the epochs done at the last validation.
        """
        note = self._progress.state_dict(iteration)
        if by_epoch:
            note['taken'] = []
        return dict(note, validated=self._validated)

    def resume(self, meta: Mapping[str, Any]) -> None:
        """Go on from what a checkpoint says.

        Args:
            meta (Mapping): ``epoch``, ``iter``, and what :meth:`progress` gave.

        Raises:
            ValueError: If the checkpoint is from the middle of an epoch with another number of
                pairs per step.
        """
        self._epoch, self._iter = int(meta['epoch']), int(meta['iter'])
        self._validated = int(meta.get('validated', 0))
        steps = 0 if 'taken' in meta else self._steps_of_epoch()
        self._progress.resume(meta, self._iter, steps)

    def _steps_of_epoch(self) -> int:
        """Steps done of the epoch, for checkpoints that say no more than epoch and iteration."""
        length = len(self.dataloader)
        if self._epoch == 0:  # those of mmengine's loop by iterations never count it
            self._epoch = self._iter // length
        steps = self._iter - self._epoch * length
        if not 0 <= steps < length:
            raise ValueError(
                f'The checkpoint is of epoch {self._epoch} and iteration {self._iter}, which '
                f'{length} steps per epoch do not give: keep the data and '
                '`train_dataloader.batch_size`.'
            )
        return steps

    def run(self) -> Any:
        """Train until the last epoch is done.

        Returns:
            nn.Module: The model.
        """
        self.runner.call_hook('before_train')
        if self._epoch > self._validated and not self._progress.taken:
            self._validate()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate()
        _end_workers(self.dataloader)
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Do the steps of an epoch that are left."""
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
        """Validate where the epoch that has just ended asks for it."""
        self._decide_current_val_interval()
        due = self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs
        if self.runner.val_loop is not None and self._epoch >= self.val_begin and due:
            self._validated = self._epoch  # the best checkpoint is written within
            self.runner.val_loop.run()


@LOOPS.register_module()
class ResumableIterTrainLoop(IterBasedTrainLoop):
    """mmengine's iterations over image-text pairs, resumed as if nothing had happened.

    The pairs are read once per pass, every pass in an order of its own; ``epoch`` counts the passes
    that are done. What :class:`ResumableTrainLoop` says of ranks, workers and validation holds here
    too, and a checkpoint of either loop can be resumed by the other. :class:`GroupViTRunner` makes
    this loop of ``train_cfg = dict(by_epoch=False, ...)`` and of mmengine's ``IterBasedTrainLoop``.
    With other samplers than ``ImageTextSampler`` it is exactly that.

    Args:
        args (Any): Those of mmengine's IterBasedTrainLoop.
        kwargs (Any): The same by name.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._progress = EpochProgress(self.dataloader, world_size=self.runner.world_size)
        self._validated = 0  # iterations done at the last validation

    def progress(self, iteration: int, *, by_epoch: bool) -> dict[str, Any]:
        """What a checkpoint has to say beside its iteration.

        Args:
            iteration (int): Steps of the run that the checkpoint knows.
            by_epoch (bool): Whether the hook that asks counts in epochs; makes no difference.

        Returns:
            dict: ``epoch``, the passes done; what :meth:`.EpochProgress.state_dict` says; and
            ``validated_iter``, the iterations done at the last validation.
        """
        if self._progress.sampler is None:
            return {}
        note = self._progress.state_dict(iteration)
        return dict(note, epoch=self._epoch, validated_iter=self._validated)

    def resume(self, meta: Mapping[str, Any]) -> None:
        """Go on from what a checkpoint says.

        Args:
            meta (Mapping): ``iter``, and what :meth:`progress` gave.

        Raises:
            ValueError: If the checkpoint is from the middle of a pass with another number of pairs
                per step.
        """
        self._epoch, self._iter = int(meta['epoch']), int(meta['iter'])
        if self._progress.sampler is None:
            return
        steps = 0
        if 'taken' not in meta:  # an older checkpoint
            self._epoch, steps = divmod(self._iter, len(self.dataloader))
        self._validated = int(meta.get('validated_iter', 0))
        self._progress.resume(meta, self._iter, steps)

    def run(self) -> Any:
        """Train until the last iteration is done.

        Returns:
            nn.Module: The model.
        """
        if self._progress.sampler is None:
            return super().run()
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self._validate()
        batches = self._batches()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(batches))
            self._validate()
        batches.close()
        _end_workers(self.dataloader)
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _batches(self) -> Generator[Any, None, None]:
        """The rest of this pass over the data, then one pass after the other."""
        while True:
            yield from self._progress.batches(self._epoch)
            self._epoch += 1
            self._progress.enter(self._iter)

    def _validate(self) -> None:
        """Validate where the iteration that has just ended asks for it and it was not done yet."""
        self._decide_current_val_interval()
        due = self._iter % self.val_interval == 0 or self._iter == self._max_iters
        begun = self._iter >= self.val_begin and self._iter > self._validated
        if self.runner.val_loop is not None and begun and due:
            self._validated = self._iter  # the best checkpoint is written within
            self.runner.val_loop.run()


RESUMABLE_LOOPS = (ResumableTrainLoop, ResumableIterTrainLoop)
# With their scope: the default one may be MMPretrain's.
_INSTEAD_OF = {
    'EpochBasedTrainLoop': 'mmseg.ResumableTrainLoop',
    'IterBasedTrainLoop': 'mmseg.ResumableIterTrainLoop',
}


def resumable(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """A loop's config with those of this module in place of mmengine's two.

    Args:
        cfg (Mapping): ``train_cfg`` with ``type`` or ``by_epoch``.

    Returns:
        dict: The config with ``type``; other loops stay.
    """
    cfg = dict(cfg)
    if 'type' not in cfg and 'by_epoch' in cfg:
        cfg['type'] = 'EpochBasedTrainLoop' if cfg.pop('by_epoch') else 'IterBasedTrainLoop'
    kind = cfg.get('type')
    name = str(getattr(kind, '__name__', kind)).rpartition('.')[2]  # a class, or a scoped name
    return dict(cfg, type=_INSTEAD_OF[name]) if name in _INSTEAD_OF else cfg


def _end_workers(loader: Any) -> None:
    """End workers kept between epochs; left to the garbage collector each takes 5 seconds."""
    loader._iterator = None
