"""Rows that wait on disk: grouped by image, in an order that the seed decides."""

import sqlite3

from groupvit_mmseg.datasets.account import Account
from groupvit_mmseg.datasets.caption_tables import Row
from groupvit_mmseg.datasets.pair_store import PairStore, read_images


def samples(tmp_path, rows, seed):
    account, store = Account('images'), PairStore(tmp_path / f'{seed}.sqlite', seed)
    store.add(rows)
    count = store.arrange()
    store.close()
    file = tmp_path / f'{seed}.sqlite'
    found = list(read_images(file, account))
    parts = [list(read_images(file, Account('images'), n, n + 3)) for n in range(0, count, 3)]
    assert account.num_read == len(found) == count
    assert [row for part in parts for row in part] == found
    return found, account


def test_rows_of_an_image_are_joined_in_their_order(tmp_path):
    rows = [
        Row('b.jpg', ['one'], 'line 1'),
        Row('a.jpg', ['two', 'three'], 'line 2'),
        Row('./b.jpg', ['four', 'one'], 'line 3'),
        Row('odd \udce9.jpg', ['five'], 'line 4'),
    ]
    found, account = samples(tmp_path, rows, -1)
    assert found == [Row('b.jpg', ['one', 'four'], 'line 1'), rows[1], rows[3]]
    assert {remark: tally.count for remark, tally in account.notes.items()} == {
        'images are in several rows, whose captions are joined': 1,
        'captions are dropped: their image has the same one': 1,
    }


def test_the_order_is_that_of_the_seed_and_keeps_images_together(tmp_path):
    rows = [Row(f'{i % 500}.jpg', [f'caption {i}'], f'line {i}') for i in range(1000)]
    first, _ = samples(tmp_path, rows, 3)
    (tmp_path / '3.sqlite').unlink()
    again, _ = samples(tmp_path, rows, 3)
    other, _ = samples(tmp_path, rows, 4)
    kept, _ = samples(tmp_path, rows, -1)
    for i, row in enumerate(kept):
        assert row == (f'{i}.jpg', [f'caption {i}', f'caption {500 + i}'], f'line {i}')
    assert len(kept) == 500
    assert first == again
    assert first != other
    assert sorted(first) == sorted(other) == sorted(kept)
    assert kept not in (first, other)


def test_sqlite_sorts_where_it_did_once_the_store_is_closed(tmp_path):
    folder = tmp_path / "it's here"
    folder.mkdir()
    samples(folder, [Row('a.jpg', ['a'], '')], 0)
    with sqlite3.connect(':memory:') as database:
        assert database.execute('PRAGMA temp_store_directory').fetchone() in (None, ('',))
