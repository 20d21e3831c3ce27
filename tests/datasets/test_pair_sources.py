"""Tables beside images, folders and Parquet files as sources, with the guarantees of shards."""

import csv
import json
import logging
import pickle

import pytest

from groupvit_mmseg.datasets import row_readers
from groupvit_mmseg.datasets.epoch_remainder import GridProgress
from groupvit_mmseg.datasets.pair_sources import open_pairs

COUNT = 23
GRIDS = [(ranks, workers) for ranks in (1, 2) for workers in range(4)]
LOAD = (dict(type='LoadImageText'),)


def caption(number):
    return f'a photo, number {number}'


def write_csv(folder, names):
    with (folder / 'metadata.csv').open('w', newline='') as stream:
        csv.writer(stream).writerows(
            [('file_name', 'text'), *((name, caption(n)) for n, name in enumerate(names))]
        )
    return dict(table='metadata.csv')


def write_tsv(folder, names):
    lines = ['filepath\ttitle', *(f'{name}\t{caption(n)}' for n, name in enumerate(names))]
    (folder / 'pairs.tsv').write_text('\n'.join(lines))
    return dict(table='pairs.tsv', caption_column='title')


def write_json_lines(folder, names):
    rows = [json.dumps(dict(file_name=name, text=caption(n))) for n, name in enumerate(names)]
    (folder / 'metadata.jsonl').write_text('\n'.join(rows))
    return dict(table='metadata.jsonl')


def write_json_list(folder, names):
    rows = [dict(image=name, captions=[caption(n)]) for n, name in enumerate(names)]
    (folder / 'pairs.json').write_text(json.dumps(rows))
    return dict(table='pairs.json')


def write_json_names(folder, names):
    content = {name: caption(n) for n, name in enumerate(names)}
    (folder / 'pairs.json').write_text(json.dumps(content))
    return dict(table='pairs.json')


def write_flickr(folder, names):
    lines = [f'{name}#0\t{caption(n)}' for n, name in enumerate(names)]
    (folder / 'captions.txt').write_text('\n'.join(lines))
    return dict(table='captions.txt')


def write_beside(folder, names):
    """The files of img2dataset, with its records and statistics."""
    for n, name in enumerate(names):
        (folder / name).with_suffix('.txt').write_text(caption(n))
        record = dict(caption='another', status='success')
        (folder / name).with_suffix('.json').write_text(json.dumps(record))
    (folder / '00000_stats.json').write_text('{"count": 2}')
    return dict(folder='.')


def write_parquet(folder, names, *, group=4, column='image'):
    """Two files of Hugging Face's kind; the last one is short."""
    pa = pytest.importorskip('pyarrow', reason='pyarrow is not installed')
    import pyarrow.parquet as pq

    rows = [
        {column: dict(bytes=(folder / name).read_bytes(), path=name), 'caption': [caption(n)]}
        for n, name in enumerate(names)
    ]
    for file, part in enumerate((rows[:16], rows[16:])):
        path = folder / 'data' / f'train-{file:05d}.parquet'
        path.parent.mkdir(exist_ok=True)
        pq.write_table(pa.Table.from_pylist(part), path, row_group_size=group)
    return dict(parquet='data/*.parquet')


def write_parquet_of_img2dataset(folder, names):
    pa = pytest.importorskip('pyarrow', reason='pyarrow is not installed')
    import pyarrow.parquet as pq

    rows = [
        dict(jpg=(folder / name).read_bytes(), caption=caption(n)) for n, name in enumerate(names)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / '00000.parquet', row_group_size=9)
    return dict(parquet='.')


WRITERS = [
    write_csv,
    write_tsv,
    write_json_lines,
    write_json_list,
    write_json_names,
    write_flickr,
    write_beside,
    write_parquet,
    write_parquet_of_img2dataset,
]


@pytest.fixture
def make_pairs(tmp_path, encode_image):
    """Writes images and their captions in some form; returns the source's config."""

    def make(writer, count=COUNT, **options):
        names = [f'{n // 10:05d}/{n:03d}.png' for n in range(count)]
        for n, name in enumerate(names):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(encode_image(seed=n))
        return dict(name='mine', data_root=str(tmp_path), **writer(tmp_path, names), **options)

    return make


