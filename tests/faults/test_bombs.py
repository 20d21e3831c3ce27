"""Files written by hand to take more memory or time than their size: none does."""

from functools import cache
from pathlib import Path

import cv2
import pytest

from loading import load_file

HERE = Path(__file__).resolve().parent
MIB = 64
SECONDS = 2.0
MARKER = Path('/tmp/faults-were-run')  # what the content of a file would make if it were run
bombs, limited, campaign = (
    load_file(HERE / f'{name}.py') for name in ('bombs', 'limited', 'campaign')
)
parsers = campaign.module('parsers').Parsers
# The content of a tar is read: about 200 MiB a second.
UNPACKED = {'gzip', 'bzip2', 'xz', 'a name of 300 MiB', 'a record of 300 MiB'}


@cache
def warmed(parser, folder):
    """Read a valid file once, so that imports and caches do not count; return the parser."""
    folder.mkdir()
    limited.outcome_of(parsers[parser].run, next(iter(parsers[parser].seeds())), folder)
    return parsers[parser]


@pytest.fixture(scope='module')
def warm_folder(tmp_path_factory):
    return tmp_path_factory.mktemp('warm')


def check(parser, name, warm_folder, tmp_path):
    """Read one file within the limits; only what the parser documents may be raised."""
    if 'EXIF segments' in name and cv2.__version__ < '5':
        pytest.skip('OpenCV 4 takes longer for such a file')
    one = warmed(parser, warm_folder / campaign.folder_name(parser))
    data = bombs.BOMBS[parser][name]()
    assert len(data) < 3_000_000
    work = tmp_path / 'a' / 'b'
    work.mkdir(parents=True)
    seconds = SECONDS * (5 if name in UNPACKED else 1)
    outcome = limited.call(one.run, data, work, mib=MIB, seconds=seconds)
    assert outcome.kind in ('returned', 'raised'), outcome
    if outcome.kind == 'raised':
        assert {error.__name__ for error in one.errors}.intersection(outcome.types), outcome
    others = [path for path in tmp_path.rglob('*') if work not in path.parents]
    assert others == [tmp_path / 'a', work]
    assert not MARKER.exists()


QUICK = [(parser, name) for parser, files in bombs.BOMBS.items() for name in files]
LARGE = [(parser, name) for parser, name in QUICK if '300 MiB' in name or name in UNPACKED]


@pytest.mark.parametrize('parser,name', [case for case in QUICK if case not in LARGE])
def test_takes_neither_memory_nor_time(parser, name, warm_folder, tmp_path):
    check(parser, name, warm_folder, tmp_path)


@pytest.mark.faults
@pytest.mark.parametrize('parser,name', LARGE)
def test_large_content_takes_no_memory(parser, name, warm_folder, tmp_path):
    check(parser, name, warm_folder, tmp_path)
