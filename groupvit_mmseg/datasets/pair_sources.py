"""The sources of a config: tar shards, tables beside images, folders, and Parquet files."""

import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from mmengine.logging import print_log

from groupvit_mmseg.datasets.account import Account
from groupvit_mmseg.datasets.caption_annotations import read_flickr, read_json_pairs
from groupvit_mmseg.datasets.caption_folders import read_folder
from groupvit_mmseg.datasets.caption_tables import (
    Columns,
    Row,
    find_columns,
    read_delimited,
    read_json_lines,
)
from groupvit_mmseg.datasets.epoch_plan import ShardRange
from groupvit_mmseg.datasets.packed_rows import PackedRows
from groupvit_mmseg.datasets.pair_store import PairStore, read_images
from groupvit_mmseg.datasets.parquet_tables import list_parquet, open_parquet
from groupvit_mmseg.datasets.row_readers import ParquetReader, TableReader, name_caption
from groupvit_mmseg.datasets.shard_stream import RawSample, read_shard_range
from groupvit_mmseg.datasets.shards import (
    ShardSource,
    check_weight,
    expand_shards,
    join_root,
    open_source,
)

RangeReader = Callable[[ShardRange, str], Iterator[RawSample]]
TABLES: dict[str, Callable[[Path, Columns, Account], Iterator[Row]]] = {
    '.csv': lambda path, columns, account: read_delimited(path, ',', columns, account),
    '.tsv': lambda path, columns, account: read_delimited(path, '\t', columns, account),
    '.jsonl': read_json_lines,
    '.json': read_json_pairs,
    '.txt': lambda path, columns, account: read_flickr(path, account),
}
KINDS = ('shards', 'table', 'folder', 'parquet')


class SourceConfig(TypedDict, total=False):
    """A source in a config.

    Attributes:
        shards (str | Sequence[str]): Tar shards, see :func:`.open_source`. Every source has this
            or one of the next three.
        table (str): A table of images and captions: ``.csv``, ``.tsv``, ``.jsonl``, ``.json``, or
            Flickr's ``.txt``.
        folder (str): A folder of images with captions beside them.
        parquet (str | Sequence[str]): Parquet files: a file, a folder, a glob, or a list of them.
        images (str): Folder of the images that a table or Parquet names. Defaults to that of the
            table.
        image_column (str): Column of the images. Defaults to the first of ``image``, ``file_name``,
            ``filepath`` and ``jpg`` that is there.
        caption_column (str | Sequence[str]): Column of the captions. Defaults to the first of
            ``captions``, ``caption``, ``texts`` and ``text``. Several columns are captions of
            several names, see :func:`~groupvit_mmseg.datasets.caption_choice.draw_caption`.
        data_root (str): Folder that all these paths are in.
        length (int): Samples in all shards, where they have no ``sizes.json``.
        sizes (str): A file of the samples in each shard, for shards that are no local files.
        weight (float): Share of the mix, above 0.
        name (str): Name in keys and logs.
    """

    shards: str | Sequence[str]
    table: str
    folder: str
    parquet: str | Sequence[str]
    images: str | None
    image_column: str | None
    caption_column: str | Sequence[str] | None
    data_root: str | None
    length: int | None
    sizes: str | None
    weight: float | None
    name: str | None


@dataclass(frozen=True)
class RowSource(ShardSource):
    """A source whose parts are rows of a table or row groups.

    Attributes:
        reader (RangeReader): Reads a range of a part.
    """

    reader: RangeReader = field(kw_only=True)


def open_pairs(config: SourceConfig) -> ShardSource:
    """Open a source of a config and count its samples.

    Args:
        config (SourceConfig): The source.

    Returns:
        ShardSource: The source, checked.

    Raises:
        FileNotFoundError: If a file is missing.
        ModuleNotFoundError: If Parquet files need pyarrow.
        ValueError: If the source has not exactly one of ``shards``, ``table``, ``folder`` and
            ``parquet``, has no sample, or an option that does not belong to its kind.
    """
    kinds = [kind for kind in KINDS if config.get(kind) is not None]
    if len(kinds) != 1:
        raise ValueError(
            f'A source has {" and ".join(kinds) or "none of its kinds"}: give one of '
            f'{", ".join(f"`{kind}`" for kind in KINDS)}.'
        )
    _check_options(config, kinds[0])
    if kinds[0] == 'shards':
        return open_source(
            config['shards'],
            data_root=config.get('data_root'),
            length=config.get('length'),
            weight=config.get('weight'),
            name=config.get('name'),
            sizes=config.get('sizes'),
        )
    return _open_parquet(config) if kinds[0] == 'parquet' else _open_table(config, kinds[0])


def read_range(source: ShardSource, shard_range: ShardRange) -> Iterator[RawSample]:
    """Read a range of a shard, or of what takes its place.

    Args:
        source (ShardSource): The source.
        shard_range (ShardRange): One of its shards, and which samples.

    Yields:
        RawSample: The samples in order; those that are lost have an ``error``.
    """
    read = source.reader if isinstance(source, RowSource) else read_shard_range
    return read(shard_range, source.name)


def _check_options(config: SourceConfig, kind: str) -> None:
    """Refuse options that a kind of source does not have."""
    shared = {kind, 'data_root', 'weight', 'name'}
    own = {
        'shards': {'length', 'sizes'},
        'table': {'images', 'image_column', 'caption_column'},
        'folder': set(),
        'parquet': {'images', 'image_column', 'caption_column'},
    }[kind]
    for key, value in config.items():
        if key not in shared | own and value is not None:
            raise ValueError(
                f'A source of `{kind}` has no option `{key}`: it has '
                f'{", ".join(sorted((shared | own) - {kind}))}.'
            )
        _check_text(key, value)


