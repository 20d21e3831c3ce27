"""The newest checkpoint of a work dir that is whole."""

import logging
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log

from groupvit_mmseg.checkpoints.loading import read_checkpoint
from groupvit_mmseg.checkpoints.plain_pickle import open_plain

# What checkpoints of training are called; best_*.pth hold no optimiser.
PATTERNS = ('epoch_*.pth', 'iter_*.pth')


class _Place(NamedTuple):
    """Iteration and epoch of a checkpoint, and when it was written, as it says itself."""

    steps: tuple[int, int]
    written: str = ''


def latest_whole_checkpoint(
    work_dir: str | Path, *, folder: str | Path | None = None, patterns: Sequence[str] = PATTERNS
) -> str | None:
    """The checkpoint of most steps that can be read to its end, the same for all ranks.

    Those of more steps than the one that ``last_checkpoint`` names, and written before it, are of
    a run that was given up: they are tried last.

    Args:
        work_dir (str | Path): Folder of a run. If its ``last_checkpoint`` is of the place from
            which the folder was moved or copied, the file of that name here counts.
        folder (str | Path, optional): Of the checkpoints, if another one. Defaults to None.
        patterns (Sequence[str]): Names of checkpoints. Defaults to those of epochs and iterations.

    Returns:
        str | None: Its path; None where there is no checkpoint at all.

    Raises:
        FileNotFoundError: If there are checkpoints, but none that can be read, or if
            ``last_checkpoint`` names one and there is none here.
    """
    places = [Path(work_dir)] + ([] if folder is None else [Path(folder)])
    found = _search(places, patterns) if is_main_process() else (None, None)
    told = [found]
    broadcast_object_list(told)
    path, problem = told[0]
    if problem:
        raise FileNotFoundError(problem)
    return path


def _search(places: list[Path], patterns: Sequence[str]) -> tuple[str | None, str | None]:
    """The first whole candidate from the newest on, or what is wrong."""
    work_dir = places[0]
    candidates = {path for place in places for p in patterns for path in place.glob(p)}
    named = _named_last(work_dir)
    missing = named is not None and named.name not in {path.name for path in candidates}
    if not candidates and missing:
        return None, _nothing_here(work_dir, named)
    if missing:
        _warn(f'{work_dir / "last_checkpoint"} names {named}, which is not here: not used.')
    for path in _in_turn(candidates, named):
        try:
            read_checkpoint(path)
        except (OSError, ValueError, pickle.UnpicklingError) as error:
            _warn(f'{path} cannot be resumed from, the one before is tried ({error}).')
            continue
        return str(path), None
    problem = (
        f'None of the checkpoints in {work_dir} can be read: name another with '
        '--resume CHECKPOINT, or start anew in another --work-dir.'
    )
    return None, problem if candidates else None


def _in_turn(candidates: set[Path], named: Path | None) -> list[Path]:
    """From most steps on, those of a run that was given up last."""
    places = {path: _place(path) for path in candidates}
    last = [places[path] for path in candidates if named is not None and path.name == named.name]
    given_up = {
        path
        for path, place in places.items()
        if last and place.steps > last[0].steps and '' < place.written < last[0].written
    }
    if given_up and named is not None:
        names = ', '.join(sorted(path.name for path in given_up))
        _warn(
            f'{names}: written before {named.name}, which last_checkpoint names, by a run that was '
            'given up: passed over.'
        )
    return sorted(candidates, key=lambda p: (p not in given_up, places[p].steps), reverse=True)


def _named_last(work_dir: Path) -> Path | None:
    """What ``last_checkpoint`` names; None without it."""
    pointer = work_dir / 'last_checkpoint'
    if not pointer.is_file():
        return None
    return Path(pointer.read_text(encoding='utf-8', errors='replace').strip())


def _nothing_here(work_dir: Path, named: Path | None) -> str:
    """What to do where only ``last_checkpoint`` is left."""
    state = 'is in another folder' if named is not None and named.is_file() else 'does not exist'
    return (
        f'{work_dir / "last_checkpoint"} names {named}, which {state}, and {work_dir} holds no '
        'checkpoint: name the one to go on from with --resume CHECKPOINT, or delete '
        'last_checkpoint to start anew.'
    )


def _warn(text: str) -> None:
    print_log(text, logger='current', level=logging.WARNING)


def _place(path: Path) -> _Place:
    """What a file says it is of; those that do not say are tried first."""
    for read in (_head, lambda file: open_plain(file).content):
        try:
            meta = read(path)['meta']
            return _Place((int(meta['iter']), int(meta['epoch'])), str(meta.get('time', '')))
        except Exception:  # of any type for a torn file; whoever reads it whole tells the reason
            continue
    return _Place((sys.maxsize, 0))


def _head(path: Path) -> dict:
    """A checkpoint without the numbers of its tensors."""
    return torch.load(path, map_location='meta', weights_only=True, mmap=True)
