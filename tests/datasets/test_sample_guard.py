"""One bad sample, or one bad shard, never ends a training; whatever is wrong with it."""

import io
import json

import cv2
import pytest
from PIL import Image

from groupvit_mmseg.datasets import ImageTextDataHook, LoadImageText
from groupvit_mmseg.datasets.shard_stream import BadSample, describe_error


def load_key(results):
    """Decode, then keep only the key."""
    return {'key': LoadImageText()(results)['key']}


def keep_key(results):
    """Keep only the key of what could be read."""
    if results['error'] is not None:
        raise BadSample(results['error'])
    return {'key': results['key']}


@pytest.fixture
def short_sight(monkeypatch):
    """Workers keep and look ahead 8 samples."""
    monkeypatch.setattr('groupvit_mmseg.datasets.slot_reader.SPARE_SAMPLES', 8)
    monkeypatch.setattr('groupvit_mmseg.datasets.image_text.SPARE_SAMPLES', 8)


@pytest.fixture
def make_shards(tmp_path, write_shard):
    """Shards of one source with ``sizes.json``; what is not a dict is written as it is."""

    def make(*shards, sizes=None):
        for index, samples in enumerate(shards):
            path = tmp_path / f'data-{index:02d}.tar'
            if isinstance(samples, dict):
                write_shard(path, samples)
            else:
                path.write_bytes(samples)
        counts = sizes or [len(samples) for samples in shards]
        table = {f'data-{index:02d}.tar': count for index, count in enumerate(counts)}
        (tmp_path / 'sizes.json').write_text(json.dumps(table))
        return dict(shards='data-*.tar', data_root=str(tmp_path), name='data')

    return make


@pytest.fixture
def read(make_dataset, read_epoch, monkeypatch):
    """One epoch: keys, and what was skipped."""

    def read_all(source, *, pipeline=load_key, grid=(1, 0), epoch=0, **options):
        dataset = make_dataset(source, pipeline=[pipeline], **options)
        ranks = read_epoch(dataset, monkeypatch, grid=grid, epoch=epoch)
        samples = [sample for rank in ranks for batch in rank for sample in batch]
        return [s['key'] for s in samples], [text for s in samples for text in s['skipped']]

    return read_all


