"""Downloads over http(s): resumed after a cut connection, checked, one process at a time."""

import contextlib
import errno
import hashlib
import http.client
import json
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

CHUNK = 1 << 20
TIMEOUT = 30.0
"""float: Seconds without a byte after which a connection counts as cut."""
ATTEMPTS = 5
"""int: Attempts in a row that bring no byte before the download fails."""
USER_AGENT = 'groupvit-mmseg'
OF_THE_DISK = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EISDIR,
    errno.EFBIG,
    errno.ENAMETOOLONG,
)
"""tuple[int, ...]: Errors of writing; another connection cannot mend them."""


class WrongHashError(ValueError):
    """A downloaded file is not the one that was expected; it has been removed."""


class PartialFile(NamedTuple):
    """A download that has begun.

    Attributes:
        path (Path): The bytes received so far.
        record (Path): JSON with the address and the validator (``ETag`` or date) of the bytes.
    """

    path: Path
    record: Path

    @classmethod
    def of(cls, target: Path) -> 'PartialFile':
        """Return the hidden neighbours of a file in which its download is collected."""
        path = target.with_name(f'.{target.name}.part')
        return cls(path, path.with_name(f'{path.name}.json'))

    def size(self) -> int:
        """Return the number of bytes received so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def validator(self, address: str) -> str | None:
        """Return the server's validator of the bytes; None if they are of another address."""
        try:
            content = json.loads(self.record.read_text(encoding='utf-8'))
        except (OSError, ValueError):
            return None
        if not isinstance(content, dict) or content.get('address') != address:
            return None
        return content.get('validator') or None

    def remove(self) -> None:
        """Delete what was received."""
        self.path.unlink(missing_ok=True)
        self.record.unlink(missing_ok=True)


def download_file(address: str, path: str | Path, *, sha256: str = '') -> Path:
    """Download a file unless it is there; continue a download that was interrupted.

    Processes that want the same file wait for each other: one downloads, the others find it.

    Args:
        address (str): An http(s) address.
        path (str | Path): The file to write; its folder is made.
        sha256 (str): The beginning of the hexadecimal SHA-256 that the file must have. Defaults to
            '', which accepts any.

    Returns:
        Path: The complete file.

    Raises:
        FileNotFoundError: If the server does not have the file.
        OSError: If the server cannot be reached, or the disk is full.
        WrongHashError: If the file has another hash; it is removed.
    """
    path = Path(path)
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f'.{path.name}.lock')):
        if path.is_file():  # another process was faster
            return path
        partial = PartialFile.of(path)
        try:
            _receive(address, partial)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                partial.remove()
                raise _no_space(address, path.parent) from error
            if error.errno in OF_THE_DISK:
                raise _not_writable(error, partial.path) from error
            raise
        if sha256 and not has_hash(partial.path, sha256):
            partial.remove()
            raise WrongHashError(
                f'{address} is not the expected file: its SHA-256 does not begin with {sha256}. '
                'The download was removed; check the address, the mirror and the proxy.'
            )
        partial.path.replace(path)
        partial.remove()
    return path


def has_hash(path: Path, sha256: str) -> bool:
    """Return whether the SHA-256 of a file begins with the given hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open('rb') as stream:
        while block := stream.read(CHUNK):
            digest.update(block)
    return digest.hexdigest().startswith(sha256.lower())


def _receive(address: str, partial: PartialFile) -> None:
    """Fill the partial file, reconnecting as long as bytes arrive."""
    failures = 0
    while True:
        before = partial.size()
        try:
            if _receive_once(address, partial):
                return
            reason: Exception = ConnectionError('the connection was cut')
        except urllib.error.HTTPError as error:
            if error.code == 416:  # the partial file is longer than the file
                partial.remove()
            elif error.code < 500 and error.code != 429:
                raise FileNotFoundError(
                    f'{address} cannot be downloaded: the server answers {error.code} '
                    f'{error.reason}.'
                ) from error
            reason = error
        except (http.client.HTTPException, urllib.error.URLError, TimeoutError, OSError) as error:
            if isinstance(error, OSError) and error.errno in OF_THE_DISK:
                raise
            reason = error
        failures = 0 if partial.size() > before else failures + 1
        if failures >= ATTEMPTS:
            kept = '; the next attempt continues where this one ended' if partial.size() else ''
            raise ConnectionError(
                f'{address} cannot be downloaded ({getattr(reason, "reason", reason)}){kept}.'
            ) from reason
        time.sleep(min(0.2 * 2**failures, 5.0))


def _receive_once(address: str, partial: PartialFile) -> bool:
    """Use one connection; return whether the file is complete."""
    size, validator = partial.size(), partial.validator(address)
    headers = {'User-Agent': USER_AGENT, 'Accept-Encoding': 'identity'}
    if size and validator:
        headers |= {'Range': f'bytes={size}-', 'If-Range': validator}
    request = urllib.request.Request(address, headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        continued = response.status == 206
        start = size if continued else 0
        length = response.headers.get('Content-Length')
        total = start + int(length) if length else None
        if total is not None and total - start > shutil.disk_usage(partial.path.parent).free:
            raise OSError(errno.ENOSPC, 'No space left on device')
        _note_validator(address, partial, response.headers)
        with partial.path.open('ab' if continued else 'wb') as stream:
            with _progress(address, start, total) as advance:
                while block := response.read(CHUNK):
                    stream.write(block)
                    advance(len(block))
    return total is None or partial.size() >= total


def _note_validator(address: str, partial: PartialFile, headers: http.client.HTTPMessage) -> None:
    """Record which version of the file the bytes are of; without one they cannot be continued."""
    etag = headers.get('ETag') or ''
    strong = etag if etag.startswith('"') else ''
    validator = strong or headers.get('Last-Modified') or ''
    content = {'address': address, 'validator': validator}
    partial.record.write_text(json.dumps(content), encoding='utf-8')


@contextlib.contextmanager
def _progress(address: str, start: int, total: int | None) -> Iterator:
    """Show a progress bar on a terminal, and print one line elsewhere."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True)
    name = Path(urllib.parse.urlsplit(address).path).name
    if not console.is_terminal:
        size = f' ({(total - start) / 1e6:.0f} MB)' if total else ''
        console.print(f'Downloading {address}{size}', soft_wrap=True, highlight=False, markup=False)
        yield lambda _: None
        return
    columns = (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(TextColumn('{task.description}'), BarColumn(), *columns, console=console) as bar:
        task = bar.add_task(name, total=total, completed=start)
        yield lambda count: bar.advance(task, count)


def _not_writable(error: OSError, path: Path) -> OSError:
    """Return the error of a file that cannot be written."""
    return OSError(
        error.errno,
        f'{path} cannot be written ({error.strerror}): change its permissions, or name another '
        'folder with GROUPVIT_HOME.',
    )


def _no_space(address: str, folder: Path) -> OSError:
    """Return the error of a full disk."""
    return OSError(
        errno.ENOSPC,
        f'There is no space for {Path(urllib.parse.urlsplit(address).path).name} in {folder}: free '
        'some, or name another folder with GROUPVIT_HOME.',
    )
