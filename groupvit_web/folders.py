"""Folders that the page may show: those below one that the command line names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

DEPTH = 3
MOST = 200
"""int: Folders that a list of choices has at most."""


def resolve_below(root: Path, name: object) -> Path:
    """Return the folder of a name, which must not lead out of the root.

    Args:
        root (Path): Folder of the command line.
        name (object): Path relative to it, with slashes; ``'.'`` is the root itself. A program can
            send anything.

    Raises:
        ValueError: If the path leads out of the root, is no folder, or no text.

    Example:
        >>> Path('runs/first').mkdir(parents=True)
        >>> resolve_below(Path('runs'), 'first').name
        'first'
        >>> resolve_below(Path('runs'), '../other')
        Traceback (most recent call last):
        ...
        ValueError: "../other" is not below the folder "runs" that this page shows: choose another.
    """
    top = root.resolve()
    if not isinstance(name, str):
        raise ValueError('This is no name of a folder.')
    try:
        folder = (top / name).resolve()
    except (OSError, ValueError, RuntimeError) as error:  # too long, a null byte, a loop of links
        raise ValueError('This is no name of a folder.') from error
    if not folder.is_relative_to(top):
        raise ValueError(
            f'"{name}" is not below the folder "{root.name}" that this page shows: choose another.'
        )
    if not _is_folder(folder):
        raise ValueError(f'There is no folder "{name}" in "{root.name}": choose another.')
    return folder


def _is_folder(path: Path) -> bool:
    """Return whether a path is a folder, which names that are too long are not."""
    try:
        return path.is_dir()
    except OSError:
        return False


def list_folders(root: Path, belongs: Callable[[Path], bool]) -> list[str]:
    """Return folders up to three levels below the root that a test accepts, the newest first.

    Folders that cannot be listed, hidden ones and links are left out.

    Args:
        root (Path): Folder of the command line.
        belongs (Callable): The test, called with a path; it may raise an ``OSError``.

    Returns:
        list[str]: Names as :func:`resolve_below` takes them, at most 200.
    """
    names: list[tuple[float, str]] = []
    level = [root]
    for _ in range(DEPTH + 1):
        below: list[Path] = []
        for folder in level:
            try:
                if belongs(folder):
                    names.append((-folder.stat().st_mtime, folder.relative_to(root).as_posix()))
                below += [path for path in folder.iterdir() if _may_enter(path)]
            except OSError:
                continue
        level = below
    return [name for _, name in sorted(names)[:MOST]]


def folder_choices(root: Path, names: Sequence[str]) -> list[tuple[str, str]]:
    """Return names of :func:`list_folders` with what a list of choices shows of each.

    Example:
        >>> folder_choices(Path('runs'), ['first', '.'])
        [('first', 'first'), ('runs', '.')]
    """
    return [(root.resolve().name if name == '.' else name, name) for name in names]


def _may_enter(path: Path) -> bool:
    """Return whether a path is a folder to look into."""
    return path.is_dir() and not path.is_symlink() and not path.name.startswith('.')
