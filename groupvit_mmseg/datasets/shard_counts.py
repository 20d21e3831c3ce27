"""Counts the samples of a shard from its headers."""

from pathlib import Path
from typing import TypedDict

from groupvit_mmseg.datasets.shard_members import (
    MEMBERS_RULE,
    NO_END_MARK,
    ShardCount,
    count_members,
)


def count_samples(shard: str) -> ShardCount:
    """Count the samples of one shard, grouped as training does."""
    if '://' in shard or shard.startswith('pipe:'):
        raise ValueError(f'"{shard}" is not on this machine: set `length` in the config instead.')
    if Path(shard).is_dir():
        raise ValueError(f'"{shard}" is a folder: name its shards, "{shard.rstrip("/")}/*.tar".')
    if Path(shard).is_file() and Path(shard).stat().st_size == 0:
        raise ValueError(f'"{shard}" is empty (0 bytes): fetch it again.')
    try:
        return count_members(shard)
    except Exception as error:  # tar, gzip, bzip2 and xz have errors of their own
        reason = ' '.join(str(error).split())
        raise ValueError(f'"{shard}" is no readable tar ({reason}): fetch it again.') from error


class CountResult(TypedDict):
    """Samples of a shard, and sentences on what is unusual about it."""

    samples: int
    remarks: list[str]


def count(shard: str) -> CountResult:
    """Count one shard; the result is that of a part."""
    found = count_samples(shard)
    return {'samples': found.samples, 'remarks': remarks(shard, found)}


def remarks(shard: str, count: ShardCount) -> list[str]:
    """Describe what is unusual about a shard."""
    lines = []
    if count.files == 0:
        lines.append(f'"{shard}" is empty: it counts 0 samples.')
    elif count.samples == 0:
        lines.append(f'"{shard}" has {count.files} files but no sample: {MEMBERS_RULE}.')
    if count.hidden:
        lines.append(f'"{shard}": {count.hidden} hidden files (._*, .DS_Store) are passed over.')
    if not count.ended:
        lines.append(f'"{shard}" {NO_END_MARK}.')
    if count.repeated:
        lines.append(
            f'"{shard}": {len(count.repeated)} members are there twice, first '
            f'"{count.repeated[0]}"; training skips their samples: give samples different names.'
        )
    return lines