def damaged_avif(encode_image):
    stream = io.BytesIO()  # not every OpenCV writes AVIF
    Image.open(io.BytesIO(encode_image('.png', size=64))).save(stream, 'AVIF')
    data = bytearray(stream.getvalue())
    data[len(data) // 2 : len(data) // 2 + 60] = b'\xff' * 60
    return bytes(data)


BAD = {
    'avif-named-jpg': (lambda e: {'jpg': damaged_avif(e), 'txt': b'a'}, 'is AVIF or HEIC'),
    'json-integer-of-5000-digits': (lambda e: {'png': e(), 'json': b'1' * 5000}, ''),
    'json-nested-deeply': (lambda e: {'png': e(), 'json': b'[' * 100_000}, ''),
}


@pytest.mark.parametrize('name', BAD)
def test_what_parsers_raise_is_a_bad_sample(name, make_shards, read, good_samples, encode_image):
    make, reason = BAD[name]
    keys, skipped = read(make_shards({**good_samples('ok', 9), 'bad': make(encode_image)}))
    assert len(keys) == 10
    assert len(skipped) == 1
    assert skipped[0].startswith('data/bad: ')
    assert reason in skipped[0]


@pytest.mark.parametrize('kind', [RuntimeError, MemoryError, RecursionError, KeyError, cv2.error])
def test_what_a_transform_raises_for_one_sample_is_counted_with_its_place(
    kind, make_shards, read, good_samples
):
    def pipeline(results):
        if results['key'].endswith('3'):
            raise kind('why')
        return {'key': results['key']}

    keys, skipped = read(make_shards(good_samples('ok', 10)), pipeline=pipeline)
    assert len(keys) == 10
    assert 'data/ok003' not in keys
    assert len(skipped) == 1
    assert skipped[0].startswith(f'data/ok003: {kind.__name__.rpartition(".")[2]} at test_sample')
    assert 'why' in skipped[0]


def test_a_transform_that_gives_nothing_makes_a_bad_sample(make_shards, read, good_samples):
    def pipeline(results):
        return None if results['key'].endswith('3') else {'key': results['key']}

    assert read(make_shards(good_samples('ok', 10)), pipeline=pipeline)[1] == [
        'data/ok003: a transform gave nothing for it'
    ]


@pytest.mark.parametrize('kind', [KeyboardInterrupt, SystemExit])
def test_who_ends_the_run_ends_it(kind, make_shards, read, good_samples):
    def pipeline(results):
        raise kind

    with pytest.raises(kind):
        read(make_shards(good_samples('ok', 3)), pipeline=pipeline)


def test_a_deep_traceback_is_described_quickly():
    def recurse():
        recurse()

    with pytest.raises(RecursionError) as error:
        recurse()
    text = describe_error(error.value)
    assert text.startswith('RecursionError at test_sample_guard.py:')
    assert len(text) < 300


@pytest.mark.parametrize(
    'grid, content',
    [((1, 0), b''), ((1, 3), b'\0' * 10240), ((2, 2), b'<html>' * 300)],
)
def test_one_empty_shard_ends_no_run_whatever_the_order(
    make_shards, read, good_samples, grid, content
):
    shards = [good_samples(f's{i}x', 10) for i in range(12)]
    shards[4] = content
    source = make_shards(*shards, sizes=[10] * 12)
    for epoch in range(6):  # other orders, as other seeds are
        keys, skipped = read(
            source,
            pipeline=keep_key,
            grid=grid,
            epoch=epoch,
            min_failure_samples=5,
            shuffle_buffer=8,
        )
        assert len(keys) == 120
        assert len(skipped) == 10
        assert all('data-04.tar#' in text for text in skipped)


@pytest.mark.usefixtures('short_sight')
def test_a_worker_that_has_only_a_bad_shard_takes_others_from_the_next(
    make_shards, read, good_samples
):
    source = make_shards(b'', good_samples('a', 20), sizes=[20, 20])
    for epoch in range(4):
        keys, skipped = read(
            source,
            pipeline=keep_key,
            grid=(1, 2),
            epoch=epoch,
            max_failure_share=0.5,
            shuffle_buffer=0,
        )
        assert len(keys) == 40
        assert len(skipped) == 20


def test_more_than_the_share_of_the_epoch_stops_the_run_whatever_the_order(
    make_shards, read, good_samples
):
    shards = [good_samples(f's{i}x', 20) for i in range(6)]
    shards[1] = b''
    source = make_shards(*shards, sizes=[20] * 6)  # a sixth is more than a tenth
    for epoch in range(4):
        with pytest.raises(RuntimeError, match='13 of 120 samples could not be used in one epoch'):
            read(source, pipeline=keep_key, epoch=epoch, min_failure_samples=5)


@pytest.mark.usefixtures('short_sight')
@pytest.mark.parametrize('start', [1, 3, 10, 18])
def test_a_resumed_epoch_takes_the_same_replacements_from_other_shards(
    make_shards, good_samples, make_dataset, read_epoch, monkeypatch, start
):
    source = make_shards(b'', good_samples('a', 20), sizes=[40, 20])
    options = dict(pipeline=[keep_key], max_failure_share=1.0, shuffle_buffer=0)
    wholes = []
    for _ in range(2):
        dataset = make_dataset(source, **options)
        (whole,) = read_epoch(dataset, monkeypatch, grid=(1, 0))
        wholes.append(whole)
    assert wholes[0] == wholes[1]
    dataset = make_dataset(source, **options)
    (rest,) = read_epoch(dataset, monkeypatch, grid=(1, 0), start=3 * start)
    assert rest == whole[start:]


def test_a_broken_header_within_a_tar_is_no_silent_end(make_shards, read, good_samples, tmp_path):
    source = make_shards(good_samples('ok', 5), good_samples('more', 5))
    shard = tmp_path / 'data-00.tar'
    data = bytearray(shard.read_bytes())
    data[4 * 512 * 2] ^= 0xFF  # the name of the third sample's image
    shard.write_bytes(data)
    keys, skipped = read(source, max_failure_share=0.5)
    assert len(keys) == 10
    assert len(skipped) == 4  # the sample before the break is handed over when the next begins
    assert all('the shard is damaged (broken header: bad checksum)' in text for text in skipped)
    # without sizes one stands for the unknown number of lost ones
    (tmp_path / 'sizes.json').unlink()
    assert len(read({**source, 'length': 30}, max_failure_share=0.5)[1]) >= 1


class Stub:
    """A runner as far as the hook looks at it."""

    def __init__(self, dataset):
        loader = type('Loader', (), dict(dataset=dataset, batch_size=2, num_workers=0))()
        type(loader).__len__ = lambda self: len(dataset) // 2
        self.train_loop = type('Loop', (), {'dataloader': loader})()
        self.model = None


def test_the_hook_adds_up_what_all_ranks_skipped(
    make_shards, good_samples, make_dataset, monkeypatch
):
    dataset = make_dataset(make_shards(good_samples('ok', 100)), pipeline=[load_key])
    hook = ImageTextDataHook()
    hook.before_train(Stub(dataset))
    # another rank skipped as many
    monkeypatch.setattr(
        'groupvit_mmseg.datasets.image_text_hook.all_gather_object', lambda mine: [mine, mine]
    )
    hook.before_train_epoch(None)
    batch = dict(keys=['data/a', 'data/b'], skipped=['data/x: why'], damaged=[])
    for step in range(5):
        hook.after_train_iter(None, step, data_batch=batch)
    hook.after_train_epoch(None)  # 10 of 100 are a tenth, not more
    hook.before_train_epoch(None)
    for step in range(49):
        hook.after_train_iter(None, step, data_batch=batch)
    with pytest.raises(RuntimeError, match=r'100 of 200 samples could not .*data/x: why'):
        hook.after_train_iter(None, 49, data_batch=batch)


def test_the_hook_counts_damaged_images_that_were_read(
    make_shards, good_samples, make_dataset, monkeypatch
):
    lines = []
    monkeypatch.setattr(
        'groupvit_mmseg.datasets.image_text_hook.print_log',
        lambda message, logger, level: lines.append(message),
    )
    hook = ImageTextDataHook()
    hook.before_train(Stub(make_dataset(make_shards(good_samples('ok', 9)))))
    hook.before_train_epoch(None)
    batch = dict(keys=['data/a', 'data/b'], skipped=[], damaged=['data/a: Corrupt JPEG data'])
    hook.after_train_iter(None, 0, data_batch=batch)
    hook.after_train_epoch(None)
    assert (
        '1 of 2 images are damaged but could be read; the first: data/a: Corrupt JPEG data' in lines
    )


def test_nothing_is_printed_about_a_damaged_image_and_it_is_named(encode_image, capfd):
    data = encode_image('.jpg', size=64)
    members = {'jpg': data[: len(data) // 2] + b'\xff\xd9', 'txt': b'a'}
    sample = LoadImageText()({'key': 'data/a', 'members': members, 'error': None})
    assert sample['damaged'] == ['data/a: Corrupt JPEG data: premature end of data segment']
    assert capfd.readouterr() == ('', '')
