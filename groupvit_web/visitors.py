"""The visitors of a page: their picture, the pixel they point at, and the order of their requests.

A later request makes the answer to an earlier one of its kind superfluous.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

from groupvit_web.errors import PageError
from groupvit_web.uploads import Picture

MOST_VISITORS = 300
"""int: Visitors whose picture is kept: the ones that asked last."""
KINDS_OF_RESULTS = ('everything', 'labels')
"""tuple[str, ...]: Kinds of requests whose answers show the result."""


@dataclass
class Visitor:
    """What is kept of an open page.

    Attributes:
        picture (Picture, optional): The picture it shows.
        point (tuple[int, int], optional): Row and column of the pixel it explains.
        last (dict[str, int]): Number of the last request of each kind.
    """

    picture: Picture | None = None
    point: tuple[int, int] | None = None
    last: dict[str, int] = field(default_factory=dict)


class Turn(NamedTuple):
    """A request of a visitor.

    Attributes:
        visitor (str): Name of the visitor.
        number (int): Number of the request, of all requests of all visitors.
        kind (str): Requests of the same kind replace each other.
    """

    visitor: str
    number: int
    kind: str


class Visitors:
    """All visitors by name, for several threads.

    Args:
        capacity (int): Visitors that are kept. Defaults to 300.

    Example:
        >>> visitors = Visitors()
        >>> first = visitors.begin('a', 'everything')
        >>> second = visitors.begin('a', 'labels')
        >>> visitors.is_replaced(first), visitors.is_last(first), visitors.is_last(second)
        (False, False, True)
        >>> visitors.leave('a')
        >>> visitors.is_replaced(first)
        True
    """

    def __init__(self, capacity: int = MOST_VISITORS) -> None:
        self.capacity = capacity
        self._lock = threading.Lock()
        self._number = 0
        self._visitors: OrderedDict[str, Visitor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._visitors)

    def begin(self, name: str, kind: str) -> Turn:
        """Begin a request, which replaces earlier ones of its kind.

        Args:
            name (str): Who asks.
            kind (str): What for.
        """
        with self._lock:
            self._number += 1
            self._visitor(name).last[kind] = self._number
            return Turn(name, self._number, kind)

    def is_replaced(self, turn: Turn) -> bool:
        """Tell whether a later request of the kind has begun, or the visitor has left."""
        with self._lock:
            visitor = self._visitors.get(turn.visitor)
            return visitor is None or visitor.last.get(turn.kind) != turn.number

    def is_last(self, turn: Turn) -> bool:
        """Tell whether no later request has begun that shows the result."""
        with self._lock:
            visitor = self._visitors.get(turn.visitor, Visitor())
            numbers = (visitor.last.get(kind, -1) for kind in KINDS_OF_RESULTS)
            return max(numbers) == turn.number

    def show(self, name: str, picture: Picture) -> None:
        """Note the picture of a visitor, who points at no pixel of it yet."""
        with self._lock:
            visitor = self._visitor(name)
            visitor.picture, visitor.point = picture, None

    def picture(self, name: str) -> Picture:
        """Return the picture of a visitor.

        Raises:
            PageError: If there is none, or none any more.
        """
        with self._lock:
            picture = self._visitor(name).picture
        if picture is None:
            raise PageError('Choose a picture first.')
        return picture

    def point_at(self, name: str, point: tuple[int, int]) -> None:
        """Note the pixel that a visitor points at."""
        with self._lock:
            self._visitor(name).point = point

    def point(self, name: str) -> tuple[int, int] | None:
        """Return the pixel that a visitor points at."""
        with self._lock:
            return self._visitor(name).point

    def cancel(self, name: str) -> None:
        """End the requests of a visitor, who no longer waits for the answers."""
        with self._lock:
            visitor = self._visitors.get(name, Visitor())
            visitor.last.clear()

    def leave(self, name: str) -> None:
        """Forget a visitor: nobody waits for the answers."""
        with self._lock:
            self._visitors.pop(name, None)

    def _visitor(self, name: str) -> Visitor:
        """Return a visitor, as the one who asked last; the lock has to be held."""
        visitor = self._visitors.setdefault(name, Visitor())
        self._visitors.move_to_end(name)
        while len(self._visitors) > self.capacity:
            self._visitors.popitem(last=False)
        return visitor
