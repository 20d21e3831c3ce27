"""Properties of every parser by hypothesis: valid content is read back, any other is refused.

The inputs of the other files here are mutated bytes; these are made of the formats' own parts.
"""

import csv
import io
import json
import math
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from groupvit_mmseg.benchmark.journal import Journal
from groupvit_mmseg.checkpoints.loading import read_checkpoint
from groupvit_mmseg.datasets.account import Account
from groupvit_mmseg.datasets.caption_tables import Columns, read_delimited
from groupvit_mmseg.datasets.captions import captions_of_members
from groupvit_mmseg.datasets.coco_instances import check_instances
from groupvit_mmseg.datasets.coco_masks import decode as decode_segmentation
from groupvit_mmseg.datasets.epoch_plan import ShardRange
from groupvit_mmseg.datasets.image_decoding import decode_image
from groupvit_mmseg.datasets.shard_members import count_members
from groupvit_mmseg.datasets.shard_stream import BadSample, read_shard_range
from groupvit_mmseg.key_values import parse_value
from groupvit_mmseg.text.class_file_yaml import parse_json, parse_yaml

from loading import load_file

hypothesis = pytest.importorskip('hypothesis', reason='hypothesis is of make test-faults')
st = hypothesis.strategies
pytestmark = pytest.mark.faults

HERE = Path(__file__).resolve().parent
campaign = load_file(HERE / 'campaign.py')
PARSERS = campaign.module('parsers').Parsers
# The parsers of JSON, and of lines of it; those of texts.
OF_JSON = ('class file, JSON', 'class file, YAML', 'sizes.json', 'captions, coco.json')
OF_JSON += ('captions, lines.jsonl', 'instances', 'results of the page', 'training log of the page')
OF_TEXT = ('class file, text', 'class file, YAML', 'cfg-options', 'config text', 'caption')
OF_TEXT += ('captions, flickr.txt', 'captions, table.csv')

KEYS = st.sampled_from(
    [
        *('classes', 'name', 'words', 'images', 'annotations', 'categories', 'id', 'index'),
        *('pairs', 'caption', 'image', 'file_name', 'image_id', 'segmentation', 'counts', 'size'),
        *('metrics', 'class_iou', 'protocol', 'checkpoint', 'set', 'loss', 'step', 'epoch'),
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(), inner, max_size=4)
    ),
    max_leaves=20,
)
many = hypothesis.settings(max_examples=2000, deadline=None)
some = hypothesis.settings(max_examples=300, deadline=None)


def run(name, data, folder):
    """Give a parser an input; any error but its documented ones is raised."""
    try:
        PARSERS[name].run(data, folder)
    except PARSERS[name].errors:
        return


@pytest.mark.parametrize('name', OF_JSON)
def test_any_json_is_read_or_refused(name, tmp_path):
    @some
    @hypothesis.given(VALUES)
    def check(value):
        run(name, json.dumps(value).encode(), tmp_path)

    check()


@pytest.mark.parametrize('name', OF_TEXT)
def test_any_text_is_read_or_refused(name, tmp_path):
    @some
    @hypothesis.given(st.text(max_size=200))
    def check(text):
        run(name, text.encode('utf-8', 'surrogatepass'), tmp_path)

    check()


@many
@hypothesis.given(VALUES)
def test_what_is_a_class_file_has_classes(value):
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


COUNTS = st.integers(0, 2**62)


@some
@hypothesis.given(
    st.dictionaries(COUNTS, st.lists(st.tuples(COUNTS, COUNTS, COUNTS).map(list)), max_size=5)
)
def test_results_of_a_journal_are_read_back(tmp_path_factory, results):
    folder = tmp_path_factory.mktemp('journal')
    journal = Journal(folder, name='pets', settings=dict(set='pets'))
    with journal.writer(0) as writer:
        for index, pairs in results.items():
            writer.add(index, image='x', pairs=pairs)
    found = {index: line['pairs'] for index, line in journal.results().items()}
    assert found == results


@many
@hypothesis.given(st.recursive(st.integers(), lambda inner: st.lists(inner), max_leaves=20))
def test_lists_of_numbers_are_read_back(value):
    assert parse_value(str(value)) == value


# Names with folders, absolute ones, such that leave the folder; every kind of member.
NAMES = st.lists(
    st.sampled_from(['a', 'b', '..', '.', '', 'c.jpg', 'c.txt', 'c.JSON', '.x', '__k__', 'é.txt']),
    min_size=1,
    max_size=4,
).map('/'.join)
KINDS = st.sampled_from(
    [tarfile.REGTYPE] * 6 + [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]
)
MEMBERS = st.lists(st.tuples(NAMES, KINDS, st.binary(max_size=600)), max_size=8)
FORMATS = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


