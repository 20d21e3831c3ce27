"""The record by which ``groupvit segment`` continues: settings, and a line per finished image."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from groupvit_cli.sources import Source

RECORD = 'record.jsonl'
"""str: A line per finished image; the first line holds the settings."""
LINE_KEYS = {'image', 'name', 'files', 'version'}


class Record:
    """What an output folder holds of earlier calls, and of this one.

    Args:
        folder (Path): The folder.
        settings (Mapping[str, object]): Everything that the results depend on.
    """

    def __init__(self, folder: Path, settings: Mapping[str, object]) -> None:
        self.path = folder / RECORD
        self._settings = json.loads(json.dumps(settings))
        self._lines: dict[str, dict] = {}  # by place
        self._owners: dict[str, dict] = {}  # by name

    def read(self, *, any_settings: bool = False) -> list[dict]:
        """Read the lines of earlier calls with the same settings; a torn line is left out.

        Args:
            any_settings (bool): Whether they may be of other settings. Defaults to False.

        Raises:
            ValueError: If the file is no record, or one of other settings.
        """
        if not self.path.is_file():
            return []
        texts = self.path.read_text(encoding='utf-8').split('\n')[:-1]
        try:
            header, *lines = [json.loads(text) for text in texts]
            found = {line.get('place', line['image']): line for line in lines}
            if 'formats' not in header or any(not set(line) >= LINE_KEYS for line in lines):
                raise KeyError('formats')
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f'{self.path} is not a record of this command: name another --out, or --overwrite.'
            ) from error
        keys = dict.fromkeys((*self._settings, *header))
        differing = [key for key in keys if header.get(key) != self._settings.get(key)]
        if differing and not any_settings:
            raise ValueError(
                f'{self.path.parent} holds results of other {", ".join(differing)}: name another '
                '--out, or --overwrite to segment everything again.'
            )
        self._lines = found
        self._owners = {line['name']: line for line in lines}
        return list(found.values())

    def begin(self, *, anew: bool) -> None:
        """Write the settings and the lines that count: none with ``anew``."""
        if anew:
            self._lines, self._owners = {}, {}
        lines = [self._settings, *self._lines.values()]
        write_text(self.path, ''.join(json.dumps(line) + '\n' for line in lines))

    def line_of(self, source: Source) -> dict | None:
        """Return the line of a source; of a moved or linked file, that of its name and version."""
        line = self._lines.get(place_of(source)) or self._lines.get(source.path)
        if line is not None and line.get('place', place_of(source)) == place_of(source):
            return line
        owner, version = self._owners.get(source.name), version_of(source.path)
        if owner is None or version is None or owner['version'] != version:
            return None
        earlier = Path(owner.get('place', source.path))
        return None if earlier.exists() and not earlier.samefile(source.path) else owner

    def check_names(self, sources: Sequence[Source]) -> None:
        """Refuse sources whose files would replace those of others of earlier calls.

        Raises:
            ValueError: Naming both.
        """
        for source in sources:
            owner = self._owners.get(source.name)
            if owner is None:
                continue
            if source.kind == 'camera' and owner['image'] == source.path:
                raise ValueError(
                    f'{self.path.parent} holds an earlier recording of {source.path}: name another '
                    '--out, or --overwrite.'
                )
            if self.line_of(source) is not owner:
                raise ValueError(
                    f'{self.path.parent} holds results of {owner.get("place", owner["image"])} as '
                    f'{source.name}, which those of {place_of(source)} would replace: name another '
                    '--out.'
                )

    def add(self, source: Source, files: Sequence[str], **values: object) -> None:
        """Add a line: the source is done."""
        line = {
            'image': source.path,
            'place': place_of(source),
            'name': source.name,
            'files': list(files),
            **values,
            'version': version_of(source.path),
        }
        self._lines[place_of(source)] = self._owners[source.name] = json.loads(json.dumps(line))
        from groupvit_mmseg.atomic_files import naming_file  # it imports PyTorch

        with naming_file(self.path), self.path.open('a', encoding='utf-8') as stream:
            stream.write(json.dumps(line) + '\n')


def recorded_settings(folder: Path) -> dict:
    """Return the settings of the results in a folder; none where there is no readable record."""
    try:
        with (folder / RECORD).open(encoding='utf-8') as stream:
            settings = json.loads(stream.readline())
    except (OSError, ValueError):
        return {}
    return settings if isinstance(settings, dict) else {}


def place_of(source: Source) -> str:
    """Return where a source is, whatever the working directory: an absolute path, or a camera."""
    return source.path if source.kind == 'camera' else str(Path(source.path).absolute())


def version_of(path: str) -> list[int] | None:
    """Return size and time of a file, or None for what is no file."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns]


def write_text(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old one or the whole new one."""
    from groupvit_mmseg import atomic_files  # it imports PyTorch

    atomic_files.write_text(path, text)
