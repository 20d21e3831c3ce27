"""The time limit of a request, and the end of requests that nobody waits for."""

from __future__ import annotations

import time
from collections.abc import Callable

from groupvit_web.errors import PageError, RequestCancelled


class Deadline:
    """Time limit and cancellation of one request.

    Args:
        seconds (float): Time from now on.
        is_cancelled (Callable[[], bool], optional): Whether nobody waits for the answer any more.
            Defaults to None, never.

    Example:
        >>> Deadline(60).check()
        >>> Deadline(0).check()
        Traceback (most recent call last):
            ...
        groupvit_web.errors.PageError: The picture took longer than 0 seconds: try a smaller one, \
fewer words, or whole images instead of windows.
    """

    def __init__(self, seconds: float, is_cancelled: Callable[[], bool] | None = None) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds
        self._is_cancelled = is_cancelled

    def check(self) -> None:
        """Raise an error if the request has no time left or is cancelled.

        Raises:
            PageError: If the time is over.
            RequestCancelled: If nobody waits for the answer.
        """
        if self._is_cancelled is not None and self._is_cancelled():
            raise RequestCancelled('The request was cancelled.')
        if time.monotonic() >= self._end:
            raise PageError(
                f'The picture took longer than {self.seconds:g} seconds: try a smaller one, fewer '
                'words, or whole images instead of windows.'
            )
