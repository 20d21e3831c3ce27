"""Weights from elsewhere: an address, or Hugging Face's hub through ``huggingface_hub``."""

import contextlib
import socket
import urllib.parse
import urllib.request
from pathlib import Path

import torch

URL_PREFIXES = ('http://', 'https://')
HUB_PREFIX = 'hf://'
WEIGHTS = ('model.safetensors', 'pytorch_model.bin')
CONFIG = 'config.json'
IMAGE_PROCESSOR = 'preprocessor_config.json'


def fetch(name: str) -> Path:
    """Weights of a repository, downloaded or from the cache, and its configs beside them.

    Args:
        name (str): Such as ``nvidia/groupvit-gcc-yfcc``.

    Raises:
        FileNotFoundError: If they cannot be had; says which file to bring.
        ImportError: If ``huggingface_hub`` is not installed.
    """
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    except ImportError as error:
        raise ImportError(
            f'Fetching {name} needs huggingface_hub; run: pip install "groupvit-mmseg[hub]"'
        ) from error
    offline = _is_offline()
    for file in WEIGHTS:
        try:
            weights = Path(hf_hub_download(name, file, local_files_only=offline))
            hf_hub_download(name, CONFIG, local_files_only=offline)
            with contextlib.suppress(EntryNotFoundError):  # not every repository has one
                hf_hub_download(name, IMAGE_PROCESSOR, local_files_only=offline)
            return weights
        except EntryNotFoundError as error:  # perhaps the repository holds the other kind
            offline = offline or isinstance(error, LocalEntryNotFoundError)
        except (OSError, ValueError) as error:
            raise FileNotFoundError(_what_to_bring(name)) from error
    raise FileNotFoundError(_what_to_bring(name))


def cached_file(name: str) -> Path | None:
    """Return the weights of a repository that are in the hub's cache, with their config; or None.

    Args:
        name (str): Such as ``nvidia/groupvit-gcc-yfcc``.
    """
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    for file in WEIGHTS:
        path, config = (try_to_load_from_cache(name, each) for each in (file, CONFIG))
        if isinstance(path, str) and isinstance(config, str):
            return Path(path)
    return None


def download(address: str) -> Path:
    """The file of an http(s) address, kept where ``torch.hub`` keeps checkpoints.

    Raises:
        FileNotFoundError: If it cannot be had.
    """
    name = Path(urllib.parse.urlsplit(address).path).name or 'checkpoint'
    path = Path(torch.hub.get_dir(), 'checkpoints', name)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(address, str(path), progress=False)
        except OSError as error:
            raise FileNotFoundError(
                f'{address} cannot be downloaded ({error}): bring the file and give its path.'
            ) from error
    return path


def _is_offline() -> bool:
    """Whether the hub's name has no address: then asking it only costs half a minute of retries."""
    from huggingface_hub.constants import ENDPOINT

    if urllib.request.getproxies():
        return False
    try:
        socket.getaddrinfo(urllib.parse.urlsplit(ENDPOINT).hostname, None)
    except OSError:
        return True
    return False


def _what_to_bring(name: str) -> str:
    """One sentence for a machine that cannot fetch."""
    return (
        f'{name} cannot be fetched from the hub: bring its {WEIGHTS[0]} (or {WEIGHTS[1]}) and '
        f'{CONFIG} in one folder and give that folder as SRC.'
    )
