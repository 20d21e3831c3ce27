"""Journals: one line per image as soon as it is done, so that interrupted evaluations resume."""

from __future__ import annotations

import contextlib
import json
import os
import re
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import FileIO
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, cast

from groupvit_mmseg.benchmark.result_types import ImageResult, JournalLine

if TYPE_CHECKING:
    from typing_extensions import Unpack

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None


class Journal:
    """Results of the images of one set, which every process reads.

    Every process appends to a file of its own, ``NAME.RANK.jsonl``; its first line holds the
    settings that the results depend on. A line that an interruption left incomplete is cut off and
    its image is done again; files that are no journals are neither read nor changed.

    Args:
        folder (str | Path): Folder of the files; it is made.
        name (str): Name of the set.
        settings (Mapping[str, object]): Everything that the results depend on, JSON values.
        files (Callable[[int], list[int]], optional): Returns a fingerprint of an image's files by
            its index; a line with another fingerprint is not read, so that its image is done again.
            Defaults to None.

    Raises:
        ValueError: If the folder holds results of other settings, or a file of such a name that is
            no journal.

    Example:
        >>> journal = Journal('results', name='pets', settings=dict(set='pets'))
        >>> with journal.writer(rank=0) as writer:
        ...     writer.add(3, image='cat.png', pairs=[[0, 0, 12]])
        >>> journal.results()
        {3: {'index': 3, 'image': 'cat.png', 'pairs': [[0, 0, 12]]}}
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        name: str,
        settings: Mapping[str, object],
        files: Callable[[int], list[int]] | None = None,
    ) -> None:
        self.folder, self.name, self._files_of = Path(folder), name, files
        self.settings: dict[str, object] = json.loads(json.dumps(settings))
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self._files():
            header = _header(path, self.settings)
            differing = [k for k in self.settings if header.get(k) != self.settings[k]]
            if differing:
                raise ValueError(
                    f'{path} was begun with another {", ".join(differing)}: name another folder, '
                    'or delete this one to begin anew.'
                )

    def results(self) -> dict[int, JournalLine]:
        """Read the results of all processes by image index, ascending."""
        results: dict[int, JournalLine] = {}
        for path in self._files():
            lines = _lines(path)
            results |= {line['index']: line for line in lines if self._has_current_files(line)}
        return dict(sorted(results.items()))

    def writer(self, rank: int) -> JournalWriter:
        """Open the file of one process to append to it."""
        return JournalWriter(
            self.folder / f'{self.name}.{rank}.jsonl', self.settings, self._files_of
        )

    def _has_current_files(self, line: JournalLine) -> bool:
        """Return whether the image and the mask of a line have not been replaced since."""
        return self._files_of is None or line.get('files') == self._files_of(line['index'])

    def _files(self) -> list[Path]:
        """List the files of this set."""
        return _files(self.folder, self.name)


def read_results(folder: str | Path, name: str) -> dict[int, JournalLine]:
    """Read the results of a set by image index, whatever their settings and files are now.

    Args:
        folder (str | Path): Folder of the journals.
        name (str): Name of the set.

    Returns:
        dict[int, JournalLine]: Ascending; empty if there are none.

    Raises:
        ValueError: If a file of such a name is no journal, or it is unclear which result is newer.
    """
    if not Path(folder).is_dir():
        return {}
    results: dict[int, JournalLine] = {}
    for path in _files(Path(folder), name):
        for index, line in {line['index']: line for line in _lines(path)}.items():
            if results.setdefault(index, line).get('files') != line.get('files'):
                raise ValueError(
                    f'{folder} has results of {line.get("image", index)} from before and after it '
                    'was replaced, by several processes: evaluate into another folder.'
                )
    return dict(sorted(results.items()))


_open: weakref.WeakSet[JournalWriter] = weakref.WeakSet()


class JournalWriter:
    """Appends lines to a file, each flushed at once; a context manager.

    A forked process, such as a loader worker, has no part in it: a worker that outlives an
    evaluation that was killed would keep the file locked.

    Args:
        path (Path): The file; an incomplete last line is cut off.
        settings (Mapping[str, object]): First line of a new file.
        files (Callable[[int], list[int]], optional): As for :class:`Journal`. Defaults to None.

    Raises:
        OSError: If the disk is full.
        ValueError: If the file is no journal, or another process writes it.
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, object],
        files: Callable[[int], list[int]] | None = None,
    ) -> None:
        self._files_of = files
        self._path, self._file = path, path.open('ab', buffering=0)
        try:
            _lock(self._file, path)
            _header(path, settings)  # raises before anything but a journal is cut
            complete = path.read_bytes().rfind(b'\n') + 1
            os.truncate(path, complete)
        except BaseException:
            self._file.close()
            raise
        _open.add(self)
        if not complete:
            self._write(settings)

    def __enter__(self) -> JournalWriter:
        return self

    def __exit__(self, *_: object) -> None:
        with _clear_errors(self._path):
            self._file.close()  # a disk over its quota may say so here

    def add(self, index: int, **result: Unpack[ImageResult]) -> None:
        """Write the result of one image."""
        files = {} if self._files_of is None else {'files': self._files_of(index)}
        self._write({'index': index, **result, **files})

    def _write(self, line: Mapping[str, object]) -> None:
        """Write a line; a part of it that a full disk leaves is cut off by the next run."""
        rest = _text(line).encode()
        with _clear_errors(self._path):
            while rest:
                rest = rest[self._file.write(rest) :]


