"""A cache bounded in bytes, for several threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Value = TypeVar('Value')


class ByteCache(Generic[Value]):
    """Keeps the values that were used last, as many as fit into a number of bytes.

    A value that is larger than the whole cache is not kept.

    Args:
        capacity (int): Bytes of all values together.

    Example:
        >>> cache = ByteCache[str](10)
        >>> cache.put('a', 'first', 6)
        >>> cache.put('b', 'second', 6)
        >>> cache.get('a'), cache.get('b'), cache.size
        (None, 'second', 6)
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes of the values that are kept."""
        return self._size

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable) -> Value | None:
        """Return the value of a key and mark it as used, or None."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: Hashable, value: Value, num_bytes: int) -> None:
        """Keep a value; those that were not used for the longest time make room."""
        with self._lock:
            _, replaced = self._entries.pop(key, (None, 0))
            self._size -= replaced
            if num_bytes > self.capacity:
                return
            self._entries[key] = (value, num_bytes)
            self._size += num_bytes
            while self._size > self.capacity:
                _, (_, freed) = self._entries.popitem(last=False)
                self._size -= freed
