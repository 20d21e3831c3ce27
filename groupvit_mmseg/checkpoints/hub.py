"""Download weights from Hugging Face's hub by ``huggingface_hub``."""

import contextlib
import socket
import urllib.parse
import urllib.request
from pathlib import Path

HUB_PREFIX = 'hf://'
WEIGHTS = ('model.safetensors', 'pytorch_model.bin')
CONFIG = 'config.json'
IMAGE_PROCESSOR = 'preprocessor_config.json'


def fetch(name: str) -> Path:
    """Return the weights of a repository, downloaded or from the cache, with its configs.

    Args:
        name (str): Name of the repository, such as ``nvidia/groupvit-gcc-yfcc``.

    Returns:
        Path: The file of the weights; the configs are beside it.

    Raises:
        FileNotFoundError: If they cannot be fetched; names the files to provide.
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
        except EntryNotFoundError as error:  # the repository may have the other format
            offline = offline or isinstance(error, LocalEntryNotFoundError)
        except (OSError, ValueError) as error:
            raise FileNotFoundError(_offline_message(name)) from error
    raise FileNotFoundError(_offline_message(name))


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


def _is_offline() -> bool:
    """Return whether the hub's name cannot be resolved: requests would retry for half a minute."""
    from huggingface_hub.constants import ENDPOINT

    if urllib.request.getproxies():
        return False
    try:
        socket.getaddrinfo(urllib.parse.urlsplit(ENDPOINT).hostname, None)
    except OSError:
        return True
    return False


def _offline_message(name: str) -> str:
    """Return the message for a machine without access to the hub."""
    return (
        f'{name} cannot be fetched from the hub: copy its {WEIGHTS[0]} (or {WEIGHTS[1]}) and '
        f'{CONFIG} into one folder and give that folder as SRC.'
    )