def captions_of(ranks):
    return [sample['caption'] for batches in ranks for batch in batches for sample in batch]


ALL = sorted(caption(n) for n in range(COUNT))


def on_grids():
    """Every writer on every grid; most of them with the slow tests."""
    for writer in WRITERS:
        for grid in GRIDS:
            quick = grid == (2, 3) or writer in (write_csv, write_parquet)
            marks = () if quick else pytest.mark.slow
            yield pytest.param(writer, grid, marks=marks, id=f'{writer.__name__}-{grid}')


@pytest.mark.parametrize('writer, grid', list(on_grids()))
def test_each_pair_once_per_epoch(
    make_pairs, make_dataset, read_epoch, keys_of, monkeypatch, writer, grid
):
    dataset = make_dataset(make_pairs(writer), pipeline=LOAD)
    assert len(dataset) == COUNT
    ranks = read_epoch(dataset, monkeypatch, grid=grid)
    read = captions_of(ranks)
    assert len(set(read)) == len(read) == COUNT - COUNT % grid[0]
    assert set(read) <= set(ALL)
    assert len(set(keys_of(ranks))) == len(read)
    assert all(key.startswith('mine/') for key in keys_of(ranks))


@pytest.mark.parametrize('writer', [write_csv, write_beside, write_parquet])
@pytest.mark.parametrize('grid', GRIDS, ids=str)
def test_resumed_in_the_middle(make_pairs, make_dataset, read_epoch, monkeypatch, writer, grid):
    dataset = make_dataset(make_pairs(writer))
    whole = read_epoch(dataset, monkeypatch, grid=grid)
    rest = read_epoch(dataset, monkeypatch, grid=grid, start=6)
    assert rest == [part[2:] for part in whole]


@pytest.mark.parametrize('writer', [write_csv, write_parquet])
@pytest.mark.parametrize('then', [(1, 0), (2, 3), (3, 1)])
def test_resumed_on_another_grid(
    make_pairs, make_dataset, read_epoch, keys_of, monkeypatch, writer, then
):
    dataset = make_dataset(make_pairs(writer))
    whole = read_epoch(dataset, monkeypatch, grid=(2, 2), batch_size=2)
    seen = keys_of([part[:3] for part in whole])
    history = [GridProgress(2, 2, 2, 3)]
    left = keys_of(read_epoch(dataset, monkeypatch, grid=then, batch_size=2, history=history))
    assert len(set(seen + left)) == len(seen + left)
    assert len(seen + left) == 12 + (22 - 12) // then[0] * then[0]


@pytest.mark.parametrize('writer', [write_csv, write_parquet])
def test_order_is_a_function_of_seed_and_epoch(
    make_pairs, make_dataset, read_epoch, keys_of, monkeypatch, writer
):
    config = make_pairs(writer)
    first, again = (make_dataset(config) for _ in range(2))
    again = pickle.loads(pickle.dumps(again.sources))
    assert [source.shards for source in again] == [source.shards for source in first.sources]
    orders = [
        keys_of(read_epoch(make_dataset(config), monkeypatch, grid=(2, 2), epoch=epoch))
        for epoch in (0, 0, 1)
    ]
    assert orders[0] == orders[1] != orders[2]
    assert orders[0] != sorted(orders[0])


def test_a_large_table_is_cut_into_few_parts(
    make_pairs, make_dataset, read_epoch, keys_of, monkeypatch
):
    monkeypatch.setattr(row_readers, 'MAX_PARTS', 4)
    dataset = make_dataset(make_pairs(write_csv), shuffle_buffer=0)
    assert dataset.sources[0].sizes == (6, 6, 6, 5)
    read = keys_of(read_epoch(dataset, monkeypatch, grid=(1, 3)))
    assert len(set(read)) == len(read) == COUNT


