"""Bad samples are skipped, counted and replaced; too many of them stop the run."""

import json
import logging

import pytest
from mmengine.runner import Runner

from groupvit_mmseg.datasets import ImageTextDataHook, LoadImageText
from groupvit_mmseg.datasets.shard_stream import BadSample


def load_key(results):
    """Decode, then keep only the key."""
    return {'key': LoadImageText()(results)['key']}


@pytest.fixture
def make_folder(tmp_path, write_shard):
    """One shard of the given samples, and its source."""

    def make(samples, size=None):
        write_shard(tmp_path / 'data-0.tar', samples)
        table = {'data-0.tar': len(samples) if size is None else size}
        (tmp_path / 'sizes.json').write_text(json.dumps(table))
        return dict(shards='data-0.tar', data_root=str(tmp_path), name='data')

    return make


@pytest.fixture
def read(make_dataset, read_epoch, monkeypatch):
    """One epoch of one process: keys, and what was skipped."""

    def read_all(source, **options):
        options = {'min_failure_samples': 1000, 'max_failure_share': 1.0, **options}
        dataset = make_dataset(source, pipeline=[load_key], **options)
        (batches,) = read_epoch(dataset, monkeypatch, grid=(1, 0))
        samples = [sample for batch in batches for sample in batch]
        return [s['key'] for s in samples], [text for s in samples for text in s['skipped']]

    return read_all


