"""The order of a visitor's requests: a later one makes the answer to an earlier one superfluous."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

MOST_VISITORS = 1000
"""int: Visitors whose order is kept; the ones that asked last."""


class Turn(NamedTuple):
    """A request of a visitor.

    Attributes:
        visitor (str): The visitor.
        number (int): Number of the request, of all requests of all visitors.
        kind (str): Requests of the same kind replace each other.
    """

    visitor: str
    number: int
    kind: str


class Turns:
    """Numbers the requests of each visitor.

    Example:
        >>> turns = Turns()
        >>> first = turns.begin('a', 'picture')
        >>> second = turns.begin('a', 'threshold')
        >>> turns.is_replaced(first), turns.is_last(first), turns.is_last(second)
        (False, False, True)
        >>> turns.leave('a')
        >>> turns.is_replaced(first)
        True
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._number = 0
        self._last: OrderedDict[str, dict[str, int]] = OrderedDict()

    def begin(self, visitor: str, kind: str) -> Turn:
        """Begin a request, which replaces earlier ones of its kind.

        Args:
            visitor (str): Who asks.
            kind (str): What for.
        """
        with self._lock:
            self._number += 1
            self._last.setdefault(visitor, {})[kind] = self._number
            self._last.move_to_end(visitor)
            if len(self._last) > MOST_VISITORS:
                self._last.popitem(last=False)
            return Turn(visitor, self._number, kind)

    def is_replaced(self, turn: Turn) -> bool:
        """Tell whether a later request of the kind has begun, or the visitor has left."""
        with self._lock:
            return self._last.get(turn.visitor, {}).get(turn.kind) != turn.number

    def is_last(self, turn: Turn) -> bool:
        """Tell whether no later request of any kind has begun."""
        with self._lock:
            return max(self._last.get(turn.visitor, {}).values(), default=-1) == turn.number

    def leave(self, visitor: str) -> None:
        """Forget a visitor: nobody waits for the answers."""
        with self._lock:
            self._last.pop(visitor, None)
