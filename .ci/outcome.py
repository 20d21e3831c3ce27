"""Prints a row of docs/compatibility.md: the date, a set of packages, its versions, the outcome.

python .ci/outcome.py NAME LAST_LINE_OF_PYTEST
"""

import platform
import sys
from datetime import date
from importlib.metadata import PackageNotFoundError, version

COLUMNS = {
    'torch': ('torch',),
    'numpy': ('numpy',),
    'mmcv': ('mmcv', 'onedl-mmcv'),
    'mmengine': ('mmengine', 'onedl-mmengine'),
    'mmseg': ('mmsegmentation', 'onedl-mmsegmentation'),
    'mmpretrain': ('mmpretrain', 'onedl-mmpretrain'),
}


def installed(names: tuple[str, ...]) -> str:
    """Return the version of the first installed package of several."""
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return 'none'


if __name__ == '__main__':
    name, last_line = sys.argv[1:]
    versions = [installed(names) for names in COLUMNS.values()]
    cells = [str(date.today()), name, platform.python_version(), *versions, last_line.strip('= ')]
    print('|', ' | '.join(cells), '|')