def _check_text(key: str, value: object) -> None:
    """Refuse a path or a column of another type than text, such as the number of a column."""
    listed = key in ('shards', 'parquet', 'caption_column') and isinstance(value, list | tuple)
    texts = list(value) if listed and isinstance(value, list | tuple) else [value]
    wrong = [item for item in texts if not isinstance(item, str)]
    if wrong and value is not None and key not in ('length', 'weight'):
        form = 'texts' if listed else 'a text'
        raise ValueError(
            f'`{key}` of a source holds {wrong[0]!r}: write {form}, such as {str(wrong[0])!r}.'
        )


def _path(config: SourceConfig, value: str) -> Path:
    """Put a path of a source into its folder."""
    return Path(join_root(config.get('data_root'), value))


def _columns(config: SourceConfig) -> list[Columns]:
    """Return the columns that a source names, those of the image with each of the captions."""
    captions = config.get('caption_column')
    names = [captions] if captions is None or isinstance(captions, str) else list(captions)
    if not names:
        raise ValueError('`caption_column` is an empty list: name a column, or leave it out.')
    return [Columns(config.get('image_column'), name) for name in names]


def _open_table(config: SourceConfig, kind: str) -> RowSource:
    """Open a table or a folder."""
    source = _path(config, config['table'] if kind == 'table' else config['folder'])
    name = config.get('name') or source.resolve().stem
    accounts = [Account('files' if kind == 'folder' else 'rows')]
    if kind == 'folder':
        if not source.is_dir():
            raise FileNotFoundError(f'Source "{name}": there is no folder "{source}".')
        images, rows = source, read_folder(source, accounts[0])
    else:
        images, columns = source.parent, _columns(config)
        accounts = [Account(f'rows ({c.caption})' if len(columns) > 1 else 'rows') for c in columns]
        rows = _read_columns(name, source, columns, accounts)
    folder = config.get('images')
    images = _path(config, folder) if folder else images
    if not images.is_dir():
        raise FileNotFoundError(f'Source "{name}": there is no folder "{images}" of images.')
    reader = TableReader.open(_joined_rows(rows), images)
    for account in accounts:
        _log_account(name, account)
    return _row_source(config, name, reader.parts(str(source)), reader)


def _read_table(name: str, source: Path, columns: Columns, account: Account) -> Iterator[Row]:
    """Read a table by the ending of its name."""
    if not source.is_file():
        raise FileNotFoundError(f'Source "{name}": there is no table "{source}".')
    if source.suffix.lower() not in TABLES:
        raise ValueError(
            f'Source "{name}": "{source.name}" is none of {", ".join(TABLES)}: rename it, or give '
            'Parquet files as `parquet`.'
        )
    return TABLES[source.suffix.lower()](source, columns, account)


def _read_columns(
    name: str, source: Path, columns: Sequence[Columns], accounts: Sequence[Account]
) -> Iterator[Row]:
    """Read a table once for every column of captions; these have its name if a config gives it."""
    for one, account in zip(columns, accounts, strict=True):
        for row in _read_table(name, source, one, account):
            named = [name_caption(str(one.caption), text) for text in row.captions]
            yield row._replace(captions=named) if one.caption else row


def _joined_rows(rows: Iterator[Row]) -> PackedRows:
    """Join the captions of each image, and shuffle the images once and for all."""
    with tempfile.TemporaryDirectory(prefix='groupvit-rows-') as folder:
        file = Path(folder, 'pairs.sqlite')
        with closing(PairStore(file, seed=0)) as store:
            store.add(rows)
            store.arrange()
        return PackedRows(read_images(file, Account('images')))


def _open_parquet(config: SourceConfig) -> RowSource:
    """Open Parquet files."""
    root = config.get('data_root')
    paths = [Path(path) for path in expand_shards(config['parquet'], root, kind='parquet')]
    name = config.get('name') or paths[0].resolve().stem
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f'Source "{name}": there is no "{path}".')
    columns = {}
    for file in (file for path in paths for file in list_parquet(path)):
        if str(file) in columns:
            raise ValueError(f'Source "{name}" lists "{file}" twice: list each file once.')
        names = open_parquet(file).schema_arrow.names
        found = [find_columns(names, one, str(file)) for one in _columns(config)]
        columns[str(file)] = (found[0][0], *(caption for _, caption in found))
    folder = config.get('images')
    reader = ParquetReader(columns, _path(config, folder) if folder else None)
    return _row_source(config, name, reader.parts(), reader)


def _row_source(
    config: SourceConfig, name: str, parts: dict[str, int], reader: RangeReader
) -> RowSource:
    """Make a source of parts of known sizes."""
    weight = config.get('weight')
    check_weight(name, weight)
    length = sum(parts.values())
    if length == 0:
        raise ValueError(f'Source "{name}" has no sample that can be used: see the log for why.')
    return RowSource(name, tuple(parts), tuple(parts.values()), length, weight, reader=reader)


def _log_account(name: str, account: Account) -> None:
    """Log how many rows of a table are used; those that are not with their reasons."""
    print_log(
        f'Source "{name}": ' + '\n'.join(account.lines()),
        logger='current',
        level=logging.WARNING if account.num_dropped else logging.INFO,
    )
