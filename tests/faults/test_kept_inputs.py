"""Kept inputs: each was a fault once, or ends its parser in a way of its own (see keep.py)."""

from pathlib import Path

import pytest

from loading import load_file

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent / 'data' / 'hostile'
campaign = load_file(HERE / 'campaign.py')
NAMES = list(campaign.module('parsers').Parsers)


@pytest.mark.parametrize('name', NAMES)
def test_no_kept_input_is_a_fault(name):
    inputs = campaign.corpus(name)
    assert inputs
    report = campaign.run(name, range(len(inputs)), inputs.__getitem__)
    assert report.faults == []
    assert sum(report.outcomes.values()) == len(inputs)


def test_the_folder_is_small_and_of_the_parsers_alone():
    files = [path for path in FOLDER.rglob('*') if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 300_000
    assert {path.parent.name for path in files} == set(map(campaign.folder_name, NAMES))
