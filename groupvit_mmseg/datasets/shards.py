"""The sources of image-text pairs: sets of tar shards and their mix."""

import glob
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmengine.logging import print_log
from webdataset.shardlists import expand_urls

from groupvit_mmseg.datasets.remote_shards import check_address
from groupvit_mmseg.datasets.shard_sizes import SIZES_FILE, is_remote, read_table, tabled_size

FILES = {'shards': 'shards', 'parquet': 'Parquet files'}


@dataclass(frozen=True)
class ShardSource:
    """One set of shards.

    Attributes:
        name (str): The name that logs and sample keys carry.
        shards (tuple[str, ...]): Paths or addresses of the tars.
        sizes (tuple[int, ...] | None): Samples in each shard; None where only the total is known.
        length (int): Samples in all shards.
        weight (float | None): Share of the mix, in any unit; None mixes by length.
    """

    name: str
    shards: tuple[str, ...]
    sizes: tuple[int, ...] | None
    length: int
    weight: float | None = None


def open_source(
    shards: str | Sequence[str],
    *,
    data_root: str | None = None,
    length: int | None = None,
    weight: float | None = None,
    name: str | None = None,
    sizes: str | None = None,
) -> ShardSource:
    """Find the shards of one source and how many samples each holds.

    Sizes come from the ``sizes.json`` beside the shards, ``{"file name": samples}``, or from the
    file ``sizes`` of this form, which shards that are no local files need. Where there is none,
    ``length`` gives the total and whole shards are distributed (see ``ImageTextDataset``).

    Args:
        shards (str | Sequence[str]): A brace expression (``cc3m-{000000..000331}.tar``), a glob
            (``cc3m-*.tar``), or a list of either.
        data_root (str, optional): Folder that relative shards are in.
        length (int, optional): Samples in all shards, used where there is no ``sizes.json``.
        weight (float, optional): Share of the mix, above 0.
        name (str, optional): Defaults to the first shard's name without its number.
        sizes (str, optional): A local file of sizes, relative to ``data_root`` if that is local.

    Returns:
        ShardSource: The source, checked.

    Raises:
        FileNotFoundError: If a shard is missing or a glob matches nothing.
        ValueError: If a length is missing or not positive, a shard is listed twice or has no size,
            or the weight is not positive.
    """
    paths = expand_shards(shards, data_root)
    name = name or Path(paths[0]).stem.rstrip('0123456789').rstrip('-_') or 'shards'
    _check_shards(name, paths)
    check_weight(name, weight)
    if length is not None and not isinstance(length, int):
        raise ValueError(f'Source "{name}": `length` is {length!r}: give the number of samples.')
    counts = _sizes_of(name, paths, data_root, sizes) if sizes else _read_sizes(name, paths)
    length = _check_length(name, counts, length)
    return ShardSource(name, paths, counts, length, weight)


def check_weight(name: str, weight: float | None) -> None:
    """Raise ``ValueError`` if the weight of a source is not positive."""
    if weight is not None and not (isinstance(weight, int | float) and weight > 0):
        raise ValueError(f'Source "{name}": `weight` is {weight!r}, it must be above 0.')


def expand_shards(
    shards: str | Sequence[str], data_root: str | None = None, *, kind: str = 'shards'
) -> tuple[str, ...]:
    """Expand brace expressions and globs, in the order given, globs sorted.

    Args:
        shards (str | Sequence[str]): Brace expressions, globs, paths or addresses.
        data_root (str, optional): Folder that relative paths are in.
        kind (str): Key of the source, for messages. Defaults to 'shards'.

    Returns:
        tuple[str, ...]: Paths or addresses of the tars, at least one.

    Raises:
        FileNotFoundError: If a glob matches nothing.
        ValueError: If nothing is listed.
    """
    paths: list[str] = []
    for spec in [shards] if isinstance(shards, str) else shards:
        for path in expand_urls(spec):
            paths.extend(_expand_glob(data_root, path, kind))
    if not paths:
        raise ValueError(
            f'A source lists no {FILES[kind]}: give `{kind}` a path, a glob or {{0..9}} braces.'
        )
    return tuple(paths)


def mix_quotas(sources: Sequence[ShardSource]) -> list[int]:
    """Count the samples that each source gives to one epoch.

    Without weights every source gives all of its samples. With weights an epoch is as long as all
    sources together, and source ``s`` gives ``weight_s / sum of weights`` of it.

    Args:
        sources (Sequence[ShardSource]): The mix.

    Returns:
        list[int]: Samples per source.

    Raises:
        ValueError: If the mix is empty, names repeat, or only some sources have weights.
    """
    if not sources:
        raise ValueError('The mix is empty: give `sources` at least one dict(shards=...).')
    repeated = [name for name, count in Counter(s.name for s in sources).items() if count > 1]
    if repeated:
        raise ValueError(f'Two sources are called "{repeated[0]}": give each its own `name`.')
    weights = [source.weight for source in sources if source.weight is not None]
    if not weights:
        return [source.length for source in sources]
    if len(weights) < len(sources):
        missing = next(source.name for source in sources if source.weight is None)
        raise ValueError(f'Source "{missing}" has no `weight`: give every source one, or none.')
    return _proportional(sum(source.length for source in sources), weights)


