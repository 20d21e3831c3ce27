"""Shards that are no local files: web servers, Hugging Face's hub, object stores, commands.

Each is read through a :class:`~groupvit_mmseg.datasets.resumed_streams.ResumedStream`, so that the
samples and their order are those of local files whatever the connection does in between.
"""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import importlib.util
import io
import os
import re
import select
import signal
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from webdataset.gopen import gopen, gopen_schemes, rewrite_url

from groupvit_mmseg.datasets.resumed_streams import (
    BUFFER,
    Busy,
    ByteStream,
    ResumedStream,
    Retries,
    skip,
)

if TYPE_CHECKING:
    from webdataset.gopen import Pipe

# Seconds without a byte after which a connection or a command is given up and opened again.
SILENCE = 60.0
RETRIES = Retries()
# Commands such as `aws s3 cp` try again by themselves.
COMMAND_RETRIES = Retries(tries=2)
# Object stores that fsspec reads, and the package that each takes.
OBJECT_STORES = {'s3': 's3fs', 'abfs': 'adlfs', 'az': 'adlfs', 'oss': 'ossfs'}
BUSY = {429, 503}


def open_shard(address: str) -> BinaryIO | Pipe:
    """Open a shard to be read from the beginning.

    Args:
        address (str): A path, ``https://``, ``hf://datasets/OWNER/NAME/FILE``, ``s3://``,
            ``pipe:COMMAND``, or another address that webdataset opens.

    Returns:
        BinaryIO | Pipe: The stream, a context manager.
    """
    address = rewrite_url(address)
    scheme = scheme_of(address)
    openers: dict[str, Callable[[str, int], ByteStream]] = {
        'pipe': _Command,
        'http': _open_http,
        'https': _open_http,
        'hf': _open_hub,
        **dict.fromkeys(OBJECT_STORES, _StoreFile),
    }
    if scheme not in openers:
        return gopen(address)
    retries = COMMAND_RETRIES if scheme == 'pipe' else RETRIES
    raw = ResumedStream(partial(openers[scheme], address), address, retries)
    return io.BufferedReader(raw, BUFFER)


def scheme_of(address: str) -> str:
    """Return the scheme of an address: ``pipe``, ``https``, ...; ``file`` for a path."""
    if address.startswith('pipe:'):
        return 'pipe'
    return address.partition('://')[0] if '://' in address else 'file'


def check_address(address: str) -> None:
    """Refuse an address that cannot be opened, without opening it.

    Raises:
        ModuleNotFoundError: If an object store needs a package that is not installed.
        ValueError: If no library here opens such addresses.
    """
    scheme = scheme_of(rewrite_url(address))
    if scheme == 'hf' and not re.match(r'hf://datasets/[^/]+/[^/]+/.', address):
        raise ValueError(f'"{address}" has another form than hf://datasets/OWNER/NAME/FILE.')
    if scheme in OBJECT_STORES:
        if importlib.util.find_spec(OBJECT_STORES[scheme]) is None:
            raise ModuleNotFoundError(
                f'"{address}" needs pip install {OBJECT_STORES[scheme]}; or give a command that '
                f'prints the shard, such as "pipe:aws s3 cp {address} -".'
            )
    elif scheme not in {'file', *gopen_schemes}:
        raise ValueError(
            f'webdataset cannot open "{address}": give a command that prints the shard, such as '
            f'"pipe:cat {address}".'
        )


class _Response:
    """The answer of a web server, whose length is checked."""

    def __init__(self, response: http.client.HTTPResponse, left: int | None) -> None:
        self._response, self._left = response, left

    def read(self, size: int, /) -> bytes:
        """Read up to ``size`` bytes; raise ``EOFError`` if the connection ends early."""
        if self._left is not None:
            size = min(size, self._left)
        data: bytes = self._response.read1(size) if size else b''
        if self._left is not None:
            self._left -= len(data)
            if not data and self._left > 0:
                raise EOFError(f'the connection ended {self._left:,} bytes before the end')
        return data

    def close(self) -> None:
        """Close the connection."""
        self._response.close()


