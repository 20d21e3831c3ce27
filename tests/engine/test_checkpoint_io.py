"""Files: their content is not executed, writing is atomic, mismatches are listed."""

import os
import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from torch import nn

from groupvit_mmseg.atomic_files import write_atomically
from groupvit_mmseg.engine import load_weights, read_checkpoint, save_checkpoint
from groupvit_mmseg.engine.runner.serialization import history_from_plain, to_plain


class _Malice:
    """Creates a file when it is unpickled unsafely."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_malicious_checkpoint_is_refused_and_executes_nothing(tmp_path):
    file, trace = tmp_path / 'malice.pth', tmp_path / 'trace'
    torch.save({'state_dict': {}, 'extra': _Malice(trace)}, file)
    with pytest.raises(pickle.UnpicklingError, match=r'malice\.pth is not a checkpoint that can'):
        read_checkpoint(file)
    assert not trace.exists()
    torch.load(file, weights_only=False)  # the trap works
    assert trace.exists()


@pytest.mark.parametrize('kept_share', [0.0, 0.5, 0.99])
def test_truncated_checkpoint_is_one_sentence(tmp_path, kept_share):
    file = tmp_path / 'torn.pth'
    save_checkpoint({'state_dict': {'w': torch.ones(1000)}}, file)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * kept_share)])
    with pytest.raises(pickle.UnpicklingError, match=r'torn\.pth .* use a complete file'):
        read_checkpoint(file)


@pytest.mark.parametrize('content', [b'abc', b'\x89PNG\r\n', b'{"state_dict": {}}', bytes(100)])
def test_foreign_file_is_one_sentence(tmp_path, content):
    (tmp_path / 'foreign.pth').write_bytes(content)
    with pytest.raises(pickle.UnpicklingError, match=r'^[^\n]*foreign\.pth is not a checkpoint.*$'):
        read_checkpoint(tmp_path / 'foreign.pth')


def test_missing_and_wrong_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'There is no checkpoint .*nothing\.pth'):
        read_checkpoint(tmp_path / 'nothing.pth')
    torch.save([1, 2], tmp_path / 'list.pth')
    with pytest.raises(ValueError, match=r'list\.pth holds a list instead of a dict'):
        read_checkpoint(tmp_path / 'list.pth')


def test_bare_state_dict_reads_like_a_checkpoint(tmp_path):
    torch.save({'w': torch.ones(2)}, tmp_path / 'bare.pth')
    assert read_checkpoint(tmp_path / 'bare.pth')['state_dict']['w'].sum() == 2


def test_write_killed_midway_leaves_the_old_file_and_no_litter(tmp_path):
    file = tmp_path / 'a.bin'
    write_atomically(file, lambda stream: stream.write(b'old'))

    def torn(stream):
        stream.write(b'ne')
        stream.flush()
        assert file.read_bytes() == b'old'
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(file, torn)
    assert file.read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['a.bin']


@pytest.mark.parametrize('name', ['a' * 255, 'é' * 127, 'x' * 241 + 'é.png'])
def test_names_as_long_as_the_system_takes_are_written(tmp_path, name):
    write_atomically(tmp_path / name, lambda stream: stream.write(b'new'))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {name: b'new'}


def test_written_file_has_the_usual_permissions(tmp_path):
    write_atomically(tmp_path / 'a.bin', lambda stream: stream.write(b'x'))
    Path(tmp_path / 'b.bin').write_bytes(b'x')
    modes = [os.stat(tmp_path / name).st_mode for name in ('a.bin', 'b.bin')]
    assert modes[0] == modes[1]


def test_misfit_counts_and_lists_every_key():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    state = model.state_dict()
    del state['0.bias'], state['1.bias']
    state['head.weight'] = torch.zeros(1)
    state['0.weight'] = torch.zeros(3, 5)
    with pytest.raises(RuntimeError) as error:
        load_weights(model, state, source='old.pth')
    message = str(error.value)
    assert message.startswith('old.pth does not fit Sequential')
    assert '2 missing: 0.bias, 1.bias' in message
    assert '1 unexpected: head.weight' in message
    assert '1 of another shape: 0.weight' in message
    assert '0.weight (3, 5) instead of (3, 2)' in message


def test_weights_of_a_wrapped_model_load():
    source, target = nn.Linear(2, 2), nn.Linear(2, 2)
    wrapped = OrderedDict((f'module.{k}', v) for k, v in source.state_dict().items())
    load_weights(target, wrapped, source='x')
    assert torch.equal(source.weight, target.weight)


def test_plain_content_survives_a_safe_load(tmp_path):
    history = HistoryBuffer([1.0, 2.5], [1, 2])
    content = dict(
        score=np.float64(1.5),
        count=np.int64(3),
        flag=np.bool_(True),
        array=np.arange(3),
        path=Path('a/b'),
        nested=[(1, 'x'), {'k': np.float32(0.5)}],
        history=history,
        nothing=None,
        dtype=torch.float32,
    )
    torch.save(to_plain(content), tmp_path / 'plain.pth')
    back = torch.load(tmp_path / 'plain.pth', weights_only=True)
    assert (back['score'], back['count'], back['flag']) == (1.5, 3, True)
    assert type(back['score']) is float
    assert type(back['flag']) is bool
    assert back['array'].tolist() == [0, 1, 2]
    assert back['path'] == os.path.join('a', 'b')
    assert back['nested'] == [(1, 'x'), {'k': 0.5}]
    restored = history_from_plain(back['history'])
    assert restored.mean() == history.mean() == pytest.approx(3.5 / 3)
    restored.update(7.0)
    assert restored.current() == 7.0
