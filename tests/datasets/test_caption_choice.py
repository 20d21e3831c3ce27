"""Captions of several origins, drawn by their shares."""

import json
import random
from collections import Counter

import pytest

from groupvit_mmseg.datasets.caption_choice import captions_of_name, draw_caption
from groupvit_mmseg.datasets.image_text_transforms import LoadImageText
from groupvit_mmseg.datasets.shard_stream import BadSample

MEMBERS = {
    'txt': b'img 2041',
    'blip.txt': b' a dog ',
    'json': json.dumps(
        dict(caption='alt text', llava=['a dog on a beach', 'a beach'], empty=' ', number=5)
    ).encode(),
}


def shares(members, choice, count=4000):
    random.seed(0)
    counts = Counter(draw_caption(members, choice) for _ in range(count))
    return {text: number / count for text, number in counts.items()}


def test_names_are_members_and_keys():
    assert captions_of_name(MEMBERS, 'text') == ['img 2041']
    assert captions_of_name(MEMBERS, 'json') == ['alt text']
    assert captions_of_name(MEMBERS, 'blip') == ['a dog']
    assert captions_of_name(MEMBERS, 'llava') == ['a dog on a beach', 'a beach']
    for name in ('empty', 'number', 'gone'):
        assert captions_of_name(MEMBERS, name) == []
    assert captions_of_name({'json': b'{'}, 'llava') == []
    assert captions_of_name({'json': b'["a"]'}, 'llava') == []


def test_captions_are_drawn_by_their_shares():
    found = shares(MEMBERS, dict(text=0.5, llava=0.3, blip=0.2))
    expected = {'img 2041': 0.5, 'a dog on a beach': 0.15, 'a beach': 0.15, 'a dog': 0.2}
    assert found.keys() == expected.keys()
    for text, share in expected.items():  # four standard deviations of 4,000 draws
        assert found[text] == pytest.approx(share, abs=4 * (share * (1 - share) / 4000) ** 0.5)


def test_shares_are_in_any_unit_and_a_missing_name_leaves_its_own():
    found = shares(MEMBERS, dict(text=30, blip=10, gone=60, empty=100))
    assert found['img 2041'] == pytest.approx(0.75, abs=0.03)
    assert found['a dog'] == pytest.approx(0.25, abs=0.03)
    with pytest.raises(BadSample, match='it has no caption called gone or empty'):
        draw_caption(MEMBERS, dict(gone=1, empty=1))


@pytest.mark.parametrize(
    'choice, message',
    [
        ('both', r"`captions` is 'both': use \"text\" or \"json\", or a dict"),
        ({}, 'names none'),
        (dict(text=0), r"gives 'text' the share 0: it must be above 0"),
        (dict(text='half'), "the share 'half'"),
        (dict(text=float('inf')), 'the share inf'),
    ],
)
def test_a_wrong_choice_is_one_sentence(choice, message):
    with pytest.raises(ValueError, match=message):
        LoadImageText(captions=choice)


@pytest.fixture
def read(make_dataset, read_epoch, monkeypatch):
    """Captions of some epochs."""

    def captions(source, choice, epochs=20):
        dataset = make_dataset(source, pipeline=[dict(type='LoadImageText', captions=choice)])
        return [
            sample['caption']
            for epoch in range(epochs)
            for batches in read_epoch(dataset, monkeypatch, grid=(1, 2), epoch=epoch)
            for batch in batches
            for sample in batch
        ]

    return captions


def check_shares(captions):
    counts = Counter(text.split()[0] for text in captions)
    assert counts.keys() == {'old', 'new'}
    assert counts['new'] / len(captions) == pytest.approx(0.75, abs=0.13)  # four deviations


