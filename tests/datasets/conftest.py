"""Shards of a few tiny pictures, and epochs over any grid of ranks and workers."""

import copy
import io
import json
import tarfile

import cv2
import numpy as np
import pytest
from torch.utils.data import BatchSampler

from groupvit_mmseg.datasets import ImageTextDataset, ImageTextSampler, image_text
from groupvit_mmseg.datasets import image_text_sampler as sampler_module

# Test modules cannot import this file, so what they call comes as fixtures.


def _encode_image(extension='.png', seed=0, size=12):
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return cv2.imencode(extension, pixels)[1].tobytes()


def _write_shard(path, samples):
    """Write ``{key: {extension: bytes}}`` as a tar."""
    with tarfile.open(path, 'w') as tar:
        for key, members in samples.items():
            for extension, data in members.items():
                info = tarfile.TarInfo(f'{key}.{extension}')
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def _good_samples(prefix, count):
    return {
        f'{prefix}{i:03d}': {'png': _encode_image(seed=i), 'txt': f'a cat number {i}'.encode()}
        for i in range(count)
    }


def _keep_key(results):
    """A pipeline that only reads."""
    return {'key': results['key']}


def _read_epoch(
    dataset, monkeypatch, *, grid, epoch=0, batch_size=3, drop_last=False, start=0, history=()
):
    """Batches of every rank, loaded as torch's loader does: batch j by worker j mod W."""
    world_size, num_workers = grid
    ranks = []
    for rank in range(world_size):
        monkeypatch.setattr(sampler_module, 'get_dist_info', lambda r=rank: (r, world_size))
        sampler = ImageTextSampler(dataset, seed=5)
        sampler.set_epoch(epoch, start, history, batch_size)
        workers = [copy.copy(dataset) for _ in range(max(num_workers, 1))]
        batches = []
        for j, positions in enumerate(BatchSampler(sampler, batch_size, drop_last)):
            worker = j % len(workers)
            info = _WorkerInfo(worker, num_workers) if num_workers else None
            monkeypatch.setattr(image_text, 'get_worker_info', lambda i=info: i)
            batches.append(workers[worker].__getitems__(positions))
        ranks.append(batches)
    return ranks


class _WorkerInfo:
    def __init__(self, worker, num_workers):
        self.id, self.num_workers = worker, num_workers


def _keys_of(ranks):
    return [sample['key'] for batches in ranks for batch in batches for sample in batch]


@pytest.fixture
def encode_image():
    return _encode_image


@pytest.fixture
def write_shard():
    return _write_shard


@pytest.fixture
def good_samples():
    return _good_samples


@pytest.fixture
def read_epoch():
    return _read_epoch


@pytest.fixture
def keys_of():
    return _keys_of


@pytest.fixture
def make_source(tmp_path):
    """Writes shards of the given sizes and returns the source's config and its keys."""

    def make(name, sizes, *, with_sizes=True, **options):
        folder = tmp_path / name
        folder.mkdir()
        keys = []
        for shard, size in enumerate(sizes):
            samples = _good_samples(f'{shard}-', size)
            _write_shard(folder / f'{name}-{shard:03d}.tar', samples)
            keys += [f'{name}/{key}' for key in samples]
        if with_sizes:
            table = {f'{name}-{shard:03d}.tar': size for shard, size in enumerate(sizes)}
            (folder / 'sizes.json').write_text(json.dumps(table))
        return dict(shards=f'{name}-*.tar', data_root=str(folder), name=name, **options), keys

    return make


@pytest.fixture
def make_dataset():
    def make(*sources, pipeline=(_keep_key,), shuffle_buffer=4, **options):
        return ImageTextDataset(
            sources, pipeline=pipeline, shuffle_buffer=shuffle_buffer, **options
        )

    return make
