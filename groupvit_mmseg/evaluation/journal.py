"""One line per image as soon as it is done: an interrupted evaluation goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class Journal:
    """What the images of one set gave, written by one process and read by all.

    Every process appends to a file of its own, ``NAME.RANK.jsonl``; the first line is what the
    results depend on. A line that an interruption tore is cut off and done again.

    Args:
        folder (str | Path): Where the files lie.
        name (str): Of the set.
        settings (Mapping[str, Any]): All that the results depend on, as JSON knows it.

    Raises:
        ValueError: If the folder holds results of other settings.
    """

    def __init__(self, folder: str | Path, *, name: str, settings: Mapping[str, Any]) -> None:
        self.folder, self.name = Path(folder), name
        self.settings = json.loads(json.dumps(settings))
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self._files():
            found = next(_whole_lines(path), self.settings)
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
            lines = _whole_lines(path)
            next(lines, None)
            found |= {line['index']: line for line in lines}
        return dict(sorted(found.items()))

    def writer(self, rank: int) -> JournalWriter:
        """Appends to the file of one process."""
        return JournalWriter(self.folder / f'{self.name}.{rank}.jsonl', self.settings)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob(f'{self.name}.*.jsonl'))


class JournalWriter:
    """A file that lines are appended to, each written out at once; used in a ``with`` block."""

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        whole = 0
        if path.is_file():
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
        """Writes the result of one image."""
        self._write(dict(index=index, **result))

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line, separators=(',', ':')) + '\n')
        self._file.flush()


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Lines that were written to their end."""
    with path.open(encoding='utf-8') as file:
        for line in file:
            if line.endswith('\n'):
                yield json.loads(line)