@contextlib.contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    """Turn an error of the disk into a sentence about a journal."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f'The journal cannot be written ({error.strerror}); its results so far are '
            'complete, and the same command goes on',
            str(path),
        ) from error


def _close_inherited() -> None:
    """Close the files that a new process has of its parent."""
    for writer in list(_open):
        writer._file.close()


if hasattr(os, 'register_at_fork'):  # not on Windows
    os.register_at_fork(after_in_child=_close_inherited)


def _lock(file: FileIO, path: Path) -> None:
    """Lock a file until it is closed, also by the end of the process.

    Raises:
        ValueError: If another process has locked it.
    """
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ValueError(
            f'{path} is written by another evaluation, which still runs: wait for its end, or name '
            'another folder.'
        ) from error
    except OSError:  # a file system without locks
        return


def _files(folder: Path, name: str) -> list[Path]:
    """List the journals of a set, not those of a set whose name begins with its name."""
    pattern = re.compile(re.escape(name) + r'\.\d+\.jsonl')
    return sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name))


def _header(path: Path, settings: Mapping[str, object]) -> Mapping[str, object]:
    """Read the first line of a journal; return the settings themselves if it is incomplete.

    Raises:
        ValueError: If the file is no journal.
    """
    complete, rest = _split(path)
    if not complete:
        if not _text(settings).encode().startswith(rest):
            raise _no_journal(path, 1)
        return settings
    return _parse(path, complete[0], 1, required='set' if 'set' in settings else None)


def _lines(path: Path) -> Iterator[JournalLine]:
    """Read the complete lines after the first."""
    complete, _ = _split(path)
    for number, line in enumerate(complete[1:], start=2):
        content = _parse(path, line, number, required='index')
        if not _is_result(content):
            raise _no_journal(path, number)
        yield cast(JournalLine, content)  # the entries that decide scores are checked


def _split(path: Path) -> tuple[list[bytes], bytes]:
    """Return the complete lines of a file and the rest after the last line break."""
    *complete, rest = path.read_bytes().split(b'\n')
    return complete, rest


def _parse(path: Path, line: bytes, number: int, *, required: str | None) -> dict[str, object]:
    """Parse one line; raise ``ValueError`` if it is no object or lacks a required entry."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or (required is not None and required not in content):
        raise _no_journal(path, number)
    return content


def _is_result(line: Mapping[str, object]) -> bool:
    """Return whether the numbers of a line have the form that ``JournalWriter.add`` wrote."""
    pairs, best = line.get('pairs', []), line.get('best', [])
    return (
        _are_counts([line['index'], line.get('label', 0)])
        and isinstance(pairs, list)
        and all(isinstance(pair, list) and len(pair) == 3 and _are_counts(pair) for pair in pairs)
        and isinstance(best, list)
        and _are_counts(best)
    )


def _are_counts(values: Sequence[object]) -> bool:
    """Return whether values are whole numbers that a journal can hold."""
    return all(type(value) is int and 0 <= value < 2**63 for value in values)


def _no_journal(path: Path, number: int) -> ValueError:
    """Return the error for a line that no journal has."""
    return ValueError(
        f'Line {number} of {path} is not one of a journal: name another folder for the results, or '
        'move the file away to have its images done again.'
    )


def _text(line: Mapping[str, object]) -> str:
    """Serialise a line."""
    return json.dumps(line, separators=(',', ':')) + '\n'