def _proportional(total: int, weights: Sequence[float]) -> list[int]:
    """Split ``total`` by weights into whole numbers, the largest remainders rounded up."""
    exact = [total * weight / sum(weights) for weight in weights]
    counts = [int(value) for value in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: counts[i] - exact[i])
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return counts


def join_root(data_root: str | None, path: str) -> str:
    """Put a path into its folder; absolute paths and addresses stay."""
    if data_root is None or is_remote(path):
        return path
    if is_remote(data_root):
        return f'{data_root.rstrip("/")}/{path}'
    return str(Path(data_root, path))


def _expand_glob(data_root: str | None, pattern: str, kind: str) -> list[str]:
    """List the files that a glob in a folder matches, sorted; the path of a file stays."""
    path = join_root(data_root, pattern)
    if is_remote(path) or not glob.has_magic(pattern) or Path(path).is_file():
        return [path]
    root = None if data_root is None else glob.escape(data_root)
    matches = sorted(glob.glob(join_root(root, pattern)))
    if not matches:
        raise FileNotFoundError(
            f'No {FILES[kind][:-1]} matches "{path}": check `data_root` and `{kind}`, or prepare '
            'the data first.'
        )
    return matches


def _check_shards(name: str, paths: tuple[str, ...]) -> None:
    """Refuse shards that cannot be opened, do not exist, or are listed twice."""
    repeated = [path for path, count in Counter(paths).items() if count > 1]
    if repeated:
        raise ValueError(f'Source "{name}" lists "{repeated[0]}" twice: list each shard once.')
    for path in paths:
        check_address(path)
    missing = [path for path in paths if not is_remote(path) and not Path(path).is_file()]
    if missing:
        raise FileNotFoundError(
            f'Source "{name}" lacks {len(missing)} of its {len(paths)} shards, the first is '
            f'"{missing[0]}": prepare them, or narrow `shards` to those that exist.'
        )


def _read_sizes(name: str, paths: tuple[str, ...]) -> tuple[int, ...] | None:
    """Read the sizes of shards from the ``sizes.json`` beside them; None if a folder has none."""
    folders = {Path(path).parent for path in paths}
    files = [folder / SIZES_FILE for folder in sorted(folders)]
    if any(map(is_remote, paths)) or not all(file.is_file() for file in files):
        return None
    tables = {file.parent: read_table(file) for file in files}
    sizes = [tables[Path(path).parent].get(Path(path).name) for path in paths]
    for path, size in zip(paths, sizes, strict=True):
        if not isinstance(size, int) or size < 0:
            raise ValueError(
                f'Source "{name}": {SIZES_FILE} gives no size for "{path}": add the number of its '
                'samples, or remove the file and set `length`.'
            )
    return tuple(size for size in sizes if size is not None)


def _sizes_of(
    name: str, paths: Sequence[str], data_root: str | None, sizes: str
) -> tuple[int, ...]:
    """Read the sizes of shards from a file that a config names."""
    file = Path(sizes if data_root is None or is_remote(data_root) else join_root(data_root, sizes))
    if not file.is_file():
        raise FileNotFoundError(f'Source "{name}": there is no file "{file}" of sizes.')
    table = read_table(file)
    counts = [tabled_size(path, table) for path in paths]
    for path, count in zip(paths, counts, strict=True):
        if not isinstance(count, int) or count < 0:
            raise ValueError(f'Source "{name}": "{file}" gives no size for "{path}": add it.')
    return tuple(count for count in counts if count is not None)


def _check_length(name: str, sizes: tuple[int, ...] | None, length: int | None) -> int:
    """Return the total, from the sizes if they are known."""
    if sizes is None:
        if length is None:
            raise ValueError(
                f'Source "{name}" has no length: put a {SIZES_FILE} beside its shards, or set '
                '`length` to its number of samples.'
            )
        total = length
    else:
        total = sum(sizes)
        if length not in (None, total):
            print_log(
                f'Source "{name}": {SIZES_FILE} counts {total:,} samples, the config says '
                f'`length={length:,}`; {SIZES_FILE} is used.',
                logger='current',
                level=logging.WARNING,
            )
    if total <= 0:
        raise ValueError(f'Source "{name}" has {total} samples: it needs at least one.')
    return total
