"""Who waits for answers: those of visitors who never fetch them are not kept."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Iterator


class Listeners:
    """Visitors with requests, and the connections on which they wait for answers.

    It belongs to one event loop.

    Example:
        >>> listeners = Listeners()
        >>> for name in ('a', 'b'):
        ...     listeners.asked(name)
        >>> listeners.connected('b')
        >>> list(listeners.pop_silent(0))
        ['a']
    """

    def __init__(self) -> None:
        self._last = OrderedDict[str, float]()
        self._connections = Counter[str]()

    def __len__(self) -> int:
        return len(self._last)

    def asked(self, name: str) -> None:
        """Note a request of a visitor."""
        self._last[name] = time.monotonic()
        self._last.move_to_end(name)

    def connected(self, name: str) -> None:
        """Note a connection on which a visitor waits."""
        self._connections[name] += 1

    def disconnected(self, name: str) -> None:
        """Note the end of a connection, from which on the time of silence counts."""
        self._connections[name] -= 1
        self._connections += Counter()  # without those that have none
        self.asked(name)

    def pop_silent(self, seconds: float) -> Iterator[str]:
        """Forget and yield those without a request or a connection for some seconds.

        Args:
            seconds (float): Since the last of both.
        """
        end = time.monotonic() - seconds
        while self._last:
            name, last = next(iter(self._last.items()))
            if last > end:
                return
            del self._last[name]
            if name not in self._connections:
                yield name