@many
@hypothesis.given(MEMBERS, FORMATS, st.sampled_from(['w', 'w:gz', 'w:bz2', 'w:xz']))
def test_any_tar_gives_its_members_and_as_many_samples_as_are_counted(
    tmp_path_factory, members, form, mode
):
    path = tmp_path_factory.getbasetemp() / 'x.tar'
    with tarfile.open(path, mode, format=form) as tar:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, '../../etc/passwd'
            info.size = len(content) if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(content))
    read = list(read_shard_range(ShardRange(str(path), 0, None), 'x'))
    contents = Counter(content for _, kind, content in members if kind == tarfile.REGTYPE)
    assert not Counter(data for raw in read for data in raw.members.values()) - contents
    whole = [raw for raw in read if raw.members or 'twice' in (raw.error or '')]
    assert count_members(path).samples == len(whole)


@many
@hypothesis.given(st.lists(st.none() | st.text(max_size=20), max_size=4))
def test_captions_are_those_that_were_written(texts):
    data = json.dumps({'caption': texts}).encode()
    wanted = [text.strip() for text in texts if text and text.strip()]
    try:
        found = captions_of_members({'json': data})
    except BadSample:
        return
    assert found
    assert not Counter(found) - Counter(wanted)


# The caption of a row: quotes, commas and line breaks within it, no empty ones.
CAPTIONS = st.text(st.sampled_from('ab ,"\n|#é'), max_size=12).filter(str.strip)


@some
@hypothesis.given(st.lists(CAPTIONS, min_size=1, max_size=6), st.sampled_from(',\t'))
def test_a_table_that_csv_wrote_is_read_back(tmp_path_factory, texts, delimiter):
    path = tmp_path_factory.getbasetemp() / 'x.csv'
    with path.open('w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator='\n')
        writer.writerows([('image', 'caption'), *((f'{i}.jpg', t) for i, t in enumerate(texts))])
    rows = list(read_delimited(path, delimiter, Columns(), Account('pairs')))
    found = [(row.image, [text.split() for text in row.captions]) for row in rows]
    # Words alone: empty lines within a caption are not kept.
    assert found == [(f'{i}.jpg', [text.split()]) for i, text in enumerate(texts)]


@some
@hypothesis.given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(['PNG', 'BMP', 'TIFF', 'PPM', 'WEBP']),
    st.sampled_from(['RGB', 'L', '1']),
    st.integers(0, 2**32 - 1),
)
def test_a_lossless_image_is_read_back(width, height, form, mode, seed):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(values).convert(mode)
    stream = io.BytesIO()
    options = dict(lossless=True) if form == 'WEBP' else {}
    hypothesis.assume(not (form == 'PPM' and mode == '1'))  # a bitmap, which is another format
    image.save(stream, form, **options)
    found = decode_image(stream.getvalue()).pixels
    assert np.array_equal(found[..., ::-1], np.asarray(image.convert('RGB')))


SHAPES = st.lists(st.integers(0, 4), max_size=3)
TENSORS = SHAPES.map(lambda shape: torch.arange(math.prod(shape), dtype=torch.float32).view(shape))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text(max_size=8) | TENSORS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)


@some
@hypothesis.given(st.dictionaries(st.text(max_size=6), PLAIN, max_size=3), st.booleans())
def test_plain_data_and_tensors_are_read_back_from_a_checkpoint(tmp_path_factory, content, is_zip):
    path = tmp_path_factory.getbasetemp() / 'x.pth'
    torch.save({'state_dict': {'x': torch.ones(2)}, 'meta': content}, path,
               _use_new_zipfile_serialization=is_zip)  # fmt: skip
    assert_equal(read_checkpoint(path)['meta'], content)


def assert_equal(found, expected):
    """Equal in every tensor and value of every depth."""
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert_equal(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for pair in zip(found, expected, strict=True):
            assert_equal(*pair)
    else:
        assert found == expected


@some
@hypothesis.given(VALUES, st.binary(max_size=40))
def test_any_header_of_safetensors_is_read_or_refused(tmp_path_factory, header, rest):
    text = json.dumps(header).encode()
    data = len(text).to_bytes(8, 'little') + text + rest
    run('safetensors', data, tmp_path_factory.getbasetemp())


@some
@hypothesis.given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_run_lengths_are_the_mask(height, width, seed):
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    flat = mask.T.ravel().astype(int)
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    counts = [0, *counts] if flat[0] else counts
    found = decode_segmentation(dict(size=[height, width], counts=counts), height, width)
    assert np.array_equal(found, mask)


@some
@hypothesis.given(st.text(max_size=30) | st.lists(st.integers(), max_size=6))
def test_any_run_lengths_are_a_mask_or_refused(counts):
    try:
        found = decode_segmentation(dict(size=[5, 7], counts=counts), 5, 7)
    except (ValueError, OverflowError, TypeError):  # draw_mask names the annotation for all three
        return
    assert found.shape == (5, 7)
