"""Checkpoints of mmengine's own runner: read as plain data, and nothing in them runs."""

import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from groupvit_mmseg.checkpoints.loading import read_checkpoint
from groupvit_mmseg.checkpoints.plain_pickle import read_plain


class Calls:
    """Calls a function when unpickled without care."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def written(tmp_path, content):
    path = tmp_path / 'file.pth'
    torch.save(content, path)
    return path


def test_histories_numbers_and_arrays_are_read(tmp_path):
    history = HistoryBuffer([1.0, 2.5], [1, 2])
    weights = OrderedDict(w=torch.arange(6.0).view(2, 3).t())
    weights._metadata = {'': {'version': 2}}
    content = dict(
        state_dict=weights,
        message_hub=dict(log_scalars={'train/loss': history}, runtime_info={}),
        meta=dict(epoch=2, seed=np.int64(7), best=np.float32(0.5), flag=np.bool_(True)),
        arrays=(np.arange(6).reshape(2, 3), np.asfortranarray(np.eye(2)), np.array(3.0)),
        swapped=np.arange(3, dtype='>i4'),
    )
    path = written(tmp_path, content)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)  # what this reader is for
    found = read_checkpoint(path)
    assert torch.equal(found['state_dict']['w'], weights['w'])
    assert found['state_dict']._metadata == weights._metadata
    assert found['meta'] == dict(epoch=2, seed=7, best=0.5, flag=True)
    assert [type(value) for value in found['meta'].values()] == [int, int, float, bool]
    loss = found['message_hub']['log_scalars']['train/loss']
    assert (loss['values'].tolist(), loss['counts'].tolist()) == ([1.0, 2.5], [1.0, 2.0])
    assert loss['max_length'] == history.max_length
    assert [a.tolist() for a in found['arrays']] == [[[0, 1, 2], [3, 4, 5]], [[1, 0], [0, 1]], 3.0]
    assert found['swapped'].tolist() == [0, 1, 2]
    assert isinstance(found['arrays'], tuple)


@pytest.mark.parametrize(
    'content, named',
    [
        (Calls(getattr, np.ndarray, 'tolist'), 'attribute tolist of another object'),
        (Calls(os.mkdir, 'trace'), 'mkdir'),
        (Calls(eval, "__import__('os').mkdir('trace')"), 'eval'),
        (Calls(np.load, 'x'), 'load'),
        (np.array([object()]), 'not of numbers'),
        (np.array(['text']), 'not of numbers'),
        (np.dtype('f4'), 'where data belongs'),
        (HistoryBuffer, 'where data belongs'),
        (Path('a'), 'Path'),
    ],
    ids=lambda value: getattr(value, '__name__', None),
)
def test_anything_else_is_refused_and_named(tmp_path, monkeypatch, content, named):
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path, {'state_dict': {}, 'x': content})
    with pytest.raises(pickle.UnpicklingError, match=named):
        read_plain(path)
    with pytest.raises(
        pickle.UnpicklingError, match=r'^[^\n]*file\.pth is not a checkpoint[^\n]*$'
    ):
        read_checkpoint(path)
    assert not (tmp_path / 'trace').exists()


def test_a_file_does_not_change_what_the_next_one_is_read_with(tmp_path):
    """A state set on a stand-in itself, which a pickle can reach, is refused or stays in it."""
    history = HistoryBuffer([1.0], [1])
    before = read_plain(written(tmp_path, history))

    class Twisted:
        def __reduce__(self):
            return HistoryBuffer, (), {'_log_history': 1, '_count_history': 2, 'max_length': 3}

    with pytest.raises(pickle.UnpicklingError, match='log history is stored in an unknown way'):
        read_plain(written(tmp_path, Twisted()))
    after = read_plain(written(tmp_path, history))
    assert after['values'].tolist() == before['values'].tolist() == [1.0]


@pytest.mark.parametrize('share', [0.3, 0.9])
def test_torn_files_are_refused(tmp_path, share):
    path = written(tmp_path, {'h': HistoryBuffer([1.0], [1]), 'w': torch.ones(1000)})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(pickle.UnpicklingError, match=r'file\.pth is not a checkpoint that can be'):
        read_checkpoint(path)


def test_tensors_go_to_the_device(tmp_path):
    weights = {'w': torch.ones(2)}
    plain = written(tmp_path, {'state_dict': weights, 'h': HistoryBuffer([1.0], [1])})
    assert read_checkpoint(plain, map_location='meta')['state_dict']['w'].is_meta
    # A function gets storages, which only torch.load has.
    with pytest.raises(pickle.UnpicklingError, match='is not a checkpoint that can be read safely'):
        read_checkpoint(plain, map_location=lambda storage, place: storage)
    path = written(tmp_path, {'state_dict': weights})
    found = read_checkpoint(path, map_location=lambda storage, place: storage)
    assert found['state_dict']['w'].tolist() == [1, 1]