def test_tables_and_shards_are_mixed(
    make_pairs, make_source, make_dataset, read_epoch, keys_of, monkeypatch
):
    table, (shards, keys) = make_pairs(write_csv, weight=3), make_source('tar', [5, 4], weight=1)
    read = keys_of(read_epoch(make_dataset(table, shards), monkeypatch, grid=(1, 2)))
    assert sum(key in keys for key in read) == 8
    assert sum(key.startswith('mine/') for key in read) == 24


@pytest.mark.parametrize('writer', [write_csv, write_beside])
def test_a_missing_and_a_broken_image_are_replaced_and_counted(
    make_pairs, make_dataset, read_epoch, monkeypatch, tmp_path, writer
):
    config = make_pairs(writer)
    dataset = make_dataset(config, pipeline=LOAD, max_failure_share=0.2)
    (tmp_path / '00000/003.png').unlink()
    (tmp_path / '00001/012.png').write_bytes(b'nothing')
    (batches,) = read_epoch(dataset, monkeypatch, grid=(1, 2))
    samples = [sample for batch in batches for sample in batch]
    skipped = sorted(text for sample in samples for text in sample['skipped'])
    assert len(samples) == COUNT
    assert len(skipped) == 2
    assert skipped[0] == 'mine/00000/003.png: the image is missing'
    assert skipped[1].startswith('mine/00001/012.png: the image cannot be decoded')


def test_bad_rows_of_parquet_are_replaced_and_counted(
    make_dataset, read_epoch, monkeypatch, tmp_path, encode_image
):
    pa = pytest.importorskip('pyarrow', reason='pyarrow is not installed')
    import pyarrow.parquet as pq

    image = dict(bytes=encode_image(), path=None)
    rows = [dict(image=image, text=caption(n)) for n in range(12)]
    rows[2]['image'], rows[5]['text'], rows[7]['text'] = None, None, ' '
    rows[9]['image'] = dict(bytes=None, path='gone.png')
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / 'a.parquet', row_group_size=12)
    config = dict(parquet=str(tmp_path / 'a.parquet'))
    dataset = make_dataset(config, pipeline=LOAD, max_failure_share=0.5)
    (batches,) = read_epoch(dataset, monkeypatch, grid=(1, 1))
    skipped = sorted(text for batch in batches for sample in batch for text in sample['skipped'])
    assert skipped == [
        'a/a#0/2: the image is missing',
        'a/a#0/5: the caption is empty',
        'a/a#0/7: the caption is empty',
        'a/a#0/9: the image is missing',
    ]


def test_a_damaged_row_group_loses_no_more_than_its_rows(
    make_pairs, make_dataset, read_epoch, monkeypatch, tmp_path
):
    config = make_pairs(write_parquet)
    dataset = make_dataset(config, pipeline=LOAD, max_failure_share=0.5)
    file = tmp_path / 'data/train-00000.parquet'
    data = bytearray(file.read_bytes())
    data[4:60] = bytes(56)  # the header of the first page
    file.write_bytes(data)
    (batches,) = read_epoch(dataset, monkeypatch, grid=(1, 2))
    skipped = [text for batch in batches for sample in batch for text in sample['skipped']]
    assert sum(map(len, batches)) == COUNT
    assert len(skipped) == 4
    assert all('train-00000#0/' in t and 'the row group is damaged' in t for t in skipped)


def test_images_may_lie_in_another_folder(make_dataset, read_epoch, monkeypatch, make_pairs):
    config = make_pairs(lambda folder, names: write_csv(folder, [n[6:] for n in names]), count=9)
    dataset = make_dataset(config | dict(images='00000'), pipeline=LOAD)
    assert len(captions_of(read_epoch(dataset, monkeypatch, grid=(1, 0)))) == 9


def test_captions_of_several_rows_belong_to_one_sample(tmp_path, encode_image):
    (tmp_path / 'a.png').write_bytes(encode_image())
    (tmp_path / 'm.csv').write_text('image,caption\na.png,a cat\n./a.png,a dog\na.png,a cat\n')
    source = open_pairs(dict(table=str(tmp_path / 'm.csv')))
    assert source.length == 1
    assert source.reader.rows[0].captions == ['a cat', 'a dog']


