"""AtomicCheckpointHook: a complete checkpoint is on disk at any moment."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import Runner, find_latest_checkpoint
from mmseg.registry import HOOKS

from groupvit_mmseg.atomic_files import remove_unfinished, write_atomically
from groupvit_mmseg.engine.hooks.run_files import RunFiles, rebase_paths
from groupvit_mmseg.engine.optimizers.optimizer_check import built_optim_wrapper
from groupvit_mmseg.engine.runner.find_checkpoint import PATTERNS, latest_complete_checkpoint

INTERIM = 'iter_{}.pth'
"""str: Name of a checkpoint within an epoch, of a run that saves by epochs."""


class _DeferredRemovalBackend(LocalBackend):
    """Local files that are removed only once their replacements are written."""

    def __init__(self) -> None:
        super().__init__()
        self._obsolete: list[str] = []

    def remove(self, filepath: str | Path) -> None:
        """Register a file for :meth:`remove_obsolete`."""
        self._obsolete.append(str(filepath))

    def remove_obsolete(self, keep: set[str]) -> None:
        """Remove the registered files, except those that were written again."""
        for path in self._obsolete:
            if path not in keep:
                Path(path).unlink(missing_ok=True)
        self._obsolete.clear()


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's CheckpointHook with a safe order of steps, restricted to the run's own files.

    The original deletes the previous best and the oldest kept checkpoint before it writes the
    new ones, and rewrites ``last_checkpoint`` in place: a run killed in between has lost them.
    Here old files are removed after the new ones are complete. The original also removes any paths
    that a checkpoint names; here a run removes only files in its own folder that it wrote itself,
    and never the file that the user named in ``load_from``. Arguments are those of CheckpointHook.

    Example:
        >>> default_hooks = dict(
        ...     checkpoint=dict(type='AtomicCheckpointHook', interval=1, save_best='mIoU')
        ... )
    """

    def before_train(self, runner: Runner) -> None:
        """Prepare as the original does, but defer removals.

        Raises:
            ValueError: If checkpoints of iterations would be written between steps that accumulate
                gradients, or would replace the file of ``load_from``.
        """
        self._check_accumulation(runner, built_optim_wrapper(runner)._accumulative_counts)
        self.files = self._files_of(runner)
        surplus = self._rebase_state(runner)
        with _without_deprecation_notes(runner.logger):
            super().before_train(runner)
        self.file_backend = _DeferredRemovalBackend()
        if is_main_process():
            remove_unfinished(self.files.folder, self.files.has_name_of_checkpoint)
            for step in surplus:
                self._remove_later(step)
        if self.files.continues_here:
            self._set_last(runner, str(self.files.resume_file))

    def _check_accumulation(self, runner: Runner, accumulated: int) -> None:
        """Refuse checkpoints between steps that accumulate gradients; warn of ends of epochs."""
        if self.interval <= 0:  # never
            return
        if not self.by_epoch:
            for name, value in (('interval', self.interval), ('save_begin', self.save_begin)):
                if value % accumulated:
                    raise ValueError(
                        f'A checkpoint with {name}={value} is between the {accumulated} iterations '
                        f'whose gradients are accumulated: choose a multiple of them as `{name}`.'
                    )
        elif runner.max_iters // runner.max_epochs * self.interval % accumulated:
            runner.logger.warning(
                f'The epochs end between the {accumulated} iterations whose gradients are '
                'accumulated: a run that is resumed from such an end lacks those that were there.'
            )

    def folder(self, work_dir: str | Path) -> Path:
        """Return the folder of checkpoints: the work dir, or one of its name below ``out_dir``.

        Args:
            work_dir (str | Path): Work dir of the run, before :meth:`before_train`.
        """
        if self.out_dir is None or str(self.out_dir) == str(work_dir):
            return Path(work_dir)
        return Path(self.out_dir, Path(work_dir).name)

    def newest(self, work_dir: str | Path) -> str | None:
        """Return the newest complete checkpoint; see :func:`.latest_complete_checkpoint`."""
        patterns = sorted({*PATTERNS, self.filename_tmpl.format('*')})
        return latest_complete_checkpoint(work_dir, folder=self.folder(work_dir), patterns=patterns)

    def after_train_epoch(self, runner: Runner) -> None:
        """Save by epochs, then remove obsolete checkpoints."""
        super().after_train_epoch(runner)
        self._remove_obsolete()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict | None = None,
    ) -> None:
        """Save by iterations, then remove obsolete checkpoints."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        self._remove_obsolete()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Save the best checkpoint, then remove the previous best."""
        super().after_val_epoch(runner, metrics or {})
        self._remove_obsolete()

    def after_train(self, runner: Runner) -> None:
        """Publish checkpoints as the original does, without failing if there is no best one."""
        best = getattr(self, 'best_ckpt_path_dict', None)
        if best is not None:
            self.best_ckpt_path_dict = {key: path for key, path in best.items() if path}
        super().after_train(runner)

    def _files_of(self, runner: Runner) -> RunFiles:
        """Collect the run's files; refuse to write over the file that the user named."""
        source = runner._load_from
        if runner._resume and not source:  # mmengine's own Runner does not record it
            source = find_latest_checkpoint(runner.work_dir)
        source_file = Path(source) if source else None
        user_checkpoint = getattr(runner, 'user_checkpoint', runner._load_from)
        files = RunFiles(
            folder=self.folder(runner.work_dir),
            template=self.filename_tmpl,
            resume_file=source_file if runner._resume else None,
            user_file=Path(user_checkpoint) if user_checkpoint else None,
        )
        if source_file is not None and not runner._resume and files.could_replace(source_file):
            raise ValueError(
                f"load_from names {source_file}, which is in the folder of this run's checkpoints "
                'and could be replaced by one of them: choose another --work-dir.'
            )
        return files

    def _rebase_state(self, runner: Runner) -> list[int]:
        """Restrict the run's state to its own files; return the kept steps beyond the limit."""
        info = runner.message_hub.runtime_info
        self._forget_other_metric(runner)
        for note in rebase_paths(info, self.files):
            runner.logger.warning(note)
        others = [] if self.files.continues_here else self.files.checkpoints()
        if others:
            runner.logger.warning(
                f'{self.files.folder} holds checkpoints of another run '
                f'({", ".join(path.name for path in others)}): this run replaces those whose names '
                'it uses too. Name another --work-dir to keep them.'
            )
        steps = info.get('keep_ckpt_ids', [])
        if self.max_keep_ckpts <= 0 or len(steps) <= self.max_keep_ckpts:
            return []
        info['keep_ckpt_ids'] = steps[-self.max_keep_ckpts :]
        return steps[: -self.max_keep_ckpts]

    def _forget_other_metric(self, runner: Runner) -> None:
        """Drop a best score of another metric, which cannot be compared."""
        info = runner.message_hub.runtime_info
        keys = self.key_indicators if self.save_best else ['auto']
        if len(keys) > 1 or 'auto' in keys or not info.get('best_ckpt'):
            return
        name = Path(info['best_ckpt']).name
        if not name.startswith(f'best_{keys[0]}_'.replace('/', '_')):
            info.pop('best_ckpt')
            score = info.pop('best_score', None)
            runner.logger.warning(
                f'The best score so far, {score} of {name}, is not a {keys[0]}: the search for the '
                'best checkpoint starts again, and that file is kept.'
            )

    def _remove_obsolete(self) -> None:
        """Remove the registered files, except the last and the best checkpoint."""
        best = getattr(self, 'best_ckpt_path_dict', None) or {
            '': getattr(self, 'best_ckpt_path', None)
        }
        self.file_backend.remove_obsolete({str(path) for path in [self.last_ckpt, *best.values()]})

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Save a step, record it in ``last_checkpoint`` and register checkpoints to remove."""
        filename = self.filename_tmpl.format(step)
        last_ckpt = self.file_backend.join_path(self.out_dir, filename)
        if self.files.is_user_file(last_ckpt):
            return  # the run resumed from it, so it holds the weights of this step
        self._keep(runner, step)
        runner.message_hub.update_info('last_ckpt', last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            filename,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            **self.args,
        )
        self._set_last(runner, last_ckpt)

        self._remove_interim()

    def save_now(self, runner: Runner) -> str:
        """Save after this training iteration, whatever the interval; return the path.

        Within an epoch of a run that saves by epochs the name is ``iter_N.pth``. The run that
        resumes from such a file removes it once it has written its next checkpoint.
        """
        step = runner.iter + 1
        if not self.by_epoch:
            path = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step))
            if path != self.last_ckpt:
                self._save_checkpoint(runner)
                self._remove_obsolete()
            return path
        name = INTERIM.format(step)
        path = self.file_backend.join_path(self.out_dir, name)
        runner.save_checkpoint(
            self.out_dir,
            name,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            by_epoch=False,
            **self.args,
        )
        self._set_last(runner, path)
        return path

    def _remove_interim(self) -> None:
        """Register the file of :meth:`save_now` from which the run resumed for removal."""
        source = self.files.resume_file
        if source is None or not self.by_epoch or not self.files.continues_here:
            return
        is_interim = source.match(INTERIM.format('*')) and not self.files.is_user_file(source)
        if is_interim and is_main_process():
            self.file_backend.remove(source)

    def _set_last(self, runner: Runner, path: str) -> None:
        """Record the last checkpoint, here and in the file ``last_checkpoint``."""
        self.last_ckpt = path  # type: ignore[assignment]  # mmengine infers None from its default
        if is_main_process():
            pointer = Path(runner.work_dir) / 'last_checkpoint'
            write_atomically(pointer, lambda stream: stream.write(path.encode()))

    def _keep(self, runner: Runner, step: int) -> None:
        """Count a step among the kept ones; register the one that it displaces for removal."""
        if self.max_keep_ckpts <= 0 or (self.keep_ckpt_ids and self.keep_ckpt_ids[-1] == step):
            return
        if len(self.keep_ckpt_ids) == self.max_keep_ckpts and is_main_process():
            self._remove_later(self.keep_ckpt_ids[0])
        self.keep_ckpt_ids.append(step)  # a deque of length max_keep_ckpts drops its oldest entry
        runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))

    def _remove_later(self, step: int) -> None:
        """Register the checkpoint of a step for removal once its replacement is written."""
        name = self.filename_tmpl.format(step)
        self.file_backend.remove(self.file_backend.join_path(self.out_dir, name))


@contextlib.contextmanager
def _without_deprecation_notes(logger: logging.Logger) -> Iterator[None]:
    """Drop mmengine's notes about deprecated names that only its own code uses."""
    notes = ('"HardDiskBackend" is the alias', '"FileClient" will be deprecated')

    def is_other(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(notes)

    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)