def test_shares_hold_in_epochs_of_shards(tmp_path, write_shard, encode_image, read):
    samples = {
        f'{n}': {
            'png': encode_image(),
            'old.txt': b'old %d' % n,
            'json': json.dumps(dict(new=f'new {n}')).encode(),
        }
        for n in range(10)
    }
    write_shard(tmp_path / 'a.tar', samples)
    (tmp_path / 'sizes.json').write_text('{"a.tar": 10}')
    source = dict(shards=str(tmp_path / 'a.tar'))
    check_shares(read(source, dict(old=0.25, new=0.75)))
    assert read(source, dict(old=1, new=3)) == read(source, dict(old=1, new=3))


@pytest.mark.parametrize('form', ['csv', 'jsonl', 'parquet'])
def test_shares_hold_in_epochs_of_tables(tmp_path, encode_image, read, form):
    rows = [dict(image=f'{n}.png', old=f'old {n}', new=f'new {n}') for n in range(10)]
    for row in rows:
        (tmp_path / row['image']).write_bytes(encode_image())
    path = tmp_path / f'pairs.{form}'
    if form == 'csv':
        path.write_text('\n'.join(['image,old,new', *(','.join(row.values()) for row in rows)]))
    elif form == 'jsonl':
        path.write_text('\n'.join(map(json.dumps, rows)))
    else:
        pa = pytest.importorskip('pyarrow', reason='pyarrow is not installed')
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    kind = 'parquet' if form == 'parquet' else 'table'
    source = {kind: str(path), 'caption_column': ['old', 'new']}
    check_shares(read(source, dict(old=0.25, new=0.75)))
    assert {text[:3] for text in read(source, 'text')} == {'old', 'new'}  # without shares


@pytest.mark.parametrize('form', ['csv', 'parquet'])
@pytest.mark.parametrize('name', ['text', 'caption', 'captions'])
def test_columns_with_the_names_of_keys_hide_no_other(tmp_path, encode_image, read, form, name):
    for image in ('a.png', 'b.png'):
        (tmp_path / image).write_bytes(encode_image())
    path = tmp_path / f'pairs.{form}'
    if form == 'csv':
        path.write_text(f'image,{name},alt\na.png,one,two\nb.png,,three\n')
    else:
        pa = pytest.importorskip('pyarrow', reason='pyarrow is not installed')
        import pyarrow.parquet as pq

        rows = [{'image': 'a.png', name: 'one', 'alt': 'two'}]
        rows.append({'image': 'b.png', name: None, 'alt': 'three'})
        pq.write_table(pa.Table.from_pylist(rows), path)
    kind = 'parquet' if form == 'parquet' else 'table'
    source = {kind: str(path), 'caption_column': [name, 'alt']}
    assert set(read(source, 'text')) == {'one', 'two', 'three'}
    assert set(read(source, {name: 1, 'gone': 9, 'alt': 1e-9})) == {'one', 'three'}


@pytest.mark.parametrize('form', ['csv', 'parquet'])
def test_columns_have_their_names_also_if_they_are_text_and_json(
    tmp_path, encode_image, read, form
):
    """`text` is the column of Hugging Face's imagefolder."""
    (tmp_path / 'a.png').write_bytes(encode_image())
    rows = [dict(image='a.png', text='old', json='new', third='third')]
    path = tmp_path / f'pairs.{form}'
    if form == 'csv':
        path.write_text('image,text,json,third\na.png,old,new,third\n')
    else:
        pa = pytest.importorskip('pyarrow', reason='pyarrow is not installed')
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    kind = 'parquet' if form == 'parquet' else 'table'
    three = {kind: str(path), 'caption_column': ['text', 'json', 'third']}
    assert set(read(three, dict(text=1, gone=9))) == {'old'}
    assert set(read(three, dict(json=1, gone=9))) == {'new'}
    for column in ('third', ['third']):
        one = {kind: str(path), 'caption_column': column}
        assert set(read(one, dict(third=1, gone=9))) == {'third'}
        assert set(read(one, dict(json=1, gone=9))) == {'third'}