def _open_http(address: str, position: int, token: str | None = None) -> ByteStream:
    """Ask a web server for a file from a position on."""
    request = urllib.request.Request(address, headers={'User-Agent': 'groupvit-mmseg'})
    if token:  # not for the server that this one redirects to
        request.add_unredirected_header('Authorization', f'Bearer {token}')
    if position:
        request.add_header('Range', f'bytes={position}-')
    try:
        response = urllib.request.urlopen(request, timeout=SILENCE)
    except urllib.error.HTTPError as error:
        with error:
            if position and error.code == 416:  # the end was reached: nothing is left
                return io.BytesIO()
            raise _http_fault(error) from None
    length = response.headers.get('Content-Length')
    stream = _Response(response, int(length) if length and length.isdecimal() else None)
    if position and response.status != 206:  # a server without ranges
        skip(stream, position)
    return stream


def _http_fault(error: urllib.error.HTTPError) -> OSError:
    """Return the error of an answer: a lasting one, or one after which to try again."""
    message = f'the server answers {error.code} {error.reason}'
    if error.code in BUSY or error.code >= 500:
        return Busy(message, _seconds(error.headers.get('Retry-After')))
    if error.code in (401, 403):
        return PermissionError(message)
    return TimeoutError(message) if error.code == 408 else FileNotFoundError(message)


def _seconds(retry_after: str | None) -> float:
    """Return the seconds of a Retry-After header, a number or a date; up to five minutes."""
    if not retry_after:
        return 0.0
    if retry_after.strip().isdecimal():
        return min(float(retry_after), 300.0)
    with contextlib.suppress(ValueError):
        date = email.utils.parsedate_to_datetime(retry_after)
        return min(max(date.timestamp() - time.time(), 0.0), 300.0)
    return 0.0


def _open_hub(address: str, position: int) -> ByteStream:
    """Open a file of Hugging Face's hub: ``hf://datasets/OWNER/NAME[@REVISION]/FILE``."""
    owner, name, file = address.removeprefix('hf://datasets/').split('/', 2)
    name, _, revision = name.partition('@')
    endpoint = os.environ.get('HF_ENDPOINT', 'https://huggingface.co').rstrip('/')
    path = urllib.parse.quote(f'{owner}/{name}/resolve/{revision or "main"}/{file}')
    return _open_http(f'{endpoint}/datasets/{path}', position, _hub_token())


def _hub_token() -> str | None:
    """Return the token of the hub's user, if there is one."""
    try:
        from huggingface_hub import get_token
    except ImportError:
        return os.environ.get('HF_TOKEN')
    return get_token()


class _StoreFile:
    """A file of fsspec; faults of any library below it are those of a connection."""

    def __init__(self, address: str, position: int) -> None:
        import fsspec

        with _store_faults():
            self._file = fsspec.open(address, 'rb').open()
            self._file.seek(position)

    def read(self, size: int, /) -> bytes:
        """Read up to ``size`` bytes."""
        with _store_faults():
            data: bytes = self._file.read(size)
            return data

    def close(self) -> None:
        """Close the file."""
        with _store_faults():
            self._file.close()


@contextlib.contextmanager
def _store_faults() -> Iterator[None]:
    """Turn the errors of an object store's library into ``OSError``."""
    try:
        yield
    except (OSError, ImportError):
        raise
    except Exception as error:  # aiohttp, botocore and others have errors of their own
        raise OSError(f'{type(error).__name__}: {error}') from error


class _Command:
    """The output of a command, from a position on."""

    def __init__(self, address: str, position: int) -> None:
        # A group of its own, so that all of a pipeline ends.
        self._process = subprocess.Popen(
            address.removeprefix('pipe:'),
            shell=True,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        try:
            skip(self, position)
        except BaseException:
            self.close()
            raise

    def read(self, size: int, /) -> bytes:
        """Read up to ``size`` bytes; raise ``OSError`` where the command failed or hangs."""
        output = self._process.stdout
        assert output is not None
        if not select.select([output], [], [], SILENCE)[0]:
            raise TimeoutError(f'the command was silent for {SILENCE:.0f} s')
        data = output.read(size)
        if not data:
            status = self._process.wait(SILENCE)
            if status:
                raise OSError(f'the command ended with exit {status}')
        return data or b''

    def close(self) -> None:
        """End the command if it still runs."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process.wait()
