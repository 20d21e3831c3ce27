"""One line per image as soon as it is done: an interrupted evaluation goes on where it was."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any


class Journal:
    """What the images of one set gave, written by one process and read by all.

    Every process appends to a file of its own, ``NAME.RANK.jsonl``; the first line is what the
    results depend on. A line that an interruption tore is cut off and done again; a file of
    anybody else's is neither read nor changed.

    Args:
        folder (str | Path): Where the files lie.
        name (str): Of the set.
        settings (Mapping[str, Any]): All that the results depend on, as JSON knows it.
        files (Callable[[int], Any], optional): What tells the files of an image, by its index, as
            JSON knows it: a line of other files is not read, so that its image is done again.
            Defaults to None.

    Raises:
        ValueError: If the folder holds results of other settings, or a file of such a name that is
            no journal.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        name: str,
        settings: Mapping[str, Any],
        files: Callable[[int], Any] | None = None,
    ) -> None:
        self.folder, self.name, self._files_of = Path(folder), name, files
        self.settings = json.loads(json.dumps(settings))
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self._files():
            found = _header(path, self.settings)
            differing = [k for k in self.settings if found.get(k) != self.settings[k]]
            if differing:
                raise ValueError(
                    f'{path} was begun with another {", ".join(differing)}: name another folder, '
                    'or delete this one to begin anew.'
                )

    def results(self) -> dict[int, dict[str, Any]]:
        """Results of all processes by image index."""
        found: dict[int, dict[str, Any]] = {}
        for path in self._files():
            lines = _lines(path, 'index')
            found |= {line['index']: line for line in lines if self._is_of_these_files(line)}
        return dict(sorted(found.items()))

    def writer(self, rank: int) -> JournalWriter:
        """Append to the file of one process."""
        return JournalWriter(
            self.folder / f'{self.name}.{rank}.jsonl', self.settings, self._files_of
        )

    def _is_of_these_files(self, line: Mapping[str, Any]) -> bool:
        """Whether the image and the mask of a line are those that are there now."""
        return self._files_of is None or line.get('files') == self._files_of(line['index'])

    def _files(self) -> list[Path]:
        """Files of this set; those of a set whose name begins so are not among them."""
        named = re.compile(re.escape(self.name) + r'\.\d+\.jsonl')
        return sorted(path for path in self.folder.iterdir() if named.fullmatch(path.name))


class JournalWriter:
    """A file that lines are appended to, each written out at once; used in a ``with`` block."""

    def __init__(
        self, path: Path, settings: Mapping[str, Any], files: Callable[[int], Any] | None = None
    ) -> None:
        whole, self._files_of = 0, files
        if path.is_file():
            _header(path, settings)  # cuts no file but a journal
            whole = path.read_bytes().rfind(b'\n') + 1
            os.truncate(path, whole)
        self._file = path.open('a', encoding='utf-8')
        if not whole:
            self._write(settings)

    def __enter__(self) -> JournalWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, index: int, **result: Any) -> None:
        """Write the result of one image."""
        files = {} if self._files_of is None else dict(files=self._files_of(index))
        self._write(dict(index=index, **result, **files))

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(_text(line))
        self._file.flush()


def _header(path: Path, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The first line of a journal; the settings themselves where an interruption tore it.

    Raises:
        ValueError: If the file is no journal.
    """
    whole, torn = _split(path)
    if not whole:
        if not _text(settings).encode().startswith(torn):
            raise ValueError(_not_ours(path, 1))
        return settings
    return _parsed(path, whole[0], 1, needed='set' if 'set' in settings else None)


def _lines(path: Path, needed: str) -> Iterator[dict[str, Any]]:
    """Lines behind the first that were written to their end, each with an entry."""
    whole, _ = _split(path)
    for number, line in enumerate(whole[1:], start=2):
        yield _parsed(path, line, number, needed=needed)


def _split(path: Path) -> tuple[list[bytes], bytes]:
    """Lines that were written to their end, and what follows them."""
    *whole, torn = path.read_bytes().split(b'\n')
    return whole, torn


def _parsed(path: Path, line: bytes, number: int, *, needed: str | None) -> dict[str, Any]:
    """One line's content."""
    try:
        content = json.loads(line)
    except ValueError:
        content = None
    if not isinstance(content, dict) or (needed is not None and needed not in content):
        raise ValueError(_not_ours(path, number))
    return content


def _not_ours(path: Path, number: int) -> str:
    return (
        f'Line {number} of {path} is not one of a journal: name another folder for the results, or '
        'move the file away to have its images done again.'
    )


def _text(line: Mapping[str, Any]) -> str:
    """A line as it is written."""
    return json.dumps(line, separators=(',', ':')) + '\n'
