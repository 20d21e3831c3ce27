"""A pass over shards on a Ray cluster, where Ray is installed."""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

Output = TypeVar('Output')
# Shards that are given out ahead of the one whose result is awaited, for each CPU of the cluster.
AHEAD_PER_CPU = 2


def ray_results(work: Callable[[str], Output], shards: Sequence[str]) -> Iterator[Output]:
    """Read shards on the cluster of ``RAY_ADDRESS``, or on this machine where it is not set.

    A shard whose worker died is given to another one, as Ray does by default.

    Args:
        work (Callable[[str], Output]): Reads a shard; workers import it by its name.
        shards (Sequence[str]): Paths or addresses that every machine can open.

    Yields:
        Output: The results, in order.

    Raises:
        ModuleNotFoundError: If Ray is not installed.
    """
    try:
        ray = importlib.import_module('ray')
    except ImportError as error:
        raise ModuleNotFoundError("--ray needs Ray: pip install 'groupvit-mmseg[ray]'") from error
    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False, include_dashboard=False)
    try:
        call, jobs = ray.remote(_call), iter(shards)
        ahead = max(int(ray.cluster_resources().get('CPU', 1)), 1) * AHEAD_PER_CPU
        pending = deque(call.remote(work, shard) for shard in islice(jobs, ahead))
        while pending:
            yield _result(ray.get(pending.popleft()))
            pending.extend(call.remote(work, shard) for shard in islice(jobs, 1))
    finally:
        if started:
            ray.shutdown()


def _call(work: Callable[[str], Output], shard: str) -> Output | Exception:
    """Read a shard on a worker; an error is a result, so that its type and message stay."""
    try:
        return work(shard)
    except Exception as error:  # raised again where the pass was started
        return error


def _result(result: Output | Exception) -> Output:
    """Return a result, or raise what a worker raised."""
    if isinstance(result, Exception):
        raise result
    return result
