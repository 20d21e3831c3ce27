"""Shards that shrink, disappear or fail while they are read: the lost samples are named."""

import errno
import io
import os
import tarfile

import numpy as np
import pytest

from groupvit_mmseg.datasets import shard_stream
from groupvit_mmseg.datasets.epoch_plan import ShardRange
from groupvit_mmseg.datasets.image_text_transforms import PackImageText
from groupvit_mmseg.datasets.shard_stream import BadSample, read_shard_range

COUNT, BYTES = 8, 400_000  # members larger than any buffer of the reader


@pytest.fixture
def shard(tmp_path):
    path = tmp_path / 'a.tar'
    with tarfile.open(path, 'w') as tar:
        for number in range(COUNT):
            info = tarfile.TarInfo(f'{number}.png')
            info.size = BYTES
            tar.addfile(info, io.BytesIO(bytes([number]) * BYTES))
    return path


def read(path, after=None, change=lambda: None, stop=COUNT):
    """Errors of the samples, with a change after some of them; good ones are checked."""
    errors = []
    for number, sample in enumerate(read_shard_range(ShardRange(str(path), 0, stop), 'set')):
        if sample.error is None:
            assert sample.members['png'] == bytes([number]) * BYTES
        errors.append(sample.error)
        if number + 1 == after:
            change()
    return errors


@pytest.mark.parametrize('after', [1, 3, 6])
@pytest.mark.parametrize('length', [0, 1000, 4 * (BYTES + 1000)])
def test_a_shard_that_shrinks(shard, after, length):
    errors = read(shard, after, lambda: os.truncate(shard, length))
    assert len(errors) == COUNT
    assert errors[:after] == [None] * after
    lost = [error for error in errors if error]
    assert lost or after * (BYTES + 1024) < length
    assert all(error.startswith('the shard ') for error in lost)


def test_a_shard_that_disappears_before_it_is_opened(shard):
    shard.unlink()
    assert read(shard) == ['the shard is damaged (No such file or directory)'] * COUNT


def test_a_shard_that_disappears_or_is_replaced_while_it_is_read_is_read_to_its_end(shard):
    assert read(shard, 2, shard.unlink) == [None] * COUNT


def test_a_disk_that_fails_loses_what_is_left(shard, monkeypatch):
    class Failing(io.FileIO):
        def readinto(self, buffer):
            if self.tell() > 3 * BYTES:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().readinto(buffer)

    monkeypatch.setattr(shard_stream, 'open_shard', lambda path: io.BufferedReader(Failing(path)))
    errors = read(shard)
    assert errors[:2] == [None] * 2
    assert errors[4:] == ['the shard is damaged (Input/output error)'] * 4


def test_a_shard_of_unknown_size_counts_what_is_lost_as_one(shard):
    errors = read(shard, 3, lambda: os.truncate(shard, 4 * BYTES), stop=None)
    assert [error is None for error in errors] == [True] * 3 + [False]


@pytest.mark.parametrize('value', [np.nan, np.inf, 0.5])
def test_pixels_that_a_transform_made_floats_are_a_bad_sample(value):
    """OpenCV would leave the tensor as it was: memory that nothing has written."""
    image = np.zeros((4, 5, 3), np.float32)
    image[1, 2, 0] = value
    named = '1 of them NaN or infinite' if value != 0.5 else 'float32: convert them to uint8'
    with pytest.raises(BadSample, match=named):
        PackImageText()(dict(key='a', img=image, caption='a cat'))
    packed = PackImageText()(dict(key='a', img=image[..., :3].astype(np.uint8), caption='a cat'))
    assert packed['inputs'].shape == (3, 4, 5)
