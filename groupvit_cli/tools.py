"""Tools of the checkout, or of the wheel, run as they are."""

import runpy
import sys
from collections.abc import Sequence

from groupvit_mmseg.config_files import shipped_file


def run_tool(name: str, args: Sequence[str]) -> int:
    """Run a script of ``tools/`` with a command line.

    Args:
        name (str): Path below ``tools/``.
        args (Sequence[str]): The command line.

    Returns:
        int: Exit status of the tool.
    """
    path = shipped_file(f'tools/{name}')
    sys.argv = [str(path), *args]
    try:
        runpy.run_path(str(path), run_name='__main__')
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0
