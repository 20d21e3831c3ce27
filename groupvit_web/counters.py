"""How much visitors have sent lately: requests of each address, bytes of files of all."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict, deque

from groupvit_web.limits import Limits

MINUTE = 60.0
MOST_ADDRESSES = 10_000
"""int: Addresses that are counted at a time: those that sent last."""


class Counters:
    """Counts requests by address, and bytes of uploads.

    Args:
        limits (Limits): What visitors may send.

    Example:
        >>> counters = Counters(Limits(requests=2))
        >>> [counters.admits('203.0.113.7') for _ in range(3)], counters.admits('203.0.113.8')
        ([True, True, False], True)
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._lock = threading.Lock()
        self._counts: OrderedDict[tuple[str, bool], tuple[float, int]] = OrderedDict()
        self._uploads: deque[tuple[float, int]] = deque()

    def admits(self, address: str, *, is_login: bool = False) -> bool:
        """Count a request; return whether its address may send it in this minute.

        This machine itself sends any number, because a proxy may pass on those of all visitors
        without their addresses; its logins are counted.

        Args:
            address (str): IP address of the visitor.
            is_login (bool): Whether it tries a password. Defaults to False.
        """
        if not is_login and is_loopback(address):
            return True
        key, now = (address, is_login), time.monotonic()
        with self._lock:
            begin, count = self._counts.pop(key, (now, 0))
            if now - begin >= MINUTE:
                begin, count = now, 0
            self._counts[key] = (begin, count + 1)
            while len(self._counts) > MOST_ADDRESSES:
                self._counts.popitem(last=False)
        return count < (self.limits.logins if is_login else self.limits.requests)

    def has_room(self, num_bytes: int) -> bool:
        """Count an upload; return whether the files of the last hours leave room for it."""
        now = time.monotonic()
        with self._lock:
            while self._uploads and now - self._uploads[0][0] > self.limits.seconds_of_files * 1.5:
                self._uploads.popleft()
            if sum(size for _, size in self._uploads) + num_bytes > self.limits.disk_bytes:
                return False
            self._uploads.append((now, num_bytes))
        return True

    def give_back(self, num_bytes: int) -> None:
        """Forget an upload of so many bytes, which was not taken."""
        with self._lock:
            booked = (each for each in reversed(self._uploads) if each[1] == num_bytes)
            found = next(booked, None)
            if found is not None:  # its time may be over already
                self._uploads.remove(found)


def is_loopback(address: str) -> bool:
    """Return whether an address is this machine.

    Example:
        >>> is_loopback('127.0.0.1'), is_loopback('::1'), is_loopback('203.0.113.7')
        (True, True, False)
    """
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:  # of a socket that has no address
        return not address
