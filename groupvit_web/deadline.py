"""The time limit of a request, and the end of requests that nobody waits for."""

from __future__ import annotations

import time
from collections.abc import Callable

from groupvit_web.errors import PageError, RequestCancelled

ADVICE = 'try a smaller picture, fewer words, or the whole picture instead of windows'


class Deadline:
    """Time limit and cancellation of one request.

    Args:
        seconds (float): Time from now on.
        is_cancelled (Callable[[], bool], optional): Whether nobody waits for the answer any more.
            It is called often, and must return at once. Defaults to None, never.
        advice (str): What to do if the time is over. Defaults to :data:`ADVICE`.

    Example:
        >>> Deadline(60).check()
        >>> Deadline(0, advice='try again').check()
        Traceback (most recent call last):
            ...
        groupvit_web.errors.PageError: This took longer than 0 seconds: try again.
    """

    def __init__(
        self,
        seconds: float,
        is_cancelled: Callable[[], bool] | None = None,
        *,
        advice: str = ADVICE,
    ) -> None:
        self.seconds, self.advice = seconds, advice
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
            raise PageError(f'This took longer than {self.seconds:g} seconds: {self.advice}.')

    def renewed(self, seconds: float, advice: str) -> Deadline:
        """Return another time limit from now on, with the same cancellation."""
        return Deadline(seconds, self._is_cancelled, advice=advice)
