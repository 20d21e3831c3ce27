"""The checkpoints that a training writes: their order, the last one, whether they are complete."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from groupvit_mmseg.config_files import read_config

NAME = re.compile(r'(epoch|iter)_(\d+)\.pth')


class WatchedCheckpoint(NamedTuple):
    """A checkpoint of a training, ordered by the training's steps.

    Attributes:
        kind (str): ``epoch`` or ``iter``.
        step (int): Number of the epoch or the iteration.
        path (Path): Its file.
    """

    kind: str
    step: int
    path: Path


def named_checkpoints(paths: Sequence[Path]) -> Iterator[WatchedCheckpoint]:
    """Return the files with the names of checkpoints."""
    for path in paths:
        match = NAME.fullmatch(path.name)
        if match:
            yield WatchedCheckpoint(match[1], int(match[2]), path)


def last_checkpoint_name(work_dir: Path) -> str | None:
    """Return the name of the checkpoint that a training ends with; None if no config tells it.

    Example:
        >>> _ = Path('run.py').write_text('train_cfg = dict(max_epochs=12)')
        >>> last_checkpoint_name(Path('.'))
        'epoch_12.pth'
    """
    configs = sorted(work_dir.glob('*.py'), key=lambda path: path.stat().st_mtime)
    train_cfg = read_config(configs[-1]).get('train_cfg') if configs else None
    if not isinstance(train_cfg, dict):
        return None
    for kind, entry in (('iter', 'max_iters'), ('epoch', 'max_epochs')):
        if isinstance(train_cfg.get(entry), int):
            return f'{kind}_{train_cfg[entry]}.pth'
    return None


def is_complete(path: Path) -> bool:
    """Return whether a file of ``torch.save`` is written to its end, where its directory is."""
    try:
        return zipfile.is_zipfile(path)
    except OSError:
        return False
