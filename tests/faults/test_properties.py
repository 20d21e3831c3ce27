"""Properties of parsers of JSON for any content, by hypothesis where it is installed."""

import json

import pytest

from groupvit_mmseg.benchmark.journal import Journal
from groupvit_mmseg.datasets.coco_instances import check_instances
from groupvit_mmseg.key_values import parse_value
from groupvit_mmseg.text.class_file_yaml import parse_json, parse_yaml

hypothesis = pytest.importorskip('hypothesis', reason='hypothesis is of make test-faults')
st = hypothesis.strategies
pytestmark = pytest.mark.faults

KEYS = st.sampled_from(
    ['classes', 'name', 'words', 'images', 'annotations', 'categories', 'id', 'index', 'pairs']
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(), inner, max_size=4)
    ),
    max_leaves=20,
)
many = hypothesis.settings(max_examples=2000, deadline=None)


@many
@hypothesis.given(VALUES)
def test_any_json_is_read_or_refused(tmp_path_factory, value):
    for parse in (parse_json, parse_yaml):
        try:
            assert parse(json.dumps(value))['class_names']
        except ValueError:
            continue


@many
@hypothesis.given(VALUES)
def test_any_instances_are_checked(value):
    try:
        check_instances(value, 'x.json')
    except ValueError:
        return
    assert value['images']


@many
@hypothesis.given(VALUES)
def test_any_line_of_a_journal_is_a_result_or_refused(tmp_path_factory, value):
    folder = tmp_path_factory.mktemp('journal')
    lines = [json.dumps({'set': 'pets'}), json.dumps(value)]
    (folder / 'pets.0.jsonl').write_text('\n'.join(lines) + '\n')
    try:
        results = Journal(folder, name='pets', settings=dict(set='pets')).results()
    except ValueError:
        return
    assert list(results) == [value['index']]


@many
@hypothesis.given(st.recursive(st.integers(), lambda inner: st.lists(inner), max_leaves=20))
def test_lists_of_numbers_are_read_back(value):
    assert parse_value(str(value)) == value
