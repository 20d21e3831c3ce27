"""Search for the newest complete checkpoint of a work dir."""

import logging
import pickle
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log

from groupvit_mmseg.checkpoints.loading import read_checkpoint
from groupvit_mmseg.checkpoints.plain_pickle import open_plain
from groupvit_mmseg.torch_versions import load_plain_data

# Names of training checkpoints; best_*.pth hold no optimiser state.
PATTERNS = ('epoch_*.pth', 'iter_*.pth')
_LONGEST_PATH = 4096


class _Progress(NamedTuple):
    """Progress of a checkpoint, as its ``meta`` records it.

    Attributes:
        steps (tuple[int, int]): Iteration and epoch.
        time (str): Time of writing, sortable; empty if it is not recorded.
    """

    steps: tuple[int, int]
    time: str = ''


class _Result(NamedTuple):
    """Result of the search on the main process."""

    path: str | None = None
    problem: str | None = None


def latest_complete_checkpoint(
    work_dir: str | Path, *, folder: str | Path | None = None, patterns: Sequence[str] = PATTERNS
) -> str | None:
    """Return the complete checkpoint with the most steps, the same on all ranks.

    A checkpoint with more steps than the one that ``last_checkpoint`` names, but written before
    it, is of an abandoned run: these are tried last.

    Args:
        work_dir (str | Path): Folder of a run. If the folder was moved or copied, the checkpoint
            in it with the name in ``last_checkpoint`` is used.
        folder (str | Path, optional): Folder of the checkpoints, if it is another one. Defaults to
            None.
        patterns (Sequence[str]): Names of checkpoints. Defaults to those of epochs and iterations.

    Returns:
        str | None: Its path; None if there is no checkpoint.

    Raises:
        FileNotFoundError: If none of the checkpoints can be read, or ``last_checkpoint`` names one
            and there is none in the folder.

    Example:
        >>> Path('run').mkdir()
        >>> import torch
        >>> for step in (1, 2):
        ...     content = {'meta': {'epoch': 0, 'iter': step}, 'state_dict': {}}
        ...     torch.save(content, f'run/iter_{step}.pth')
        >>> latest_complete_checkpoint('run')
        'run/iter_2.pth'
    """
    folders = [Path(work_dir)] + ([] if folder is None else [Path(folder)])
    results = [_search(folders, patterns) if is_main_process() else _Result()]
    broadcast_object_list(results)
    (result,) = results
    if result.problem:
        raise FileNotFoundError(result.problem)
    return result.path


def _search(folders: list[Path], patterns: Sequence[str]) -> _Result:
    """Return the newest checkpoint that can be read, or the reason why there is none."""
    work_dir = folders[0]
    candidates = {path for folder in folders for p in patterns for path in folder.glob(p)}
    last = _last_checkpoint(work_dir)
    is_missing = last is not None and last.name not in {path.name for path in candidates}
    if not candidates and is_missing:
        return _Result(problem=_nothing_here(work_dir, last))
    if is_missing:
        _warn(f'{work_dir / "last_checkpoint"} {_fault_of(last, "is not in the folder")}: ignored.')
    for path in _in_order(candidates, last):
        try:
            read_checkpoint(path)
        except (OSError, ValueError, pickle.UnpicklingError) as error:
            _warn(f'{path} cannot be resumed from, the one before is tried ({error}).')
            continue
        return _Result(path=str(path))
    problem = (
        f'None of the checkpoints in {work_dir} can be read: name another one with '
        '--resume CHECKPOINT, or start a new run in another --work-dir.'
    )
    return _Result(problem=problem if candidates else None)


def _in_order(candidates: set[Path], last: Path | None) -> list[Path]:
    """Sort checkpoints by decreasing steps, those of an abandoned run at the end."""
    progress = {path: _progress_of(path) for path in candidates}
    lasts = [progress[path] for path in candidates if last is not None and path.name == last.name]
    abandoned = {
        path
        for path, own in progress.items()
        if lasts and own.steps > lasts[0].steps and '' < own.time < lasts[0].time
    }
    if abandoned and last is not None:
        names = ', '.join(sorted(path.name for path in abandoned))
        _warn(
            f'{names}: of an abandoned run, because written before {last.name}, which '
            'last_checkpoint names: ignored.'
        )
    return sorted(candidates, key=lambda p: (p not in abandoned, progress[p].steps), reverse=True)


def _last_checkpoint(work_dir: Path) -> Path | None:
    """Return the path in the file ``last_checkpoint``; None if there is no such file.

    The path of a damaged file, one without a path, has no name.
    """
    pointer = work_dir / 'last_checkpoint'
    if not pointer.is_file():
        return None
    with pointer.open('rb') as stream:
        text = stream.read(_LONGEST_PATH + 1).decode(errors='replace').strip()
    is_text = all(unicodedata.category(character) != 'Cc' for character in text)
    names = Path(text).parts if is_text and len(text) <= _LONGEST_PATH else ()
    is_path = names and max(len(name.encode()) for name in names) < 256
    return Path(text if is_path else '')


def _fault_of(last: Path | None, place: str) -> str:
    """Return what is wrong with a ``last_checkpoint`` that names no checkpoint of the folder."""
    return f'names {last}, which {place}' if last is not None and last.name else 'is damaged'


def _nothing_here(work_dir: Path, last: Path | None) -> str:
    """Return the message for a folder with ``last_checkpoint`` but without a checkpoint."""
    place = 'is in another folder' if last is not None and last.is_file() else 'does not exist'
    return (
        f'{work_dir / "last_checkpoint"} {_fault_of(last, place)}, and {work_dir} holds no '
        'checkpoint: name the one to resume from with --resume CHECKPOINT, or delete '
        'last_checkpoint to start a new run.'
    )


def _warn(text: str) -> None:
    """Write a warning to the log."""
    print_log(text, logger='current', level=logging.WARNING)


def _progress_of(path: Path) -> _Progress:
    """Read a file's progress; files without it come first in the order."""
    for read in (_read_head, lambda file: open_plain(file).content):
        try:
            meta = read(path)['meta']
            return _Progress((int(meta['iter']), int(meta['epoch'])), str(meta.get('time', '')))
        except Exception:  # a torn file raises any type; reading all of it reports the reason
            continue
    return _Progress((sys.maxsize, 0))


def _read_head(path: Path) -> dict:
    """Read a checkpoint without the values of its tensors."""
    return cast(dict, load_plain_data(path, 'meta', mmap=True))
