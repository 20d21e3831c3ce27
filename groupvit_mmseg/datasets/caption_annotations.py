"""Rows of images and captions from JSON files, and the caption files of COCO and Flickr."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from groupvit_mmseg.datasets.account import Account
from groupvit_mmseg.datasets.caption_tables import Columns, Row, make_row, read_object
from groupvit_mmseg.datasets.captions import CAPTION_KEYS
from groupvit_mmseg.datasets.delimited import parse
from groupvit_mmseg.datasets.text_files import read_json, read_lines


def read_json_pairs(path: Path, columns: Columns, account: Account) -> Iterator[Row]:
    """Read a JSON file of images and captions.

    Args:
        path (Path): A list of objects, an object ``{"name": caption or captions}``, or the captions
            of COCO.
        columns (Columns): Keys of the image and the captions in a list of objects.
        account (Account): Counts the entries.

    Yields:
        Row: The usable entries.

    Raises:
        ValueError: If the file is not JSON, has another form, or its first object lacks a key.
    """
    content = read_json(path)
    if isinstance(content, dict) and 'annotations' in content and 'images' in content:
        yield from read_coco(path, account)
        return
    if not isinstance(content, dict | list):
        raise ValueError(
            f'{path} holds neither a list of objects, nor an object of names and captions, nor the '
            'captions of COCO.'
        )
    entries = list(content.items()) if isinstance(content, dict) else content
    for number, entry in enumerate(entries, 1):
        account.num_read += 1
        location = f'{path.name}, entry {number}'
        row = None
        if isinstance(entry, tuple):
            row = make_row(entry[0], entry[1], location, account)
        elif isinstance(entry, dict):
            row = read_object(entry, columns, location, account, required=number == 1)
        else:
            account.drop('no object', location)
        if row is not None:
            yield row


def read_coco(path: Path, account: Account) -> Iterator[Row]:
    """Read the captions of COCO.

    Args:
        path (Path): A ``captions_*.json``.
        account (Account): Counts the annotations, and images without any.

    Yields:
        Row: The usable annotations.

    Raises:
        ValueError: If the file is not JSON, or not one of captions.
    """
    content = read_json(path)
    images, annotations = (
        content.get(key) if isinstance(content, dict) else None for key in ('images', 'annotations')
    )
    if not isinstance(images, list) or not isinstance(annotations, list):
        raise ValueError(f'{path} has no lists "images" and "annotations": give captions_*.json.')
    names = _image_names(images, path, account)
    annotated = set()
    for number, annotation in enumerate(annotations, 1):
        account.num_read += 1
        location = f'{path.name}, annotation {number}'
        owner = _id_of(annotation, 'image_id')
        if owner not in names:
            account.drop('its image is not among "images"', location)
            continue
        annotated.add(owner)
        # The rule of JSON members decides between them.
        captions = {key: annotation[key] for key in CAPTION_KEYS if key in annotation}
        row = make_row(names[owner], captions, location, account)
        if row is not None:
            yield row
    for owner, name in names.items():
        if owner not in annotated:
            account.note('images have no annotation', str(name))


def _image_names(images: Sequence[object], path: Path, account: Account) -> dict[str, object]:
    """Map ids to file names, which are not checked; count entries without an id."""
    names: dict[str, object] = {}
    for number, image in enumerate(images, 1):
        owner, location = _id_of(image, 'id'), f'{path.name}, image {number}'
        if not owner or not isinstance(image, dict):
            account.note('entries of "images" have no id', location)
        elif owner in names:
            account.note('entries of "images" have the id of another', location)
        else:
            names[owner] = image.get('file_name')
    return names


def _id_of(entry: object, key: str) -> str:
    """Return an entry's number or name as text; empty if it has none."""
    value = entry.get(key) if isinstance(entry, dict) else None
    return '' if value is None else str(value)


# "x.jpg#0 <tab> text", "x.jpg| 0| text" (in one line of the real file the second bar is missing)
# and "x.jpg,text".
_FLICKR = re.compile(
    r'^(?P<image>[^,|#\t]+\.\w+)\s*'
    r'(?:#\d+\t|\|\s*\d+\s*(?:\||(?<=\s))|(?P<comma>,))(?P<text>.*)$'
)
_FLICKR_HEADER = re.compile(r'^"?image(_name)?"?\s*[,|]', re.IGNORECASE)


def read_flickr(path: Path, account: Account) -> Iterator[Row]:
    """Read the captions of Flickr8k or Flickr30k.

    Args:
        path (Path): Lines such as ``x.jpg#0 <tab> text``, ``x.jpg,text`` or ``x.jpg| 0| text``.
        account (Account): Counts the lines.

    Yields:
        Row: The usable lines.
    """
    for position, line in enumerate(read_lines(path, account)):
        if position == 0 and _FLICKR_HEADER.match(line.text):
            continue
        account.num_read += 1
        location = f'{path.name}, line {line.number}'
        match = _FLICKR.match(line.text)
        if match is None:
            account.drop('not a line of Flickr8k or Flickr30k', location)
            continue
        # Only the form with a comma quotes its captions.
        quoted = parse(match['text'], ',') if match['comma'] else None
        text = quoted[0] if quoted and len(quoted) == 1 else match['text']
        row = make_row(match['image'], text, location, account)
        if row is not None:
            yield row
