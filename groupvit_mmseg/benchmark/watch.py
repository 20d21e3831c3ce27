"""Companion to a running training: evaluates each new checkpoint, and keeps the best.

Everything that it knows is in its folder, so that it can be stopped and started at any moment:

- ``checkpoints/NAME``: the evaluation of a checkpoint, and ``done.json`` once it is complete;
- ``curve.csv``, ``curve.png``: the scores by checkpoint, written again from these folders;
- ``best.pth``: the checkpoint of the highest score.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import NamedTuple

from groupvit_mmseg.atomic_files import write_atomically
from groupvit_mmseg.benchmark.report import describe_checkpoint, write_json
from groupvit_mmseg.benchmark.watched_checkpoints import (
    WatchedCheckpoint,
    is_complete,
    last_checkpoint_name,
    named_checkpoints,
)
from groupvit_mmseg.checkpoints.loading import NotFiniteError

BEST = 'best.pth'
# Errors of a checkpoint that no repetition mends; the watch goes on without it.
USELESS = (UnpicklingError, NotFiniteError)


class CheckpointScores(NamedTuple):
    """Scores of a checkpoint.

    Attributes:
        kind (str): ``epoch`` or ``iter``.
        step (int): Number of the epoch or the iteration.
        folder (Path): Folder of its evaluation.
        scores (dict[str, float]): mIoU (ImageNet: top-1) in percent, by the name of the result.
    """

    kind: str
    step: int
    folder: Path
    scores: dict[str, float]

    @property
    def mean(self) -> float:
        """Mean over the sets, by which the best checkpoint is chosen."""
        return sum(self.scores.values()) / len(self.scores)


@dataclass
class CheckpointWatch:
    """Evaluates the checkpoints of a work directory, each once.

    Attributes:
        work_dir (Path): Folder of the training; it is only read.
        out (Path): Folder of the results.
        evaluate (Callable): Evaluates a checkpoint (first argument) into a folder (second), as
            ``tools/evaluate.py`` does.
        options (Sequence[str]): Options of the evaluation; a folder of others is refused.

    Raises:
        FileNotFoundError: If there is no work directory.
        ValueError: If ``out`` was begun with other options.
    """

    work_dir: Path
    out: Path
    evaluate: Callable[[Path, Path], None]
    options: Sequence[str] = ()
    _skipped: dict[Path, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the folders."""
        if not self.work_dir.is_dir():
            raise FileNotFoundError(f'There is no work directory {self.work_dir} to watch.')
        record, options = self.out / 'watch.json', list(self.options)
        has_results = any((self.out / 'checkpoints').glob('*/done.json'))
        if has_results and json.loads(record.read_text(encoding='utf-8')) != dict(options=options):
            raise ValueError(
                f'{self.out} was begun with other options: name another folder with --out.'
            )
        write_json(dict(options=options), record)
        for done in (self.out / 'checkpoints').glob('*/done.json'):  # of an interrupted run
            for held in done.parent.glob('*.pth'):
                held.unlink()

    def pending(self) -> list[WatchedCheckpoint]:
        """List the complete checkpoints without a result, those of the earliest steps first.

        One that was deleted while it was evaluated is still in its folder of ``out``.
        """
        held = list((self.out / 'checkpoints').glob('*/*.pth'))
        found = {
            each.path.name: each for each in named_checkpoints([*held, *self.work_dir.iterdir()])
        }
        return sorted(each for each in found.values() if self._is_pending(each.path))

    def _is_pending(self, path: Path) -> bool:
        """Return whether a checkpoint is complete and has no result."""
        identity = _identity(path)
        if identity is None or self._skipped.get(path) == identity or not is_complete(path):
            return False
        done = self._folder(path) / 'done.json'
        if not done.is_file():
            return True
        record = json.loads(done.read_text(encoding='utf-8'))
        if record['identity'] == list(identity):
            return False
        return record['sha256'] != describe_checkpoint(path)['sha256']  # equal: a copy

    def run_pending(self) -> Iterator[CheckpointScores]:
        """Evaluate all pending checkpoints; yield the scores of each."""
        for each in self.pending():
            scores = self._run(each)
            if scores is not None:
                yield scores

    def _run(self, each: WatchedCheckpoint) -> CheckpointScores | None:
        """Evaluate a checkpoint; return None, after a sentence, if it is gone or damaged."""
        identity, folder = _identity(each.path), self._folder(each.path)
        if (folder / 'done.json').is_file():
            self._set_aside(folder)
        held = _hold(each.path, folder)
        if identity is None or held is None:
            return None
        try:
            self.evaluate(held, folder)
        except (FileNotFoundError, *USELESS, RuntimeError) as error:
            if held.exists() and not isinstance(error, USELESS):
                raise
            self._skipped[each.path] = identity
            print(f'{each.path.name} is left out: {error}', flush=True)
            return None
        sha256 = describe_checkpoint(held)['sha256'] if held.exists() else None
        self._keep_if_best(folder, held)
        record = dict(kind=each.kind, step=each.step, identity=identity, sha256=sha256)
        write_json(record, folder / 'done.json')
        if held.parent == folder:
            held.unlink()
        return next(s for s in self.scores() if s.folder == folder)

    def _keep_if_best(self, folder: Path, held: Path) -> None:
        """Let ``best.pth`` be this checkpoint if no other has a higher score."""
        mine = _read_scores(folder)
        others = [each.mean for each in self.scores() if each.folder != folder]
        if sum(mine.values()) / len(mine) > max(others, default=-1.0) and held.exists():
            _link_or_copy(held, self.out / BEST)

    def scores(self) -> list[CheckpointScores]:
        """Return the scores of all checkpoints that are done, by their steps."""
        results = []
        for done in (self.out / 'checkpoints').glob('*/done.json'):
            record = json.loads(done.read_text(encoding='utf-8'))
            scores = _read_scores(done.parent)
            if '.replaced-' not in done.parent.name:
                results.append(
                    CheckpointScores(record['kind'], record['step'], done.parent, scores)
                )
        return sorted(results, key=lambda each: each[:2])

    def has_ended(self) -> bool:
        """Return whether the last checkpoint of the training's config is evaluated or left out."""
        last = last_checkpoint_name(self.work_dir)
        if last is None:
            return False
        return self._folder(Path(last)).joinpath('done.json').is_file() or (
            self.work_dir / last in self._skipped
        )

    def _folder(self, path: Path) -> Path:
        """Return the folder of the evaluation of a checkpoint."""
        return self.out / 'checkpoints' / path.stem

    def _set_aside(self, folder: Path) -> None:
        """Rename the evaluation of a checkpoint that another training has replaced."""
        number = 1 + len(list(folder.parent.glob(f'{folder.name}.replaced-*')))
        folder.rename(folder.with_name(f'{folder.name}.replaced-{number}'))


