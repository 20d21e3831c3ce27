"""AtomicCheckpointHook: at no moment is there no complete checkpoint on disk."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmseg.registry import HOOKS

from groupvit_mmseg.checkpoints.writing import remove_unfinished, write_atomically


class _PatientBackend(LocalBackend):
    """Local files whose removals wait until what replaces them is written."""

    def __init__(self) -> None:
        super().__init__()
        self.doomed: list[str] = []

    def remove(self, filepath: str | Path) -> None:
        """Note the file; :meth:`settle` removes it."""
        self.doomed.append(str(filepath))

    def settle(self, keep: set[str]) -> None:
        """Remove the noted files but those that were written again."""
        for path in self.doomed:
            if path not in keep:
                Path(path).unlink(missing_ok=True)
        self.doomed.clear()


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's CheckpointHook with the order of its steps made safe.

    The original deletes the previous best and the oldest kept checkpoint before it writes the
    new ones, and rewrites ``last_checkpoint`` in place: a run killed in between has lost them.
    Here old files go after the new ones are complete. Arguments are those of CheckpointHook.
    """

    def before_train(self, runner: Any) -> None:
        """Prepare as the original does, with removals that wait.

        Raises:
            ValueError: If checkpoints would fall between steps that accumulate gradients.
        """
        accumulated = runner.optim_wrapper._accumulative_counts
        if not self.by_epoch and self.interval % accumulated:
            raise ValueError(
                f'A checkpoint each {self.interval} iterations falls between the {accumulated} '
                'whose gradients are accumulated: choose a multiple of them as `interval`.'
            )
        with _without_deprecation_notes(runner.logger):
            super().before_train(runner)
        self.file_backend = _PatientBackend()
        if is_main_process():
            remove_unfinished(Path(self.out_dir))
        resumed = Path(runner._load_from) if runner._resume and runner._load_from else None
        if resumed is not None and resumed.resolve().parent == Path(self.out_dir).resolve():
            self._point_to(runner, str(resumed))

    def after_train_epoch(self, runner: Any) -> None:
        """Save where an epoch is a step, then remove what is no longer kept."""
        super().after_train_epoch(runner)
        self._settle()

    def after_train_iter(self, runner: Any, *args: Any, **kwargs: Any) -> None:
        """Save where an iteration is a step, then remove what is no longer kept."""
        super().after_train_iter(runner, *args, **kwargs)
        self._settle()

    def after_val_epoch(self, runner: Any, metrics: dict[str, float]) -> None:
        """Save the best, then remove the previous best."""
        super().after_val_epoch(runner, metrics)
        self._settle()

    def _settle(self) -> None:
        """Remove the noted files but the last and the best."""
        best = getattr(self, 'best_ckpt_path_dict', None) or {
            '': getattr(self, 'best_ckpt_path', None)
        }
        self.file_backend.settle({str(path) for path in [self.last_ckpt, *best.values()]})

    def _save_checkpoint_with_step(self, runner: Any, step: int, meta: dict) -> None:
        """Save ``step``, note it in ``last_checkpoint``, doom what no longer is to be kept."""
        filename = self.filename_tmpl.format(step)
        last_ckpt = self.file_backend.join_path(self.out_dir, filename)
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
        self._point_to(runner, last_ckpt)

    def _point_to(self, runner: Any, path: str) -> None:
        """Note which checkpoint is the last one, here and in ``last_checkpoint``."""
        self.last_ckpt = path
        if is_main_process():
            pointer = Path(runner.work_dir) / 'last_checkpoint'
            write_atomically(pointer, lambda stream: stream.write(path.encode()))

    def _keep(self, runner: Any, step: int) -> None:
        """Count ``step`` among the kept ones; the one that falls out is doomed."""
        if self.max_keep_ckpts <= 0 or (self.keep_ckpt_ids and self.keep_ckpt_ids[-1] == step):
            return
        if len(self.keep_ckpt_ids) == self.max_keep_ckpts and is_main_process():
            oldest = self.filename_tmpl.format(self.keep_ckpt_ids[0])
            self.file_backend.remove(self.file_backend.join_path(self.out_dir, oldest))
        self.keep_ckpt_ids.append(step)  # a deque of max_keep_ckpts: the oldest drops out
        runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))


@contextlib.contextmanager
def _without_deprecation_notes(logger: logging.Logger) -> Iterator[None]:
    """Drop mmengine's notes about deprecated names that only its own code uses."""
    notes = ('"HardDiskBackend" is the alias', '"FileClient" will be deprecated')

    def wanted(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(notes)

    logger.addFilter(wanted)
    try:
        yield
    finally:
        logger.removeFilter(wanted)
