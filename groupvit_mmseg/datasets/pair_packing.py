"""Shards of images and captions, made in units; who packs a unit changes nothing in it."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple, TypedDict, cast

from webdataset.filters import shuffle
from webdataset.writer import TarWriter

from groupvit_mmseg.atomic_files import write_atomically
from groupvit_mmseg.datasets.account import Account, AccountRecord
from groupvit_mmseg.datasets.caption_tables import Columns
from groupvit_mmseg.datasets.image_files import read_image
from groupvit_mmseg.datasets.image_headers import check_image, image_member
from groupvit_mmseg.datasets.pair_store import read_images
from groupvit_mmseg.datasets.parquet_tables import ParquetTable, RowGroup
from groupvit_mmseg.datasets.shard_stream import BadSample

BUFFER = 1000  # images that are held to be shuffled where they come with their table
Members = dict[str, str | dict[str, list[str]]]


class Sample(NamedTuple):
    """An image, by content or by file name, and the other members of its sample."""

    image: bytes | str
    members: Members
    location: str


class Packing(NamedTuple):
    """How units are packed.

    Attributes:
        folder (str): Where the tars are written.
        store (str): File of the arranged ``PairStore``.
        images (str): Folder of the images that rows name.
        per_shard (int): Samples in a tar.
        seed (int): Decides the order of images that come with their table; below 0 it stays.
        check (bool): Decode every image.
        columns (Columns): Those of Parquet.
        classes (bool): The captions are class numbers.
    """

    folder: str
    store: str
    images: str
    per_shard: int
    seed: int
    check: bool
    columns: Columns = Columns()
    classes: bool = False


class PackedUnit(TypedDict):
    """Samples of each tar of a unit, accounts of rows and images, and the number of captions."""

    tars: dict[str, int]
    rows: AccountRecord
    images: AccountRecord
    captions: int


def image_units(count: int, per_shard: int, number: int = 0) -> list[str]:
    """Divide the images of a store into units.

    Args:
        count (int): Images in the store.
        per_shard (int): Images in a unit.
        number (int): Number of the first sample; names it. Defaults to 0.

    Returns:
        list[str]: A line of JSON for each unit.

    Example:
        >>> image_units(5, 3)
        ['{"number": 0, "first": 0, "stop": 3}', '{"number": 3, "first": 3, "stop": 5}']
    """
    return [
        json.dumps(
            {'number': number + first, 'first': first, 'stop': min(first + per_shard, count)}
        )
        for first in range(0, count, per_shard)
    ]


def row_group_units(groups: Sequence[RowGroup], per_shard: int) -> list[str]:
    """Divide row groups into units of at most ``per_shard`` rows, or of one row group.

    Args:
        groups (Sequence[RowGroup]): The groups, in order.
        per_shard (int): Rows in a unit.

    Returns:
        list[str]: A line of JSON for each unit.
    """
    units: list[list[RowGroup]] = []
    room = 0
    for group in groups:
        if not units or group.rows > room:
            units.append([])
            room = per_shard
        units[-1].append(group)
        room -= group.rows
    lines, number = [], 0
    for unit in units:
        lines.append(json.dumps({'number': number, 'groups': unit}))
        number += sum(group.rows for group in unit)
    return lines


def pack_unit(unit: str, packing: Packing) -> PackedUnit:
    """Write the tars of a unit.

    Args:
        unit (str): A line of ``image_units`` or ``row_group_units``.
        packing (Packing): How.

    Returns:
        PackedUnit: The tars, and the accounts.
    """
    content = json.loads(unit)
    rows, images = Account('rows'), Account('images')
    samples = (
        _row_samples(content, packing, rows, images)
        if 'groups' in content
        else _stored_samples(content, packing, images)
    )
    packed = _Packed(samples, content['number'], packing, images)
    tars = packed.write_tars(f'unit-{content["number"]:09d}')
    return {
        'tars': tars,
        'rows': rows.record(),
        'images': images.record(),
        'captions': packed.num_captions,
    }


def _row_samples(
    unit: dict[str, list[tuple[str, int, int]]], packing: Packing, rows: Account, images: Account
) -> Iterator[Sample]:
    """Read the rows of row groups, shuffled in a buffer."""
    groups = [RowGroup(*group) for group in unit['groups']]
    tables = {group.file: ParquetTable(Path(group.file), packing.columns) for group in groups}

    def in_order() -> Iterator[Sample]:
        for group in groups:
            for row in tables[group.file].group_rows(group, rows):
                images.num_read += 1
                yield Sample(row.image, caption_members(row.captions), row.location)

    if packing.seed < 0:
        return in_order()
    seed = f'{packing.seed} {unit["number"]}'
    shuffled: Iterator[Sample] = shuffle(BUFFER, initial=BUFFER, seed=seed)(in_order())
    return shuffled


def _stored_samples(unit: dict[str, int], packing: Packing, images: Account) -> Iterator[Sample]:
    """Read images of the store."""
    for row in read_images(Path(packing.store), images, unit['first'], unit['stop']):
        members: Members = (
            {'cls': row.captions[0]} if packing.classes else caption_members(row.captions)
        )
        yield Sample(row.image, members, row.location)


def caption_members(captions: list[str]) -> Members:
    """Return the member that holds the captions: a text for one, JSON for several."""
    return {'txt': captions[0]} if len(captions) == 1 else {'json': {'captions': captions}}


class _Packed:
    """The samples whose image training can read, as members of tars."""

    def __init__(
        self, samples: Iterator[Sample], number: int, packing: Packing, images: Account
    ) -> None:
        self.num_captions = 0
        self._samples, self._packing, self._images = enumerate(samples, number), packing, images

    def write_tars(self, stem: str) -> dict[str, int]:
        """Write all samples; return the number in each tar."""
        tars: dict[str, int] = {}
        members = self._members()
        for first in members:
            name = f'{stem}-{len(tars)}.tar'
            samples = chain([first], islice(members, self._packing.per_shard - 1))
            before = self._images.num_kept - 1
            write_atomically(Path(self._packing.folder, name), partial(_write_tar, samples=samples))
            tars[name] = self._images.num_kept - before
        return tars

    def _members(self) -> Iterator[dict[str, object]]:
        """Read the images; count those that cannot be read."""
        for number, sample in self._samples:
            name = sample.image if isinstance(sample.image, str) else ''
            location = sample.location
            if name and name != location:
                location = f'{name}, {location}'
            try:
                data, member = self._read(sample.image)
            except BadSample as error:
                self._images.drop(str(error), location)
                continue
            suffix = Path(name).suffix.lower()[1:] if name else member
            if suffix.replace('jpeg', 'jpg') != member:
                self._images.note(f'are {member}, whatever their name says', location)
            self._images.num_kept += 1
            record = sample.members.get('json')
            self.num_captions += len(record['captions']) if isinstance(record, dict) else 1
            # A dot ends the key, a folder in it would be part of the key: number the samples.
            yield {'__key__': f'{number:09d}', member: data, **sample.members}

    def _read(self, image: bytes | str) -> tuple[bytes, str]:
        """Return the content of an image's file, and the member for its format."""
        data = read_image(image, Path(self._packing.images)) if isinstance(image, str) else image
        member = image_member(data)
        if self._packing.check:
            check_image(data, member)
        return data, member


def _write_tar(stream: IO[bytes], samples: Iterator[dict[str, object]]) -> None:
    """Write samples as a tar that is the same whenever and by whomever it is written."""
    writer = TarWriter(cast(BinaryIO, stream), mtime=0.0)
    for sample in samples:
        writer.write(sample)
    writer.close()
