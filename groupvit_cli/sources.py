"""The images that a command line names: files, folders, patterns, videos and cameras."""

from __future__ import annotations

import glob
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp', '.tif', '.tiff', '.gif', '.ppm')
VIDEO_SUFFIXES = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v', '.mpg', '.mpeg')
CAMERA = 'camera:'


class Source(NamedTuple):
    """One image, video or camera.

    Attributes:
        path (str): As it is opened.
        name (str): Path of its results below the output folder, without a suffix.
        kind (str): ``'image'``, ``'video'`` or ``'camera'``.
    """

    path: str
    name: str
    kind: str


def find_sources(inputs: Sequence[str], *, without: Sequence[Path] = ()) -> list[Source]:
    """Return everything that the inputs name, each once, in order.

    Args:
        inputs (Sequence[str]): Files, folders (with their sub-folders), patterns such as
            ``photos/*.jpg``, or ``camera:0``.
        without (Sequence[Path]): Folders of earlier results, whose files are left out. Defaults to
            ().

    Raises:
        FileNotFoundError: If an input names nothing, or a folder holds no image or video.
        ValueError: If an input is empty, or lies in a folder that is left out.
    """
    found: dict[Path, tuple[str, Path, str]] = {}
    results = [folder.resolve() for folder in without]
    for text in inputs:
        if not text.strip():
            raise ValueError('An input is empty: name an image, a folder or a pattern.')
        _refuse_results(text, results)
        for path, place, kind in _expand(text):
            if kind != 'camera' and _is_below(Path(path), results):
                continue
            found.setdefault(Path(path).absolute(), (path, place, kind))
    if not found:
        raise FileNotFoundError('The inputs hold nothing but results of an earlier call.')
    names = _unique_names([place for _, place, _ in found.values()])
    return [
        Source(path, name, kind)
        for (path, _, kind), name in zip(found.values(), names, strict=True)
    ]


def _refuse_results(text: str, results: Sequence[Path]) -> None:
    """Raise ``ValueError`` for an input that is itself a result of an earlier call."""
    if _is_below(Path(text), results):
        raise ValueError(
            f'{text} is among the results of an earlier call in --out: name another --out.'
        )


def _is_below(path: Path, folders: Sequence[Path]) -> bool:
    """Return whether a path is one of some resolved folders, or below one."""
    resolved = path.resolve()
    return any(resolved.is_relative_to(folder) for folder in folders)


def _expand(text: str) -> Iterator[tuple[str, Path, str]]:
    """Yield path, relative place and kind of everything that one input names."""
    if text.startswith(CAMERA):
        if not text.removeprefix(CAMERA).isdigit():
            raise ValueError(f'{text} names no camera: write {CAMERA}0 for the first one.')
        yield text, Path(text.replace(':', '_')), 'camera'
        return
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:
        raise FileNotFoundError(f'There is no image, video or folder {text}.') from error
    if path.is_dir():
        yield from _in_folder(path)
    elif path.is_file():  # whatever its suffix: its content decides whether it can be read
        yield str(path), Path(path.name), _kind(path) or 'image'
    else:
        start = _fixed_part(path)
        pattern = Path(glob.escape(str(start)), path.relative_to(start))
        matches = sorted(glob.glob(str(pattern), recursive=True)) if glob.has_magic(text) else []
        files = [Path(match) for match in matches if Path(match).is_file()]
        if not files:
            raise FileNotFoundError(f'There is no image, video or folder {text}.')
        for file in files:
            yield str(file), file.relative_to(start), _kind(file) or 'image'


def _fixed_part(pattern: Path) -> Path:
    """Return the folder of a pattern before its first wildcard, unless a folder is called so."""
    *_, fixed = itertools.takewhile(
        lambda folder: folder.is_dir() or not glob.has_magic(folder.name), reversed(pattern.parents)
    )
    return fixed


def _in_folder(folder: Path) -> Iterator[tuple[str, Path, str]]:
    """Yield the images and videos of a folder and its sub-folders."""
    files = [path for path in sorted(folder.rglob('*')) if path.is_file() and _kind(path)]
    if not files:
        raise FileNotFoundError(f'The folder {folder} holds no image and no video.')
    yield from ((str(file), file.relative_to(folder), _kind(file)) for file in files)


def _kind(path: Path) -> str:
    """Return the kind that a suffix stands for, or ''."""
    suffix = path.suffix.lower()
    if path.name.startswith('.'):
        return ''
    return 'image' if suffix in IMAGE_SUFFIXES else 'video' if suffix in VIDEO_SUFFIXES else ''


def _unique_names(places: Sequence[Path]) -> list[str]:
    """Return names without suffix; with it, or a number behind, where two would be the same."""
    stems = [place.with_suffix('').as_posix() for place in places]
    names: list[str] = []
    for place, stem in zip(places, stems, strict=True):
        name = stem if stems.count(stem) == 1 else place.as_posix()
        number = 2
        while name in names:
            name, number = f'{place.as_posix()}-{number}', number + 1
        names.append(name)
    return names
