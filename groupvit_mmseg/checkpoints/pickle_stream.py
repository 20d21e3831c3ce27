"""Pickles looked through before they are loaded, for Python reserves any memory they ask for."""

import pickle
import pickletools
from typing import IO, Any

# Never in a file of torch.save: buffers that are reserved unread, and types by number.
REFUSED = {'BYTEARRAY8', 'NEXT_BUFFER', 'READONLY_BUFFER', 'EXT1', 'EXT2', 'EXT4'}
PUTS = {'PUT', 'BINPUT', 'LONG_BINPUT'}


class BoundedStream:
    """A stream of which nobody can ask for more than there is.

    Args:
        stream (IO[bytes]): Seekable.
        size (int): Its length in bytes.
    """

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self.stream = stream
        self.size = size

    def read(self, count: int = -1) -> bytes:
        """As of a file.

        Raises:
            UnpicklingError: If there are not so many bytes.
        """
        if count > self.size - self.stream.tell():
            raise pickle.UnpicklingError('it is torn (it ends too early)')
        return self.stream.read(count)

    def readline(self) -> bytes:
        """As of a file."""
        return self.stream.readline()

    def tell(self) -> int:
        """As of a file."""
        return self.stream.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of a file."""
        return self.stream.seek(offset, whence)


def check_pickle(stream: BoundedStream) -> None:
    """Look through the pickle that begins here, and return to its start.

    Raises:
        UnpicklingError: If it holds what no file of ``torch.save`` does.
        ValueError: If it is no pickle.
    """
    start = stream.tell()
    readable: Any = stream
    for count, (opcode, argument, _) in enumerate(pickletools.genops(readable)):
        # Objects are remembered under running numbers; another one would reserve a table for it.
        runs_ahead = opcode.name in PUTS and int(argument or 0) > count
        if opcode.name in REFUSED or runs_ahead:
            raise pickle.UnpicklingError('its pickle is not one of torch.save')
    stream.seek(start)
