"""ResumableTrainLoop: an epoch goes on where it stopped, at whatever step that was."""

from collections.abc import Mapping
from typing import Any

from mmengine.runner import EpochBasedTrainLoop
from mmseg.registry import LOOPS

from groupvit_mmseg.datasets.epoch_rest import Taken
from groupvit_mmseg.datasets.image_text_sampler import ImageTextSampler


@LOOPS.register_module()
class ResumableTrainLoop(EpochBasedTrainLoop):
    """mmengine's epochs, resumed in the middle of one as if nothing had happened.

    With an ``ImageTextSampler`` the remaining samples come in the order in which they would have
    come, or, on other numbers of ranks or loader workers, at least exactly those samples. A
    checkpoint of an epoch's end may be written before that epoch's validation; a run that goes on
    from one validates first. :class:`GroupViTRunner` makes this loop of
    ``train_cfg = dict(by_epoch=True, ...)``.
    """

    _validated = 0  # epochs done at the last validation
    _taken: tuple[Taken, ...] = ()  # steps that were done of this epoch before it was resumed
    _first_iter = 0  # iteration at which this process began the epoch

    def progress(self, iteration: int, *, by_epoch: bool) -> dict[str, Any]:
        """What a checkpoint has to say beside its epoch and iteration.

        Args:
            iteration (int): Steps of the run that the checkpoint knows.
            by_epoch (bool): Whether it is of the end of an epoch.

        Returns:
            dict: ``taken``, what was done of an unfinished epoch by which grids of processes (see
            :class:`~groupvit_mmseg.datasets.epoch_rest.Taken`), and ``validated``, the epochs done
            at the last validation.
        """
        taken = () if by_epoch else self._taken_at(iteration)
        return dict(taken=[list(steps) for steps in taken], validated=self._validated)

    def _taken_at(self, iteration: int) -> tuple[Taken, ...]:
        """What was done of the current epoch up to an iteration."""
        now = self._here(iteration - self._first_iter)
        if self._taken and self._taken[-1].same_grid(now):
            *before, last = self._taken
            return (*before, now._replace(steps=now.steps + last.steps))
        return (*self._taken, now) if now.steps else self._taken

    def resume(self, meta: Mapping[str, Any]) -> None:
        """Go on from what a checkpoint says.

        Args:
            meta (Mapping): ``epoch``, ``iter``, and what :meth:`progress` gave.

        Raises:
            ValueError: If the checkpoint is from the middle of an epoch with another number of
                pairs per step.
        """
        self._epoch, self._iter = int(meta['epoch']), int(meta['iter'])
        taken = meta.get('taken')
        if taken is None:  # an older checkpoint
            steps = self._iter - self._epoch * len(self.dataloader)
            taken = [self._here(steps)] if steps > 0 else []
        self._taken = tuple(Taken(*steps) for steps in taken)
        self._first_iter = self._iter
        self._validated = int(meta.get('validated', 0))
        self._check_step_size()

    def run(self) -> Any:
        """Train until the last epoch is done.

        Returns:
            nn.Module: The model.
        """
        self.runner.call_hook('before_train')
        if self._epoch > self._validated and not self._taken:
            self._validate()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate()
        # Workers kept between epochs; left to the garbage collector each takes 5 seconds to end.
        self.dataloader._iterator = None
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        """Do the steps of an epoch that are left."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        done = sum(steps.steps for steps in self._taken)
        self._first_iter = self._iter
        if done < len(self.dataloader):
            for index, data_batch in enumerate(self._batches(done), done):
                self.run_iter(index, data_batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1
        self._taken, self._first_iter = (), self._iter

    def _validate(self) -> None:
        """Validate where the epoch that has just ended asks for it."""
        self._decide_current_val_interval()
        due = self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs
        if self.runner.val_loop is not None and self._epoch >= self.val_begin and due:
            self._validated = self._epoch  # the best checkpoint is written within
            self.runner.val_loop.run()

    def _batches(self, done: int) -> Any:
        """The loader, set to begin behind the steps that are done."""
        if done == 0:
            return self.dataloader
        sampler = getattr(self.dataloader, 'sampler', None)
        if not isinstance(sampler, ImageTextSampler):
            raise ValueError(
                f'A {type(sampler).__name__} cannot begin in the middle of an epoch: use an '
                'ImageTextSampler, or resume from a checkpoint of the end of an epoch.'
            )
        *before, last = self._taken
        if last.same_grid(self._here(0)):
            sampler.set_epoch(self._epoch, last.steps * last.batch_size, before)
        else:
            sampler.set_epoch(self._epoch, 0, self._taken)
        return self.dataloader

    def _here(self, steps: int) -> Taken:
        """Steps done by the processes of this run."""
        loader = self.dataloader
        batch_size = loader.batch_size or 1
        return Taken(self.runner.world_size, max(loader.num_workers, 1), batch_size, steps)

    def _check_step_size(self) -> None:
        """In the middle of an epoch, steps count samples only if all steps are of one size."""
        here = self._here(0)
        for there in self._taken:
            if there.world_size * there.batch_size != here.world_size * here.batch_size:
                raise ValueError(
                    'The checkpoint is from the middle of an epoch with steps of '
                    f'{there.world_size} x {there.batch_size} pairs, this run has '
                    f'{here.world_size} x {here.batch_size}: choose '
                    '`train_dataloader.batch_size` so that the product stays.'
                )
