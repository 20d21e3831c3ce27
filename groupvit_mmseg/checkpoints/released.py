"""The released weights by name: where they come from, their hash, their licence, their cache."""

import contextlib
import difflib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from groupvit_mmseg.checkpoints.downloads import WrongHashError, download_file, has_hash
from groupvit_mmseg.checkpoints.hub import cached_file, fetch

RELEASE = 'https://github.com/xvjiarui/GroupViT-1/releases/download/v1.0.0'
"""str: Folder of the authors' release; ``GROUPVIT_MIRROR`` names another."""
LICENSE = (
    "NVIDIA's licence for GroupViT, non-commercial use only "
    '(https://github.com/NVlabs/GroupViT/blob/main/LICENSE)'
)


class ReleasedWeights(NamedTuple):
    """Weights that the authors of GroupViT released.

    Attributes:
        name (str): The name by which every command and function of the plugin takes them.
        file (str): File of the authors' release.
        sha256 (str): The first eight hexadecimal digits of its SHA-256.
        repository (str): The same weights on Hugging Face's hub.
        training_data (tuple[str, ...]): What they were trained on.
    """

    name: str
    file: str
    sha256: str
    repository: str
    training_data: tuple[str, ...]


RELEASED = {
    weights.name: weights
    for weights in (
        ReleasedWeights(
            'groupvit-gcc-yfcc',
            'group_vit_gcc_yfcc_30e-879422e0.pth',
            '879422e0',
            'nvidia/groupvit-gcc-yfcc',
            ('CC3M', 'CC12M', 'YFCC14M'),
        ),
        ReleasedWeights(
            'groupvit-gcc-redcap',
            'group_vit_gcc_redcap_30e-3dd09a76.pth',
            '3dd09a76',
            'nvidia/groupvit-gcc-redcaps',
            ('CC3M', 'CC12M', 'RedCaps12M'),
        ),
    )
}
"""dict[str, ReleasedWeights]: The released weights by name."""


def cache_folder() -> Path:
    """Return the folder of downloads: ``GROUPVIT_HOME``, or ``groupvit`` in the user's cache."""
    home = os.environ.get('GROUPVIT_HOME')
    if home:
        return Path(home).expanduser()
    return Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser() / 'groupvit'


def is_offline() -> bool:
    """Return whether ``HF_HUB_OFFLINE`` or ``GROUPVIT_OFFLINE`` forbids downloads."""
    values = (os.environ.get(name, '') for name in ('HF_HUB_OFFLINE', 'GROUPVIT_OFFLINE'))
    return any(value.upper() in {'1', 'ON', 'YES', 'TRUE'} for value in values)


def find_released(name: str) -> ReleasedWeights | None:
    """Return the released weights of a name, which may also be spelled as on the hub.

    Args:
        name (str): Such as ``groupvit-gcc-yfcc`` or ``nvidia/groupvit-gcc-yfcc``.

    Example:
        >>> find_released('groupvit-gcc-yfcc').sha256
        '879422e0'
        >>> find_released('nvidia/groupvit-gcc-redcaps').name
        'groupvit-gcc-redcap'
        >>> find_released('work_dirs/epoch_30.pth') is None
        True
    """
    for weights in RELEASED.values():
        if name in {weights.name, weights.repository, weights.repository.partition('/')[2]}:
            return weights
    return None


def looks_like_name(source: str) -> bool:
    """Return whether a source could be meant as a name: it has neither folders nor a suffix."""
    return Path(source).name == source and not Path(source).suffix


def unknown_name(source: str) -> str:
    """Return the sentence for a source that is neither a file nor a name, with similar names."""
    close = difflib.get_close_matches(source, RELEASED, n=2, cutoff=0.5)
    names = f'did you mean {" or ".join(close)}' if close else f'known: {", ".join(RELEASED)}'
    return f'There is no checkpoint at {source}, and no model has this name ({names}).'


def fetch_released(weights: ReleasedWeights) -> Path:
    """Return the file of released weights, from a cache or downloaded.

    A copy in PyTorch's, mmengine's or Hugging Face's cache is used where it lies. Otherwise the
    authors' file is downloaded into :func:`cache_folder`, or, where their server does not answer,
    the one on the hub.

    Args:
        weights (ReleasedWeights): Which ones.

    Returns:
        Path: The file; the hash of an official one has been checked.

    Raises:
        FileNotFoundError: If it cannot be downloaded; says where to put the file by hand.
        OSError: If the disk is full, or the cache cannot be written.
        WrongHashError: If the download, or a file put there by hand, has another hash.
    """
    target = cache_folder() / weights.file
    if target.is_file():
        return _checked(target, weights)
    for path in _other_caches(weights):
        return path
    by_hand = f'copy {address_of(weights)} from another machine to {target}'
    if is_offline():
        raise FileNotFoundError(
            f'{weights.name} is not in the cache, and downloads are switched off: {by_hand}.'
        )
    _print_license(weights)
    try:
        download_file(address_of(weights), target, sha256=weights.sha256)
    except (FileNotFoundError, ConnectionError) as error:
        try:
            return fetch(weights.repository)
        except (FileNotFoundError, ImportError):
            raise FileNotFoundError(f'{str(error).rstrip(".")}. Or {by_hand}.') from error
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EROFS, errno.ENOTDIR):
            raise
        raise PermissionError(
            f'{target.parent} cannot be written: name another folder with GROUPVIT_HOME.'
        ) from error
    return _checked(target, weights)


def find_cached(weights: ReleasedWeights) -> Path | None:
    """Return the file of released weights in a cache of this machine, or None.

    Args:
        weights (ReleasedWeights): Which ones.
    """
    target = cache_folder() / weights.file
    return target if target.is_file() else next(_other_caches(weights), None)


def address_of(weights: ReleasedWeights) -> str:
    """Return the address of the official file, at the mirror if one is named."""
    return f'{(os.environ.get("GROUPVIT_MIRROR") or RELEASE).rstrip("/")}/{weights.file}'


def _checked(path: Path, weights: ReleasedWeights) -> Path:
    """Check the hash of a file in our cache, once per version of the file."""
    state = f'{path.stat().st_size} {path.stat().st_mtime_ns}'
    marker = path.with_name(f'.{path.name}.checked')
    if marker.is_file() and marker.read_text(encoding='utf-8') == state:
        return path
    if not has_hash(path, weights.sha256):
        raise WrongHashError(
            f'{path} is not the released file of {weights.name}: its SHA-256 does not begin with '
            f'{weights.sha256}. Delete it, and it is downloaded again.'
        )
    with contextlib.suppress(OSError):  # a cache that is only read is checked every time
        marker.write_text(state, encoding='utf-8')
    return path


def _other_caches(weights: ReleasedWeights) -> Iterator[Path]:
    """Yield copies in the caches of PyTorch, mmengine and the hub."""
    mmengine_home = os.environ.get('MMENGINE_HOME') or (
        Path(os.environ.get('XDG_CACHE_HOME') or '~/.cache').expanduser() / 'mmengine'
    )
    for folder in (Path(torch.hub.get_dir(), 'checkpoints'), Path(mmengine_home, 'checkpoints')):
        path = folder / weights.file
        if path.is_file() and has_hash(path, weights.sha256):
            yield path
    path_of_hub = cached_file(weights.repository)
    if path_of_hub is not None:
        yield path_of_hub


def _print_license(weights: ReleasedWeights) -> None:
    """Name the licence on standard error; done once, before the download."""
    print(
        f'{weights.name}: weights released by the authors of GroupViT under {LICENSE}.',
        file=sys.stderr,
    )
