"""The newest checkpoint of a work dir that is whole."""

import logging
import pickle
import sys
from pathlib import Path

import torch
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import print_log

from groupvit_mmseg.checkpoints.training_files import read_checkpoint

# What checkpoints of training are called; best_*.pth hold no optimiser.
PATTERNS = ('epoch_*.pth', 'iter_*.pth')
_NONE_WHOLE = ''


def latest_whole_checkpoint(work_dir: str | Path) -> str | None:
    """The checkpoint of most steps that can be read to its end, the same for all ranks.

    Args:
        work_dir (str | Path): Folder of a run; checkpoints of ``last_checkpoint`` elsewhere count.

    Returns:
        str | None: Its path; None where there is no checkpoint at all.

    Raises:
        FileNotFoundError: If there are checkpoints, but none that can be read.
    """
    found = [_search(Path(work_dir)) if is_main_process() else None]
    broadcast_object_list(found)
    if found[0] == _NONE_WHOLE:
        raise FileNotFoundError(
            f'None of the checkpoints in {work_dir} can be read: name another with '
            '--resume CHECKPOINT, or start anew in another --work-dir.'
        )
    return found[0]


def _search(work_dir: Path) -> str | None:
    """Read candidates from the newest on until one is whole."""
    candidates = sorted(_candidates(work_dir), key=_progress, reverse=True)
    for path in candidates:
        try:
            read_checkpoint(path)
        except (OSError, ValueError, pickle.UnpicklingError) as error:
            print_log(
                f'{path} cannot be resumed from, the one before is tried ({error}).',
                logger='current',
                level=logging.WARNING,
            )
            continue
        return str(path)
    return _NONE_WHOLE if candidates else None


def _candidates(work_dir: Path) -> set[Path]:
    """Checkpoints of the work dir, and the one that ``last_checkpoint`` names."""
    paths = {path for pattern in PATTERNS for path in work_dir.glob(pattern)}
    pointer = work_dir / 'last_checkpoint'
    if pointer.is_file():
        named = Path(pointer.read_text(encoding='utf-8').strip())
        paths |= {path for path in [named, *named.parent.glob('*.pth')] if _of_training(path)}
    return paths


def _of_training(path: Path) -> bool:
    """Whether a file is called as a checkpoint of training."""
    return path.is_file() and any(path.match(pattern) for pattern in PATTERNS)


def _progress(path: Path) -> tuple[int, int]:
    """Iteration and epoch that a file says it is of; those that do not say are tried first."""
    try:
        meta = torch.load(path, map_location='meta', weights_only=True, mmap=True)['meta']
        return int(meta['iter']), int(meta['epoch'])
    except Exception:  # of any type for a torn file; whoever reads it whole tells the reason
        return sys.maxsize, 0
