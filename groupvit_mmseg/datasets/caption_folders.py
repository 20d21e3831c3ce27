"""Images and captions from folders: captions beside images, or a folder per class.

Every file below a folder is used or counted in an ``Account``.
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from groupvit_mmseg.datasets.account import Account
from groupvit_mmseg.datasets.caption_tables import IMAGE_NAME, Row, read_captions
from groupvit_mmseg.datasets.captions import TEXT_EXTENSIONS, captions_of_json, decode_text
from groupvit_mmseg.datasets.shard_stream import BadSample

CAPTION_EXTENSIONS = (*TEXT_EXTENSIONS, 'json')


class Files(NamedTuple):
    """The files of one folder, sorted.

    Attributes:
        folder (Path): The folder.
        images (list[str]): Names of images.
        others (list[str]): Names of other files; hidden ones are left out.
    """

    folder: Path
    images: list[str]
    others: list[str]


def read_folder(source: Path, account: Account) -> Iterator[Row]:
    """Read images with their captions beside them.

    The captions of ``a.jpg`` are the lines of ``a.txt`` (or ``a.text``, ``a.jpg.txt``), or those of
    ``a.json`` or ``a.jpg.json`` by the rule of JSON members. Endings may be upper case. A text is
    read before JSON.

    Args:
        source (Path): Folder; folders in it are read too.
        account (Account): Counts every file.

    Yields:
        Row: The images that have captions; their names are relative to ``source``.
    """
    for files in walk(source, account):
        yield from _pairs(files, source, account)


def read_classes(source: Path, account: Account) -> Iterator[tuple[str, str]]:
    """Read images of a folder per class.

    Args:
        source (Path): Folder of class folders.
        account (Account): Counts every file.

    Yields:
        tuple[str, str]: Name of the image's file relative to ``source``, and its class.
    """
    for files in walk(source, account):
        inside = files.folder.relative_to(source).parts
        for name in files.others:
            account.drop('not an image', _relative_name(files, name, source))
        for name in files.images:
            if inside:
                account.num_kept += 1
                yield _relative_name(files, name, source), inside[0]
            else:
                account.drop('an image outside of a class folder', name)


def class_names(source: Path) -> list[str]:
    """Return the class folders, sorted, without hidden ones."""
    folders = (path.name for path in source.iterdir() if path.is_dir())
    return sorted(name for name in folders if not name.startswith('.'))


def walk(source: Path, account: Account) -> Iterator[Files]:
    """List the files of a folder and of those in it.

    Args:
        source (Path): The folder; links to folders are followed, each folder is listed once.
        account (Account): Counts the files as read, and hidden ones as dropped.

    Yields:
        Files: Folder by folder.
    """
    real_paths: set[str] = set()

    def unlisted(error: OSError) -> None:
        account.note('folders cannot be listed', str(error.filename))

    for folder, folders, names in os.walk(source, onerror=unlisted, followlinks=True):
        real = os.path.realpath(folder)
        if real in real_paths:
            account.note('folders are links to others and listed once', folder)
            folders.clear()
            continue
        real_paths.add(real)
        folders[:] = sorted(_without_hidden(folders, folder, account))
        account.num_read += len(names)
        files = Files(Path(folder), [], [])
        for name in sorted(names):
            if name.startswith('.'):
                # Among them the ._x.jpg of macOS, which hold no image.
                account.drop('a hidden file', _relative_name(files, name, source))
            else:
                (files.images if IMAGE_NAME.search(name) else files.others).append(name)
        yield files


def _without_hidden(folders: list[str], parent: str, account: Account) -> list[str]:
    """Return the folders that are not hidden; note the others."""
    for name in folders:
        if name.startswith('.'):
            account.note('hidden folders are left out', os.path.join(parent, name))
    return [name for name in folders if not name.startswith('.')]


def _relative_name(files: Files, name: str, source: Path) -> str:
    """Return a file's name relative to the source."""
    return str((files.folder / name).relative_to(source))


class _Captions:
    """The caption files of one folder and the use of each."""

    def __init__(self, files: Files, source: Path, account: Account) -> None:
        self.files, self.source, self.account = files, source, account
        self.images_of: Counter[str] = Counter()
        self.unusable_files: set[str] = set()
        self.unused_files: set[str] = set()
        # By the name before the ending, then by 'text' or 'json'.
        self.beside: dict[str, dict[str, str]] = {}
        for name in files.others:
            self._add(name)

    def _add(self, name: str) -> None:
        """Add one file."""
        stem, _, extension = name.rpartition('.')
        kind = 'json' if extension.lower() == 'json' else 'text'
        if not stem or extension.lower() not in CAPTION_EXTENSIONS:
            self.drop('neither an image nor captions', name)
        elif kind in self.beside.setdefault(stem, {}):
            self.drop('a second caption file of the same name', name)
        else:
            self.beside[stem][kind] = name

    def of(self, image: str) -> list[str]:
        """Return the captions of an image; if it has none that can be used, count that."""
        options = [self.beside.get(stem, {}) for stem in (image, image.rpartition('.')[0])]
        names = [option[kind] for kind in ('text', 'json') for option in options if kind in option]
        if not names:
            self.drop('an image without a caption file', image)
            return []
        self.unused_files.update(names[1:])
        captions = self._read(names[0], image)
        if captions:
            self.images_of[names[0]] += 1
        else:
            self.unusable_files.add(names[0])
        return captions

    def _read(self, name: str, image: str) -> list[str]:
        """Read the captions in a file."""
        try:
            data = (self.files.folder / name).read_bytes()
            captions = captions_of_json(data) if name.lower().endswith('.json') else _lines(data)
        except (OSError, BadSample) as error:
            reason = 'the caption file cannot be read' if isinstance(error, OSError) else str(error)
            self.drop(reason, image)
            return []
        return read_captions(captions, _relative_name(self.files, image, self.source), self.account)

    def finish(self) -> None:
        """Count the files as used, shared or unused."""
        for kinds in self.beside.values():
            for name in kinds.values():
                if self.images_of[name]:
                    self.account.num_kept += 1
                elif name in self.unusable_files:
                    self.drop('a caption file without a usable caption', name)
                elif name in self.unused_files:
                    self.drop('another caption file of its image is taken', name)
                else:
                    self.drop('a caption file without an image', name)
                if self.images_of[name] > 1:
                    location = _relative_name(self.files, name, self.source)
                    self.account.note('caption files of several images, which share it', location)

    def drop(self, reason: str, name: str) -> None:
        """Count a file that is not used."""
        self.account.drop(reason, _relative_name(self.files, name, self.source))


def _pairs(files: Files, source: Path, account: Account) -> Iterator[Row]:
    """Read the images of one folder with their captions."""
    captions = _Captions(files, source, account)
    for image in files.images:
        texts = captions.of(image)
        if texts:
            account.num_kept += 1
            location = _relative_name(files, image, source)
            yield Row(location, texts, location)
    captions.finish()


def _lines(data: bytes) -> list[str]:
    """Return the captions of a text file, one a line; empty lines are none."""
    lines = decode_text(data).replace('\r\n', '\n').replace('\r', '\n').split('\n')
    return [line for line in lines if line.strip()]
