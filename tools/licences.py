"""Lists the licences of the installed packages and checks them against Apache-2.0.

python tools/licences.py [--out FILE.md]

The packages are those of requirements/lock.txt. A licence has to be permissive, or weak copyleft of
a package that is used unchanged; others, and missing ones, end the command with status 1.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

LOCK = Path(__file__).resolve().parents[1] / 'requirements' / 'lock.txt'
PERMISSIVE = (
    *('apache', 'mit', 'bsd', 'isc', 'psf', 'python software foundation', 'zlib', 'unlicense'),
    *('hpnd', 'cc0', '0bsd', 'public domain', 'cnri', 'matplotlib', 'mit-cmu', 'zope public'),
)
# Used unchanged and installed beside this package, which contains none of their files.
WEAK_COPYLEFT = ('mpl', 'mozilla public', 'lgpl', 'lesser general public')
STRONG = re.compile(
    r'(?<![la])gpl|(?<!lesser )general public|agpl|affero|proprietary|non-?commercial'
)
_NAME_IN_TEXT = re.compile(
    r'(Apache|MIT|BSD|ISC|Mozilla Public|GNU \w*\s*General Public)\s+License', re.IGNORECASE
)
# Packages whose metadata does not say it, or which are no free software: read by hand.
READ_BY_HAND = {
    'nvidia-': "NVIDIA's licence of CUDA libraries: may be used, is not shipped here",
    'cuda-': "NVIDIA's licence of CUDA libraries: may be used, is not shipped here",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; return 1 if a licence does not fit."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument('--out', type=Path, help='file of the table (default: the terminal)')
    args = parser.parse_args(argv)
    rows = [(name, *judged(name)) for name in locked_names(LOCK.read_text(encoding='utf-8'))]
    rows = [row for row in rows if row[1]]
    lines = ['| package | licence | |', '|---|---|---|']
    lines += [f'| {name} | {licence} | {verdict} |' for name, licence, verdict in rows]
    text = '\n'.join(lines) + '\n'
    if args.out is None:
        sys.stdout.write(text)
    else:
        args.out.write_text(text, encoding='utf-8')
    unfit = [name for name, _, verdict in rows if verdict == 'does not fit']
    if unfit:
        print(f'error: the licence of {", ".join(unfit)} does not fit Apache-2.0.', file=sys.stderr)
    return int(bool(unfit))


def locked_names(text: str) -> list[str]:
    """Return the packages of a lock file, each once."""
    return sorted(set(re.findall(r'^([A-Za-z0-9._-]+)==', text, re.MULTILINE)))


def judged(name: str) -> tuple[str, str]:
    """Return the licence of an installed package and whether it fits; empty if not installed."""
    try:
        licence = licence_of(metadata.distribution(name))
    except metadata.PackageNotFoundError:
        return '', ''
    by_hand = next((why for start, why in READ_BY_HAND.items() if name.startswith(start)), None)
    return by_hand or licence, 'fits' if by_hand else verdict(licence)


def licence_of(distribution: metadata.Distribution) -> str:
    """Return the licence that a package states: expression, classifiers, or its text."""
    package = distribution.metadata
    (expression,) = package.get_all('License-Expression') or ['']
    if expression:
        return expression
    classifiers = package.get_all('Classifier') or []
    stated = [c.rpartition(' :: ')[2] for c in classifiers if c.startswith('License :: ')]
    stated = [one for one in stated if one != 'OSI Approved']
    if stated:
        return ', '.join(stated)
    text = (package.get_all('License') or [''])[0].strip()
    if 0 < len(text) < 80:
        return text
    files = [file for file in distribution.files or [] if 'LICEN' in file.name.upper()]
    texts = [text, *(file.read_text(encoding='utf-8') for file in files)]
    names = [match[0] for match in map(_NAME_IN_TEXT.search, texts) if match]
    return ' '.join(names[0].split()) if names else 'not stated'


def verdict(licence: str) -> str:
    """Judge a licence by its name; of several that are alternatives the best counts."""
    text = licence.casefold()
    options = [verdict_of_one(option) for option in re.split(r'\bor\b', text)]
    return min(options, key=('fits', 'fits, used unchanged', 'does not fit').index)


def verdict_of_one(text: str) -> str:
    """Judge one licence, or several that hold together."""
    if STRONG.search(text):
        return 'does not fit'
    if any(word in text for word in WEAK_COPYLEFT):
        return 'fits, used unchanged'
    return 'fits' if any(word in text for word in PERMISSIVE) else 'does not fit'


if __name__ == '__main__':
    sys.exit(main())