def test_rows_that_cannot_be_used_are_logged_with_their_reasons(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(
        'groupvit_mmseg.datasets.pair_sources.print_log',
        lambda text, logger, level: lines.append((level, text)),
    )
    (tmp_path / 'm.csv').write_text('image,caption\na.png,a cat\nb.png,\n')
    assert open_pairs(dict(table=str(tmp_path / 'm.csv'))).length == 1
    ((level, text),) = lines
    assert level == logging.WARNING
    assert '2 read, 1 kept, 1 dropped' in text
    assert 'the caption is empty (m.csv, line 3)' in text


@pytest.mark.parametrize(
    'config, message',
    [
        (dict(name='x'), r'has none of its kinds: give one of `shards`'),
        (dict(shards='a.tar', table='a.csv'), r'has shards and table: give one'),
        (dict(table='a.csv', length=3), r'`table` has no option `length`: it has .*weight'),
        (dict(folder='.', images='x'), r'`folder` has no option `images`'),
        (dict(shards='a.tar', image_column='x'), r'`shards` has no option `image_column`'),
        (dict(table='gone.csv'), r'"gone": there is no table ".*gone.csv"'),
        (dict(table='a.parquet'), r'is none of .csv, .tsv, .*give Parquet files as `parquet`'),
        (dict(table='a.csv', images='gone'), r'there is no folder ".*gone" of images'),
        (dict(table='a.csv', image_column='x'), r"no column 'x' among \['image', 'caption'\]"),
        (dict(table='a.csv', weight=0), r'`weight` is 0, it must be above 0'),
        (dict(table='empty.csv'), r'"empty" has no sample that can be used'),
        (dict(folder='gone'), r'there is no folder ".*gone"'),
        (dict(parquet='gone.parquet'), r'there is no ".*gone.parquet"'),
        (
            dict(parquet='gone-*.parquet'),
            r'No Parquet file matches ".*gone-\*.parquet": .*`parquet`',
        ),
        (dict(parquet=[]), r'lists no Parquet files: give `parquet` a path'),
        (dict(table='a.csv', caption_column=[]), r'`caption_column` is an empty list'),
        (dict(table='a.csv', caption_column=2), r"`caption_column` .* 2: write a text, such as '2"),
        (dict(table='a.csv', caption_column=['caption', 2]), r"2: write texts, such as '2'"),
        (dict(table=['a.csv']), r'`table` of a source holds \[.a.csv.\]: write a text'),
        (dict(folder=3), r'`folder` of a source holds 3: write a text'),
    ],
)
def test_a_wrong_source_is_one_sentence(tmp_path, config, message):
    (tmp_path / 'a.csv').write_text('image,caption\na.png,a cat\n')
    (tmp_path / 'empty.csv').write_text('image,caption\n')
    (tmp_path / 'a.parquet').write_bytes(b'')
    with pytest.raises((ValueError, OSError), match=message):
        open_pairs(config | dict(data_root=str(tmp_path)))


def test_a_parquet_file_that_is_listed_twice_is_refused(make_pairs):
    config = make_pairs(write_parquet)
    for paths in (['data/*.parquet', 'data/train-00000.parquet'], ['data', 'data']):
        with pytest.raises(ValueError, match=r'lists ".*train-00000.parquet" twice'):
            open_pairs(config | dict(parquet=paths))


def test_a_run_trains_on_a_table(make_pairs, make_dataset):
    """The loader with real workers."""
    from mmengine.runner import Runner

    loader = Runner.build_dataloader(
        dict(
            batch_size=4,
            num_workers=2,
            sampler=dict(type='ImageTextSampler'),
            collate_fn=dict(type='collate_image_text'),
            dataset=dict(
                type='ImageTextDataset',
                sources=[make_pairs(write_csv), make_pairs(write_parquet) | dict(name='other')],
                pipeline=[
                    dict(type='LoadImageText'),
                    dict(type='PackImageText', context_length=12),
                ],
            ),
        ),
        seed=0,
    )
    read = [text for batch in loader for text in batch['captions']]
    assert sorted(read) == sorted(ALL * 2)
