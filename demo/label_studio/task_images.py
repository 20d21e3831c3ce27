"""Reads the image of a Label Studio task: over http(s), an upload, or a file of local storage.

Every image is bounded: 100 MB, 30 seconds without a byte, and the pixels that all tools of this
project take. The key of Label Studio is sent to its own host and nowhere else.
"""

from __future__ import annotations

import http.client
import os
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groupvit_mmseg.checkpoints.downloads import TIMEOUT, USER_AGENT
from groupvit_mmseg.datasets.image_decoding import read_image

MAX_BYTES = 100_000_000
# What an address may hold as it is: a % begins what is quoted already.
SAFE = "%/:?#[]@!$&'()*+,;=~"


class Access(NamedTuple):
    """How images that lie in Label Studio are reached.

    Attributes:
        hostname (str): Its address, such as ``http://127.0.0.1:8080``. Defaults to ''.
        token (str): The access token of a user. Defaults to ''.
        local_files (Path, optional): Root of its local storage, if that is on this machine.
            Defaults to None.
    """

    hostname: str = ''
    token: str = ''
    local_files: Path | None = None


def access_of(hostname: str = '', token: str = '') -> Access:
    """Return the access: of Label Studio's request, else of the environment.

    The variables are those of Label Studio: ``LABEL_STUDIO_URL``, ``LABEL_STUDIO_API_KEY`` and
    ``LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT``. Those that are set precede the request.
    """
    root = os.environ.get('LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT')
    return Access(
        os.environ.get('LABEL_STUDIO_URL') or hostname,
        os.environ.get('LABEL_STUDIO_API_KEY') or token,
        Path(root) if root else None,
    )


def read_task_image(task: dict, key: str, access: Access) -> NDArray[np.uint8]:
    """Read the image of a task.

    Args:
        task (dict): The task with its ``data``.
        key (str): Key of the image's address.
        access (Access): How Label Studio's own files are reached.

    Returns:
        NDArray: RGB ``(H, W, 3)`` uint8.

    Raises:
        OSError: If the image cannot be fetched.
        ValueError: If the task has no image, or it cannot be read or is too large.
    """
    data = task.get('data') or {}
    address = data.get(key)
    if not isinstance(address, str) or not address:
        has = ', '.join(data) or 'nothing'
        raise ValueError(f'Task {task.get("id")} has no image under "{key}"; its data has {has}.')
    path = local_file(address, access)
    content = path.read_bytes() if path else fetch(web_address(address, access), access)
    return np.ascontiguousarray(read_image(content, address)[..., ::-1])


def local_file(address: str, access: Access) -> Path | None:
    """Return the file of local storage that an address names, if it is on this machine.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it lies outside of the storage.
    """
    parts = urllib.parse.urlsplit(address)
    names = urllib.parse.parse_qs(parts.query).get('d')
    if parts.netloc or not parts.path.startswith('/data/') or not names or not access.local_files:
        return None
    root = access.local_files.resolve()
    path = (root / names[0].lstrip('/')).resolve()
    if not path.is_relative_to(root):
        raise ValueError(f'{address} lies outside of {root}, the root of the local storage.')
    if not path.is_file():
        raise FileNotFoundError(f'There is no image at {path}, which {address} names.')
    return path


def web_address(address: str, access: Access) -> str:
    """Return where an image is fetched from: its own address, or a place in Label Studio.

    Raises:
        ValueError: If nothing can be fetched from there.
    """
    scheme = urllib.parse.urlsplit(address).scheme.lower()
    if scheme in ('http', 'https'):
        return address
    if scheme:
        raise ValueError(
            f'Images of {scheme}: addresses cannot be fetched ({address}): let the storage of the '
            'project use pre-signed URLs.'
        )
    if not access.hostname:
        raise ValueError(
            f'{address} lies in Label Studio, whose address is unknown: set LABEL_STUDIO_URL and '
            'LABEL_STUDIO_API_KEY.'
        )
    path = address.lstrip('/')
    return f'{access.hostname.rstrip("/")}/{"data/" if path.startswith("upload/") else ""}{path}'


def fetch(address: str, access: Access) -> bytes:
    """Return the bytes at an address.

    Raises:
        OSError: If the server does not answer, or refuses.
        ValueError: If there are more than ``MAX_BYTES``.
    """
    quoted = urllib.parse.quote(address, safe=SAFE)  # spaces and letters of other alphabets
    request = urllib.request.Request(quoted, headers={'User-Agent': USER_AGENT})
    own = urllib.parse.urlsplit(access.hostname).netloc
    if access.token and own and urllib.parse.urlsplit(address).netloc == own:
        # Not repeated to another host that the answer may redirect to.
        request.add_unredirected_header('Authorization', f'Token {access.token}')
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            content = response.read(MAX_BYTES + 1)
    except urllib.error.HTTPError as error:
        hint = ': set LABEL_STUDIO_API_KEY to the token of a user' if error.code == 401 else ''
        raise OSError(f'{address} answers {error.code} {error.reason}{hint}.') from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, 'reason', error)
        raise OSError(f'{address} cannot be fetched: {reason}.') from error
    if len(content) > MAX_BYTES:
        raise ValueError(f'{address} has more than {MAX_BYTES:,} bytes.')
    return content
