"""AtomicCheckpointHook: at no moment is there no complete checkpoint on disk."""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.runner import find_latest_checkpoint
from mmseg.registry import HOOKS

from groupvit_mmseg.atomic_files import remove_unfinished, write_atomically
from groupvit_mmseg.engine.hooks.run_files import RunFiles, take_over
from groupvit_mmseg.engine.runner.find_checkpoint import PATTERNS, latest_whole_checkpoint


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
    """mmengine's CheckpointHook with the order of its steps made safe, which touches its own files.

    The original deletes the previous best and the oldest kept checkpoint before it writes the
    new ones, and rewrites ``last_checkpoint`` in place: a run killed in between has lost them.
    Here old files go after the new ones are complete. The original also removes whatever paths a
    checkpoint names; here a run removes only what it wrote itself in its own folder, and never the
    file that it was told to read. Arguments are those of CheckpointHook.
    """

    def before_train(self, runner: Any) -> None:
        """Prepare as the original does, with removals that wait.

        Raises:
            ValueError: If checkpoints would fall between steps that accumulate gradients, or would
                replace the file of ``load_from``.
        """
        accumulated = runner.optim_wrapper._accumulative_counts
        if not self.by_epoch and self.interval % accumulated:
            raise ValueError(
                f'A checkpoint each {self.interval} iterations falls between the {accumulated} '
                'whose gradients are accumulated: choose a multiple of them as `interval`.'
            )
        self.files = self._files_of(runner)
        surplus = self._take_over(runner)
        with _without_deprecation_notes(runner.logger):
            super().before_train(runner)
        self.file_backend = _PatientBackend()
        if is_main_process():
            remove_unfinished(self.files.folder, self.files.has_name_of_checkpoint)
            for step in surplus:
                self._doom(step)
        if self.files.goes_on:
            self._point_to(runner, str(self.files.resumed))

    def folder(self, work_dir: str | Path) -> Path:
        """Where checkpoints go: the work dir, or the folder of its name below ``out_dir``.

        Args:
            work_dir (str | Path): Of the run, before :meth:`before_train`.
        """
        if self.out_dir is None or str(self.out_dir) == str(work_dir):
            return Path(work_dir)
        return Path(self.out_dir, Path(work_dir).name)

    def newest(self, work_dir: str | Path) -> str | None:
        """The newest whole checkpoint where this hook writes them, as ``latest`` tells it."""
        patterns = sorted({*PATTERNS, self.filename_tmpl.format('*')})
        return latest_whole_checkpoint(work_dir, folder=self.folder(work_dir), patterns=patterns)

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

    def after_train(self, runner: Any) -> None:
        """Publish as the original does, where there is a best checkpoint."""
        best = getattr(self, 'best_ckpt_path_dict', None)
        if best is not None:
            self.best_ckpt_path_dict = {key: path for key, path in best.items() if path}
        super().after_train(runner)

    def _files_of(self, runner: Any) -> RunFiles:
        """The run's files; what it was told to read may not be among those it will write."""
        source = runner._load_from
        if runner._resume and not source:  # under mmengine's own Runner, which does not note it
            source = find_latest_checkpoint(runner.work_dir)
        read = Path(source) if source else None
        named = getattr(runner, 'named_checkpoint', runner._load_from)
        files = RunFiles(
            folder=self.folder(runner.work_dir),
            template=self.filename_tmpl,
            resumed=read if runner._resume else None,
            named=Path(named) if named else None,
        )
        if read is not None and not runner._resume and files.could_replace(read):
            raise ValueError(
                f'load_from names {read}, which lies where this run writes its checkpoints and '
                'could be replaced by one of them: choose another --work-dir.'
            )
        return files

    def _take_over(self, runner: Any) -> list[int]:
        """Make the run's state speak of its own files; gives kept steps beyond their number."""
        info = runner.message_hub.runtime_info
        self._forget_other_metric(runner)
        for note in take_over(info, self.files):
            runner.logger.warning(note)
        there = [] if self.files.goes_on else self.files.checkpoints()
        if there:
            runner.logger.warning(
                f'{self.files.folder} holds checkpoints of another run '
                f'({", ".join(path.name for path in there)}): this run replaces those whose names '
                'it uses too. Name another --work-dir to keep them.'
            )
        steps = info.get('keep_ckpt_ids', [])
        if self.max_keep_ckpts <= 0 or len(steps) <= self.max_keep_ckpts:
            return []
        info['keep_ckpt_ids'] = steps[-self.max_keep_ckpts :]
        return steps[: -self.max_keep_ckpts]

    def _forget_other_metric(self, runner: Any) -> None:
        """A best score is of one metric; that of another says nothing."""
        info = runner.message_hub.runtime_info
        keys = self.key_indicators if self.save_best else ['auto']
        if len(keys) > 1 or 'auto' in keys or not info.get('best_ckpt'):
            return
        name = Path(info['best_ckpt']).name
        if not name.startswith(f'best_{keys[0]}_'.replace('/', '_')):
            info.pop('best_ckpt')
            score = info.pop('best_score', None)
            runner.logger.warning(
                f'The best score so far, {score} of {name}, is not of {keys[0]}: the best '
                'checkpoint is looked for anew, and that file stays as it is.'
            )

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
        if self.files.is_named(last_ckpt):
            return  # read by order, and its weights are those of this step
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
            self._doom(self.keep_ckpt_ids[0])
        self.keep_ckpt_ids.append(step)  # a deque of max_keep_ckpts: the oldest drops out
        runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))

    def _doom(self, step: int) -> None:
        """Have the checkpoint of a step removed once what replaces it is written."""
        name = self.filename_tmpl.format(step)
        self.file_backend.remove(self.file_backend.join_path(self.out_dir, name))


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
