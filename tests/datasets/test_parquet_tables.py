"""Parquet as Hugging Face's data sets have it: images as bytes, structs or paths."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from groupvit_mmseg.datasets.account import Account
from groupvit_mmseg.datasets.caption_tables import Columns
from groupvit_mmseg.datasets.epoch_plan import ShardRange
from groupvit_mmseg.datasets.parquet_tables import ParquetTable
from groupvit_mmseg.datasets.shard_stream import read_shard_range

from loading import load_file


@pytest.fixture(scope='module')
def tool():
    return load_file('tools/dataset_converters/make_shards.py')


def image(number, form='PNG'):
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(stream, form)
    return stream.getvalue()


def write(path, images, texts, names=('image', 'text'), group=2):
    pa = pytest.importorskip('pyarrow', reason='pyarrow is not installed')
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(dict(zip(names, (images, texts), strict=True)))
    pq.write_table(table, path, row_group_size=group)
    return path


def read(source, columns=None, seed=-1):
    account = Account('rows')
    rows = list(ParquetTable(source, columns or Columns()).rows(account, seed))
    assert account.num_read == account.num_kept + account.num_dropped
    return rows, account


IMAGES = {
    'bytes': [image(n) for n in range(5)],
    'structs': [dict(bytes=image(n), path=f'{n}.png') for n in range(5)],
    'paths': [f'{n}.png' for n in range(5)],
    'structs of paths': [dict(bytes=None, path=f'{n}.png') for n in range(5)],
}


@pytest.mark.parametrize('kind', IMAGES)
def test_every_kind_of_image_reaches_the_shards(kind, tool, tmp_path, capsys):
    source = write(tmp_path / 'set' / 'train.parquet', IMAGES[kind], list('abcde'))
    for number in range(5):
        (tmp_path / 'set' / f'{number}.png').write_bytes(image(number))
    assert tool.main(['parquet', str(source), '--out', str(tmp_path / 'shards')]) == 0
    printed = capsys.readouterr().out
    assert 'rows: 5 read, 5 kept, 0 dropped' in printed
    assert 'images: 5 read, 5 kept, 0 dropped' in printed
    found = read_shard_range(
        ShardRange(str(tmp_path / 'shards' / 'train-000000.tar'), 0, None), 'x'
    )
    pairs = {sample.members['txt'].decode(): sample.members['png'] for sample in found}
    assert pairs == {text: image(number) for number, text in enumerate('abcde')}


def test_rows_that_cannot_be_used_are_counted_by_file_and_row(tmp_path):
    images = [dict(bytes=image(1)), None, dict(bytes=b''), dict(bytes=image(2)), dict(bytes=b'x')]
    texts = [['a', 'b'], ['c'], ['d'], None, ['', 'e']]
    rows, account = read(write(tmp_path / 'x.parquet', images, texts, ('image', 'captions')))
    assert [row.captions for row in rows] == [['a', 'b'], ['e']]
    assert {reason: tally.locations for reason, tally in account.drops.items()} == {
        'the image is missing': ['x.parquet, row 2', 'x.parquet, row 3'],
        'the caption is empty': ['x.parquet, row 4'],
    }


def test_a_folder_of_files_is_read_by_row_groups_in_the_order_of_the_seed(tmp_path):
    for part in range(2):
        images = [bytes([part, row]) for row in range(6)]
        write(tmp_path / 'data' / f'{part}.parquet', images, list('abcdef'))
    ordered = [row.image for row in read(tmp_path)[0]]
    assert ordered == [bytes([part, row]) for part in range(2) for row in range(6)]
    shuffled = [row.image for row in read(tmp_path, seed=1)[0]]
    assert sorted(shuffled) == ordered
    assert shuffled != ordered
    assert shuffled == [row.image for row in read(tmp_path, seed=1)[0]]


def test_a_damaged_row_group_is_counted_and_the_others_are_read(tmp_path):
    images = [np.random.default_rng(row).bytes(5000) for row in range(6)]
    path = write(tmp_path / 'x.parquet', images, list('abcdef'))
    from pyarrow.parquet import ParquetFile

    place = ParquetFile(path).metadata.row_group(1).column(0).dictionary_page_offset
    data = bytearray(path.read_bytes())
    data[place : place + 8] = b'\xff' * 8
    path.write_bytes(data)
    rows, account = read(path)
    assert [row.captions for row in rows] == [['a'], ['b'], ['e'], ['f']]
    ((reason, tally),) = account.drops.items()
    assert (reason, tally.count) == ('the row group is damaged', 2)
    assert tally.locations[0].startswith('x.parquet, row 3 on: ')


def test_what_is_no_table_of_images_is_one_sentence(tmp_path):
    path = write(tmp_path / 'x.parquet', [b'a'], ['b'], ('picture', 'text'))
    with pytest.raises(ValueError, match=r"no column 'image' or .*'jpg' among"):
        ParquetTable(path, Columns())
    path.write_bytes(b'PAR1 and no more')
    with pytest.raises(ValueError, match='no readable Parquet file'):
        ParquetTable(path, Columns())
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match=r'no \*\.parquet in'):
        ParquetTable(tmp_path / 'empty', Columns())


def test_without_pyarrow_one_sentence_names_the_extra(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'pyarrow', None)
    (tmp_path / 'x.parquet').write_bytes(b'PAR1')
    arguments = ['parquet', str(tmp_path / 'x.parquet'), '--out', str(tmp_path / 'shards')]
    assert tool.main(arguments) == 2
    assert "pip install 'groupvit-mmseg[parquet]'" in capsys.readouterr().err
    assert not list((tmp_path / 'shards').iterdir())


@pytest.mark.parametrize('metadata', [{f'{n}': '' for n in range(100_001)}, {'x': 'a' * 2**24}])
def test_metadata_without_end_is_one_sentence(tmp_path, metadata):
    pa = pytest.importorskip('pyarrow', reason='pyarrow is not installed')
    import pyarrow.parquet as pq

    table = pa.table({'image': ['a.jpg'], 'caption': ['a dog']})
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / 'x.parquet')
    with pytest.raises(ValueError, match=r'x\.parquet is no readable Parquet file'):
        ParquetTable(tmp_path / 'x.parquet', Columns())