def truncated(encode_image, extension):
    data = encode_image(extension, size=64)
    return data[: len(data) * 2 // 3]


BAD = {
    'truncated-jpg': (lambda e: {'jpg': truncated(e, '.jpg'), 'txt': b'a'}, 'cannot be decoded'),
    'truncated-png': (lambda e: {'png': truncated(e, '.png'), 'txt': b'a'}, 'cannot be decoded'),
    'truncated-webp': (lambda e: {'webp': truncated(e, '.webp'), 'txt': b'a'}, 'cannot be decoded'),
    'no-image-data': (lambda e: {'jpg': b'<html>', 'txt': b'a'}, 'cannot be decoded'),
    'empty-image': (lambda e: {'jpg': b'', 'txt': b'a'}, 'cannot be decoded'),
    'broken-png': (lambda e: {'png': b'\x89PNGxIEND\xaeB`\x82', 'txt': b'a'}, 'cannot be decoded'),
    'no-image': (lambda e: {'txt': b'a'}, 'no image member'),
    'empty-caption': (lambda e: {'png': e(), 'txt': b' \n'}, 'caption is empty'),
    'latin-1': (lambda e: {'png': e(), 'txt': 'caf\u00e9'.encode('latin-1')}, 'not UTF-8'),
    'no-caption': (lambda e: {'png': e()}, 'no caption member'),
    'broken-json': (lambda e: {'png': e(), 'json': b'{'}, 'JSON member is not valid'),
    'json-number': (lambda e: {'png': e(), 'json': b'3'}, 'no caption under'),
    'json-null': (lambda e: {'png': e(), 'json': b'{"caption": null}'}, 'caption is empty'),
    'json-mixed': (lambda e: {'png': e(), 'json': b'{"captions": ["a", 1]}'}, 'no caption under'),
}


@pytest.mark.parametrize('name', BAD)
def test_one_bad_sample_is_named_and_replaced(name, make_folder, read, good_samples, encode_image):
    make, reason = BAD[name]
    good = good_samples('ok', 9)
    keys, skipped = read(make_folder({**good, 'bad': make(encode_image)}))
    assert len(keys) == 10
    assert set(keys) == {f'data/{key}' for key in good}
    assert len(skipped) == 1
    assert skipped[0].startswith('data/bad: ')
    assert reason in skipped[0]


@pytest.mark.parametrize('extension', ['.jpg', '.png', '.webp'])
def test_whole_images_are_read(make_folder, read, encode_image, extension):
    samples = {
        f's{i}': {extension[1:].upper(): encode_image(extension, seed=i), 'TEXT': b'a'}
        for i in range(3)
    }
    assert read(make_folder(samples))[1] == []


def test_too_many_pixels_are_refused_before_they_are_decoded(encode_image, monkeypatch):
    sample = {'key': 'k', 'members': {'png': encode_image(size=12), 'txt': b'a'}, 'error': None}
    assert LoadImageText(max_pixels=144)(dict(sample))['img'].shape == (12, 12, 3)
    monkeypatch.setattr('cv2.imdecode', None)  # decoding would be a TypeError
    with pytest.raises(BadSample, match='144 pixels are more than max_pixels=143'):
        LoadImageText(max_pixels=143)(dict(sample))


def test_bytes_behind_the_end_of_an_image_do_no_harm(make_folder, read, encode_image):
    samples = {
        f's{i}': {extension: encode_image(f'.{extension}') + b'\0\0trailer', 'txt': b'a'}
        for i, extension in enumerate(['jpg', 'png', 'webp'])
    }
    assert read(make_folder(samples))[1] == []


def test_bad_samples_at_the_beginning_are_replaced_by_those_to_come(
    make_folder, read, good_samples
):
    bad = {f'bad{i}': {'txt': b'a'} for i in range(4)}
    keys, skipped = read(make_folder({**bad, **good_samples('ok', 3)}), shuffle_buffer=0)
    assert len(keys) == 7
    assert set(keys) == {'data/ok000', 'data/ok001', 'data/ok002'}
    assert [text.split(':')[0] for text in skipped] == [f'data/bad{i}' for i in range(4)]


@pytest.mark.parametrize(
    'blocks, good, reason',
    [
        (9.5, 1, 'the shard is damaged (unexpected end of data)'),
        (12, 3, 'the shard holds fewer samples than its size says'),
    ],
)
def test_shard_cut_off(make_folder, read, good_samples, tmp_path, blocks, good, reason):
    # Image and caption take two blocks of 512 bytes each. Where reading fails, the sample before
    # is lost too: webdataset hands it over when the next one begins.
    source = make_folder(good_samples('ok', 5))
    shard = tmp_path / 'data-0.tar'
    shard.write_bytes(shard.read_bytes()[: int(blocks * 512)])
    keys, skipped = read(source)
    assert len(keys) == 5
    assert set(keys) == {f'data/ok{i:03d}' for i in range(good)}
    lost = [text for text in skipped if 'data-0.tar#' in text]
    assert len(skipped) == 5 - good
    assert all(text.endswith(reason) for text in lost)
    assert len(lost) >= 2


def test_shard_that_is_no_tar_beside_a_good_one(make_dataset, read_epoch, make_source, monkeypatch):
    source, _ = make_source('data', [6, 6])
    with open(f'{source["data_root"]}/data-001.tar', 'wb') as file:
        file.write(b'not found' * 100)
    dataset = make_dataset(source, max_failure_share=0.6)
    (batches,) = read_epoch(dataset, monkeypatch, grid=(1, 0))
    samples = [sample for batch in batches for sample in batch]
    assert len(samples) == 12
    assert len({sample['key'] for sample in samples}) == 12  # nothing decodes, nothing fails


@pytest.mark.parametrize('content', [b'not a tar' * 100, b'\0' * 10240])
def test_broken_or_empty_shard_of_a_source_without_sizes(
    make_dataset, read_epoch, make_source, monkeypatch, content
):
    source, keys = make_source('plain', [4, 4], with_sizes=False, length=9)
    with open(f'{source["data_root"]}/plain-001.tar', 'wb') as file:
        file.write(content)
    dataset = make_dataset(source, pipeline=[load_key], max_failure_share=0.5)
    (batches,) = read_epoch(dataset, monkeypatch, grid=(1, 0))
    samples = [sample for batch in batches for sample in batch]
    assert len(samples) == 9
    assert {sample['key'] for sample in samples} == set(keys[:4])
    assert 1 <= sum(len(sample['skipped']) for sample in samples) <= 3  # one for each time


def test_only_broken_shards_stop_the_run(make_dataset, read_epoch, make_source, monkeypatch):
    source, _ = make_source('plain', [0], with_sizes=False, length=9)
    with pytest.raises(RuntimeError, match=r'No sample within reach of "plain/plain-000\.tar#0'):
        read_epoch(make_dataset(source, pipeline=[load_key]), monkeypatch, grid=(1, 0))


@pytest.mark.parametrize('workers', [0, 2])
def test_a_resumed_epoch_replaces_bad_samples_alike(
    make_folder, good_samples, make_dataset, read_epoch, monkeypatch, workers
):
    samples = {**good_samples('ok', 30), **{f'bad{i}': {'txt': b'a'} for i in range(8)}}
    source = make_folder(dict(sorted(samples.items(), key=lambda item: item[0][-1])))
    dataset = make_dataset(source, pipeline=[load_key], max_failure_share=1.0)
    (whole,) = read_epoch(dataset, monkeypatch, grid=(1, workers))
    (rest,) = read_epoch(dataset, monkeypatch, grid=(1, workers), start=12)
    assert rest == whole[4:]
    assert any(sample['skipped'] for batch in rest for sample in batch)


def test_shard_shorter_than_its_size(make_folder, read, good_samples):
    keys, skipped = read(make_folder(good_samples('ok', 5), size=8))
    assert len(keys) == 8
    assert len(set(keys)) == 5
    assert [text.split('.tar#')[1] for text in sorted(skipped)] == [
        f'{i}: the shard holds fewer samples than its size says' for i in (5, 6, 7)
    ]


def test_too_many_stop_the_run(make_folder, read, good_samples):
    samples = {**good_samples('ok', 16), **{f'bad{i}': {'txt': b'a'} for i in range(4)}}
    source = make_folder(samples)
    assert len(read(source, max_failure_share=0.2, min_failure_samples=20)[1]) == 4
    with pytest.raises(RuntimeError, match=r'4 of 20 samples could not .*max_failure_share=0.19'):
        read(source, max_failure_share=0.19, min_failure_samples=20)
    with pytest.raises(RuntimeError, match=r'4 of 20 samples could not .*no image member'):
        read(source, max_failure_share=0.1)  # judged at the end of a short epoch


def test_no_good_sample_at_all(make_folder, read):
    with pytest.raises(RuntimeError, match='No sample within reach of "data/bad'):
        read(make_folder({f'bad{i}': {'txt': b'a'} for i in range(4)}))


def test_an_error_that_hits_every_sample_stops_the_run_with_its_message(
    make_folder, good_samples, make_dataset, read_epoch, monkeypatch
):
    def broken(results):
        raise ValueError('a bug')

    dataset = make_dataset(make_folder(good_samples('ok', 3)), pipeline=[broken])
    reason = r'data/ok00\d: ValueError at test_bad_samples\.py:\d+: a bug'
    with pytest.raises(RuntimeError, match=reason) as error:
        read_epoch(dataset, monkeypatch, grid=(1, 0))
    assert isinstance(error.value.__cause__, ValueError)  # its traceback shows the line


@pytest.fixture
def make_loader(make_folder):
    def make(samples, *, num_workers=0, batch_size=4, **options):
        pipeline = [dict(type='LoadImageText'), dict(type='PackImageText', context_length=6)]
        cfg = dict(
            batch_size=batch_size,
            num_workers=num_workers,
            drop_last=True,
            sampler=dict(type='ImageTextSampler'),
            collate_fn=dict(type='collate_image_text'),
            dataset=dict(
                type='ImageTextDataset',
                sources=[make_folder(samples)],
                pipeline=pipeline,
                **options,
            ),
        )
        return Runner.build_dataloader(cfg, seed=0)

    return make


def test_the_sentence_reaches_the_main_process(make_loader, good_samples):
    samples = {**good_samples('ok', 6), **{f'bad{i}': {'txt': b'a'} for i in range(2)}}
    loader = make_loader(samples, num_workers=1, min_failure_samples=1)
    with pytest.raises(RuntimeError, match=r'samples could not be used.*`max_failure_share=0.1`'):
        list(loader)


class RunnerStub:
    def __init__(self, loader):
        self.train_loop = type('Loop', (), {'dataloader': loader})()
        self.model = None


@pytest.fixture
def log(monkeypatch):
    lines = []
    monkeypatch.setattr(
        'groupvit_mmseg.datasets.image_text_hook.print_log',
        lambda message, logger, level: lines.append((level, message)),
    )
    return lines


def run_hook(loader):
    hook, runner = ImageTextDataHook(), RunnerStub(loader)
    hook.before_train(runner)
    hook.before_train_epoch(runner)
    for i, batch in enumerate(loader):
        hook.after_train_iter(runner, i, data_batch=batch)
    hook.after_train_epoch(runner)


@pytest.mark.parametrize('num_workers', [0, 2])
def test_hook_logs_counts_and_first_keys(make_loader, good_samples, log, num_workers):
    bad = {f'bad{i}': {'png': b'', 'txt': b'a'} for i in range(7)}
    samples = {**good_samples('ok', 33), **bad}
    run_hook(make_loader(samples, num_workers=num_workers, max_failure_share=0.9))
    warnings = [text for level, text in log if level == logging.WARNING and 'skipped' in text]
    assert warnings[-1].startswith(
        '7 of 40 samples were skipped in this epoch; the first: data/bad'
    )
    assert warnings[-1].count('the image cannot be decoded') == 5
    assert warnings[0].startswith(('1 of', '2 of'))
    assert 3 <= len(warnings) <= 4  # at 1, 2 and 4, unless one batch passes two of them


def test_hook_is_silent_about_good_data(make_loader, good_samples, log):
    run_hook(make_loader(good_samples('ok', 9)))
    assert log == [
        (
            logging.INFO,
            'An epoch has 2 batches of 1 x 4 samples from data 9; 1 samples are left out.',
        ),
        (logging.INFO, 'Samples of this epoch: data 8 (0 skipped).'),
    ]


def test_hook_refuses_an_epoch_without_batches(make_loader, good_samples):
    loader = make_loader(good_samples('ok', 3))
    with pytest.raises(
        ValueError, match='3 samples give each of 1 ranks 3, fewer than a batch of 4'
    ):
        run_hook(loader)


def test_hook_tells_of_idle_workers_and_of_shared_shards(make_loader, good_samples, log):
    run_hook(make_loader(good_samples('ok', 5), num_workers=2))
    texts = [text for _, text in log]
    assert '1 of 2 workers get no batch: lower `num_workers`.' in texts
    assert any('"data" has 1 shards for 2 workers' in text for text in texts)


def test_hook_leaves_other_data_alone(log):
    hook = ImageTextDataHook()
    hook.before_train(RunnerStub(type('Loader', (), {'dataset': [1, 2]})()))
    hook.before_train_epoch(None)
    hook.after_train_iter(None, 0, data_batch=dict(inputs=[], data_samples=[]))
    hook.after_train_iter(None, 0, data_batch=None)
    hook.after_train_epoch(None)
    assert log == []
