"""A stream that survives the faults of its connection: it is opened again where it broke off."""

import http.client
import io
import logging
import random
import time
from collections.abc import Callable
from typing import NamedTuple, Protocol

from mmengine.logging import print_log

# What a connection raises; a decoder's errors are not among them.
CONNECTION_ERRORS = (OSError, http.client.HTTPException, EOFError)
# Faults that another try does not change.
LASTING_ERRORS = (FileNotFoundError, PermissionError, NotImplementedError)
BUFFER = 2**20


class ByteStream(Protocol):
    """What is read: a response of a server, the output of a command, a file of an object store."""

    def read(self, size: int, /) -> bytes:
        """Read up to ``size`` bytes; none at the end."""

    def close(self) -> None:
        """Close it."""


class Busy(OSError):
    """A server that asks to be left alone for a while.

    Args:
        message (str): What it answered.
        wait (float): Seconds that it asks for; 0 where it names none.
    """

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


class Retries(NamedTuple):
    """How often a stream is opened again, and after which pauses.

    Attributes:
        tries (int): Tries without a single new byte before the fault is raised.
        first_wait (float): Seconds before the first of them; each next one waits twice as long.
        longest_wait (float): Seconds at most.
    """

    tries: int = 8
    first_wait: float = 1.0
    longest_wait: float = 60.0

    def pause(self, failed: int, error: BaseException) -> float:
        """Return the seconds after some failed tries, up to half more at random: workers spread."""
        wait = min(self.first_wait * 2**failed, self.longest_wait)
        asked = error.wait if isinstance(error, Busy) else 0.0
        return max(wait * random.Random(time.monotonic_ns()).uniform(1, 1.5), asked)


class ResumedStream(io.RawIOBase):
    """A stream of bytes that is opened again at its position after a fault.

    Args:
        open_at (Callable[[int], ByteStream]): Opens the stream at a position in bytes.
        address (str): Named in the log.
        retries (Retries): How often.

    Raises:
        OSError: From ``read``, if no byte came after all tries, or the fault is a lasting one: no
            such file, no permission.
    """

    def __init__(
        self, open_at: Callable[[int], ByteStream], address: str, retries: Retries
    ) -> None:
        super().__init__()
        self._open_at, self._address, self._retries = open_at, address, retries
        self._stream: ByteStream | None = None
        self._position = self._tries = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: 'bytearray | memoryview', /) -> int:  # type: ignore[override]
        """Read some bytes; 0 at the end."""
        while True:
            try:
                if self._stream is None:
                    self._stream = self._open_at(self._position)
                data = self._stream.read(len(buffer))
            except LASTING_ERRORS:
                raise
            except CONNECTION_ERRORS as error:
                self._recover(error)
            else:
                self._position += len(data)
                self._tries = 0 if data else self._tries
                buffer[: len(data)] = data
                return len(data)

    def _recover(self, error: BaseException) -> None:
        """Close the stream and wait before the next try; raise the error after the last."""
        self._close_stream()
        if self._tries >= self._retries.tries:
            raise error
        wait = self._retries.pause(self._tries, error)
        self._tries += 1
        print_log(
            f'{self._address} broke off at byte {self._position:,} ({error}); it is opened again '
            f'in {wait:.1f} s, try {self._tries} of {self._retries.tries}.',
            logger='current',
            level=logging.WARNING,
        )
        time.sleep(wait)

    def close(self) -> None:
        """Close the connection."""
        self._close_stream()
        super().close()

    def _close_stream(self) -> None:
        """Close what is open; a fault of closing is none of reading."""
        stream, self._stream = self._stream, None
        if stream is not None:
            try:
                stream.close()
            except CONNECTION_ERRORS as error:
                print_log(f'{self._address}: {error}', logger='current', level=logging.DEBUG)


def skip(stream: ByteStream, count: int) -> None:
    """Read and forget bytes.

    Raises:
        EOFError: If the stream ends before.
    """
    while count > 0:
        data = stream.read(min(count, BUFFER))
        if not data:
            raise EOFError('it ends before the position that was reached earlier')
        count -= len(data)
