"""Tools of the checkout, or of the wheel, run as they are."""

import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

import groupvit_mmseg


def run_tool(name: str, args: Sequence[str]) -> int:
    """Run a script of ``tools/`` with a command line.

    Args:
        name (str): Path below ``tools/``.
        args (Sequence[str]): The command line.

    Returns:
        int: Exit status of the tool.
    """
    path = find_tool(name)
    sys.argv = [str(path), *args]
    try:
        runpy.run_path(str(path), run_name='__main__')
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def find_tool(name: str) -> Path:
    """Return the path of a tool: in ``.mim`` of a wheel, or beside the package in a checkout."""
    package = Path(groupvit_mmseg.__file__ or '').parent
    for folder in (package / '.mim', package.parent):
        if (folder / 'tools' / name).is_file():
            return folder / 'tools' / name
    raise FileNotFoundError(f'There is no tools/{name} in this installation of groupvit-mmseg.')
