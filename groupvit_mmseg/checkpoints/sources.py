"""The file of a checkpoint: by path, folder, address, repository of the hub, or released name."""

import hashlib
import urllib.parse
from pathlib import Path

import torch

from groupvit_mmseg.checkpoints.downloads import download_file
from groupvit_mmseg.checkpoints.hub import HUB_PREFIX, fetch
from groupvit_mmseg.checkpoints.released import (
    cache_folder,
    fetch_released,
    find_released,
    is_offline,
    looks_like_name,
    unknown_name,
)

URL_PREFIXES = ('http://', 'https://')
# In a folder, the first of these is read.
FILES_IN_FOLDERS = (
    'model.safetensors',
    'model.safetensors.index.json',
    'pytorch_model.bin',
    'pytorch_model.bin.index.json',
)


def check_source(source: str | Path) -> None:
    """Raise an error for a checkpoint that does not exist; nothing is downloaded.

    Addresses, repositories of the hub and names of released weights are accepted as they are.

    Args:
        source (str | Path): As :func:`locate` takes it.

    Raises:
        FileNotFoundError: If there is no such file or name, or the folder has no weights.

    Example:
        >>> check_source('groupvit-gcc-yfcc')
        >>> check_source('groupvit-gcc-yfc')
        Traceback (most recent call last):
            ...
        FileNotFoundError: There is no checkpoint at groupvit-gcc-yfc, and no model has this name
        (did you mean groupvit-gcc-yfcc or groupvit-gcc-redcap).
    """
    if is_remote(source):
        return
    path = Path(source).expanduser()
    if path.is_dir():
        _file_in_folder(path)
    elif not path.is_file() and find_released(str(source)) is None:
        if looks_like_name(str(source)):
            raise FileNotFoundError(unknown_name(str(source)))
        raise FileNotFoundError(f'There is no checkpoint at {path}; check the path.')


def locate(source: str | Path) -> Path:
    """Return the file of a checkpoint, downloaded if it has to be.

    Args:
        source (str | Path): A file, a folder of Hugging Face's, the name of released weights, an
            http(s) address, or ``hf://OWNER/NAME`` for a repository of the hub. A file or folder
            precedes a name.

    Raises:
        FileNotFoundError: If there is none, or it cannot be downloaded.
    """
    if str(source).startswith(HUB_PREFIX):
        return fetch(str(source).removeprefix(HUB_PREFIX))
    if str(source).startswith(URL_PREFIXES):
        return fetch_address(str(source))
    check_source(source)
    path = Path(source).expanduser()
    if path.is_dir():
        return _file_in_folder(path)
    released = find_released(str(source))
    if path.is_file() or released is None:
        return path
    return fetch_released(released)


def is_remote(source: str | Path) -> bool:
    """Return whether a source is an http(s) address, or a repository of the hub."""
    return str(source).startswith((HUB_PREFIX, *URL_PREFIXES))


def fetch_address(address: str) -> Path:
    """Return the file of an http(s) address, from a cache or downloaded into :func:`.cache_folder`.

    A file of that name in the cache of ``torch.hub`` is used where it is.

    Raises:
        FileNotFoundError: If it cannot be downloaded.
        OSError: If the disk is full.
    """
    name = Path(urllib.parse.urlsplit(address).path).name or 'checkpoint'
    of_torch = Path(torch.hub.get_dir(), 'checkpoints', name)
    if of_torch.is_file():
        return of_torch
    # Files of other addresses can have the same name.
    digest = hashlib.sha256(address.encode()).hexdigest()[:12]
    path = cache_folder() / 'addresses' / digest / name
    if is_offline() and not path.is_file():
        raise FileNotFoundError(
            f'{address} is not in the cache, and downloads are switched off: copy the file here '
            'and give its path.'
        )
    try:
        return download_file(address, path)
    except (FileNotFoundError, ConnectionError) as error:
        raise FileNotFoundError(
            f'{str(error).rstrip(".")}: copy the file here and give its path.'
        ) from error


def _file_in_folder(folder: Path) -> Path:
    """Return the file of weights in a folder."""
    files = [folder / name for name in FILES_IN_FOLDERS if (folder / name).is_file()]
    if not files:
        raise FileNotFoundError(
            f'The folder {folder} holds none of {", ".join(FILES_IN_FOLDERS)}: name the file.'
        )
    return files[0]
