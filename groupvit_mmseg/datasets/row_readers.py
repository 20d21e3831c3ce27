"""Raw samples out of tables of images and captions, and out of Parquet files.

The counterparts of ``shard_stream.read_shard_range``: some rows of a table, or a row group of a
Parquet file, take the place of a shard in the plan of an epoch.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from groupvit_mmseg.datasets.captions import ALL_CAPTIONS, CAPTION_KEYS
from groupvit_mmseg.datasets.epoch_plan import ShardRange
from groupvit_mmseg.datasets.image_files import read_image
from groupvit_mmseg.datasets.packed_rows import PackedRows
from groupvit_mmseg.datasets.parquet_tables import (
    READING_ERRORS,
    image_of_value,
    open_parquet,
    read_row_group,
)
from groupvit_mmseg.datasets.shard_stream import BadSample, RawSample

# Rows are read at random, so that few of them make a good shard; a plan has at most about so many.
MAX_PARTS = 2**16
# Members' names only decide that they are images: decoders look at the content.
IMAGE_MEMBER = 'jpg'
# Ends the name of a caption; no caption holds it (captions.text_problem).
MARK = '\0'


@dataclass(frozen=True)
class TableReader:
    """Reads rows whose images are files.

    Attributes:
        rows (PackedRows): Images and captions.
        images (Path): Folder that the images are in.
        part_size (int): Rows that take the place of a shard.
    """

    rows: PackedRows
    images: Path
    part_size: int

    @classmethod
    def open(cls, rows: PackedRows, images: Path) -> 'TableReader':
        """Cut the rows into parts."""
        return cls(rows, images, -(-max(len(rows), 1) // MAX_PARTS))

    def parts(self, source: str) -> dict[str, int]:
        """List the parts: ``source#first row``, and the rows of each."""
        starts = range(0, len(self.rows), self.part_size)
        return {f'{source}#{n}': min(self.part_size, len(self.rows) - n) for n in starts}

    def __call__(self, shard_range: ShardRange, source_name: str) -> Iterator[RawSample]:
        """Read a range of a part; a missing image makes a bad sample."""
        start = _number(shard_range)
        stop = self.part_size if shard_range.stop is None else shard_range.stop
        for index in range(start + shard_range.first, min(start + stop, len(self.rows))):
            row = self.rows[index]
            key = f'{source_name}/{row.image}'
            yield _raw_sample(key, row.image, _by_name(row.captions), self.images)


@dataclass(frozen=True)
class ParquetReader:
    """Reads Parquet files; a row group takes the place of a shard.

    Attributes:
        columns (Mapping[str, Sequence[str]]): By file, the column of the images and those of the
            captions.
        images (Path | None): Folder of images that rows name; None takes that of the file.
    """

    columns: Mapping[str, Sequence[str]]
    images: Path | None = None

    def parts(self) -> dict[str, int]:
        """List the row groups: ``file#number``, and the rows of each."""
        parts = {}
        for path in self.columns:
            metadata = open_parquet(Path(path)).metadata
            for group in range(metadata.num_row_groups):
                parts[f'{path}#{group}'] = metadata.row_group(group).num_rows
        return parts

    def __call__(self, shard_range: ShardRange, source_name: str) -> Iterator[RawSample]:
        """Read a range of a row group; a damaged one gives bad samples for those that are lost."""
        path = Path(shard_range.shard.rpartition('#')[0])
        prefix = f'{source_name}/{self._name_of(path)}#{_number(shard_range)}'
        folder = self.images or path.parent
        names, index, reason = self.columns[str(path)], 0, 'the row group is too short'
        try:
            for image, *captions in read_row_group(path, _number(shard_range), names):
                if shard_range.stop is not None and index >= shard_range.stop:
                    return
                if index >= shard_range.first:
                    content = image_of_value(image)
                    key = f'{prefix}/{index}'
                    named = dict(zip(names[1:], captions, strict=True))
                    yield _raw_sample(key, content, named, folder)
                index += 1
        except READING_ERRORS as error:
            reason = f'the row group is damaged ({" ".join(str(error).split())[:200]})'
        else:
            if shard_range.stop is None:
                return
        stop = index + 1 if shard_range.stop is None else shard_range.stop
        for lost in range(max(index, shard_range.first), stop):
            yield RawSample(f'{prefix}/{lost}', {}, reason)

    def _name_of(self, path: Path) -> str:
        """Return a file's name without its ending, with the folders that tell it from others."""
        common = Path(os.path.commonpath([Path(file).parent for file in self.columns]))
        return path.relative_to(common).with_suffix('').as_posix()


def name_caption(name: str, caption: str) -> str:
    """Mark a caption with the name of its column, which captions cannot hold by themselves."""
    return f'{name}{MARK}{caption}'


def _by_name(captions: Sequence[str]) -> dict[str, object]:
    """Return captions by their names; under ``captions`` if they have none."""
    if MARK not in captions[0]:
        return {CAPTION_KEYS[0]: list(captions)}
    named: dict[str, list[str]] = {}
    for text in captions:
        name, _, caption = text.partition(MARK)
        named.setdefault(name, []).append(caption)
    return dict(named)


def _number(shard_range: ShardRange) -> int:
    """Return the number at the end of a part's name."""
    return int(shard_range.shard.rpartition('#')[2])


def _raw_sample(
    key: str, image: bytes | str | None, captions: Mapping[str, object], folder: Path
) -> RawSample:
    """Make a raw sample as a shard has it: an image and a JSON member with captions by name."""
    try:
        if image is None:
            raise BadSample('the image is missing')
        content = read_image(image, folder) if isinstance(image, str) else image
        record = {**captions, ALL_CAPTIONS: _joined(list(captions.values()))}
        return RawSample(key, {IMAGE_MEMBER: content, 'json': json.dumps(record).encode()})
    except TypeError:  # a value that JSON has not, such as bytes or a date
        reason = 'the caption is neither a string nor a list of strings'
        return RawSample(key, {}, reason)
    except BadSample as error:
        return RawSample(key, {}, str(error))


def _joined(columns: Sequence[object]) -> object:
    """Return the captions of all columns in one list; a single column as it is."""
    if len(columns) == 1:
        return columns[0]
    cells = (cell if isinstance(cell, list) else [cell] for cell in columns)
    return [text for cell in cells for text in cell if isinstance(text, str)]
