"""Measurements of this machine, kept in files of the user's cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from groupvit_mmseg.atomic_files import write_text
from groupvit_mmseg.checkpoints.released import cache_folder

CPU_FIELDS = ('vendor_id', 'cpu family', 'model', 'model name', 'stepping', 'flags')
"""tuple[str, ...]: Lines of Linux's ``/proc/cpuinfo`` that tell one kind of CPU from another."""


def kept(
    key: Mapping[str, object], measure: Callable[[], dict[str, float]], folder: Path | None = None
) -> dict[str, float]:
    """Return numbers that were measured under this key before, or measure and keep them.

    Each key has a file of its own, written at once: processes that measure at the same time leave
    one of their results. A folder that cannot be read or written costs the measurement alone.

    Args:
        key (Mapping[str, object]): Everything that the numbers depend on, as JSON knows it.
        measure (Callable[[], dict[str, float]]): Returns the numbers by name.
        folder (Path, optional): Folder of the files; None for ``precision`` in the folder of
            downloads. Defaults to None.

    Example:
        >>> kept({'cpu': 'a'}, lambda: {'fp32': 0.5}, Path('cache'))
        {'fp32': 0.5}
        >>> kept({'cpu': 'a'}, lambda: {'fp32': 0.7}, Path('cache'))
        {'fp32': 0.5}
    """
    folder = cache_folder() / 'precision' if folder is None else folder
    stated = json.loads(json.dumps(dict(key)))
    digest = hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()
    path = folder / f'{digest[:16]}.json'
    numbers = _read(path, stated)
    if numbers is None:
        numbers = measure()
        with contextlib.suppress(OSError):
            write_text(path, json.dumps({**stated, 'numbers': numbers}, indent=1) + '\n')
    return numbers


def _read(path: Path, key: Mapping[str, object]) -> dict[str, float] | None:
    """Return the numbers of a file, or None for one that is missing, damaged or of another key."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        numbers = {str(name): float(value) for name, value in content.pop('numbers').items()}
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return None
    return numbers if content == key else None


def machine() -> dict[str, object]:
    """Return what the speed of a model depends on besides the model: CPU, threads, PyTorch."""
    return dict(
        cpu=_cpu(Path('/proc/cpuinfo')),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )


def _cpu(path: Path) -> str:
    """Return the kind of the CPU as a text: what Linux says of the first one, or Python."""
    try:
        lines = path.read_text(encoding='utf-8').split('\n\n')[0].splitlines()
    except (OSError, ValueError):
        lines = []
    pairs = [[part.strip() for part in line.split(':', 1)] for line in lines if ':' in line]
    fields = {name: value for name, value in pairs if name in CPU_FIELDS}
    if not fields:
        return f'{platform.machine()} {platform.processor()}'
    flags = hashlib.sha256(fields.pop('flags', '').encode()).hexdigest()[:8]
    return ' '.join([*fields.values(), f'flags {flags}'])