def follow(
    watch: CheckpointWatch,
    report: Callable[[Sequence[CheckpointScores]], None],
    *,
    interval: float = 30.0,
    idle: float | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Evaluate checkpoints as they are written, until the training has ended.

    Args:
        watch (CheckpointWatch): What to evaluate.
        report (Callable): Called with all scores at the beginning and after each checkpoint.
        interval (float): Seconds between two looks at the folder. Defaults to 30.
        idle (float, optional): Seconds without a new checkpoint after which it ends. Defaults to
            None, never.
        sleep (Callable): Waits for some seconds. Defaults to ``time.sleep``.

    Returns:
        str: Why it ended, a sentence.
    """
    waited = 0.0
    if watch.scores():
        report(watch.scores())
    while True:
        for _ in watch.run_pending():
            waited = 0.0
            report(watch.scores())
        if watch.has_ended() and not watch.pending():
            return 'The training has ended, and its checkpoints are evaluated.'
        if idle is not None and waited >= idle:
            return f'There was no new checkpoint for {waited:.0f} seconds.'
        sleep(interval)
        waited += interval


def _identity(path: Path) -> tuple[int, int] | None:
    """Return size and time of a file; None if it is gone."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns


def _hold(path: Path, folder: Path) -> Path | None:
    """Link a checkpoint into a folder, so that the training cannot delete it meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    held = folder / path.name
    if held == path:
        return held
    held.unlink(missing_ok=True)
    try:
        os.link(path, held)
    except FileNotFoundError:
        return None
    except OSError:  # another file system: it is read at once, when the evaluation begins
        return path
    return held


def _link_or_copy(source: Path, target: Path) -> None:
    """Let ``target`` have the content of ``source`` for good, whatever is deleted later."""
    part = target.with_name(f'.{target.name}.unfinished')
    part.unlink(missing_ok=True)
    try:
        os.link(source, part)
    except OSError:
        with source.open('rb') as stream:
            write_atomically(target, lambda file: shutil.copyfileobj(stream, file))
        return
    part.replace(target)


def _read_scores(folder: Path) -> dict[str, float]:
    """Return the score of each result file in a folder."""
    scores = {}
    for path in sorted(folder.glob('*.json')):
        metrics = json.loads(path.read_text(encoding='utf-8')).get('metrics')
        if metrics:
            scores[path.stem] = metrics['mIoU' if 'mIoU' in metrics else 'top1']
    return scores
