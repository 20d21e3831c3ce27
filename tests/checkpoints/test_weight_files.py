"""Reading anybody's weights: single, sharded, from a hub, and without running what is in them."""

import argparse
import functools
import io
import json
import os
import pickle
import struct
import threading
import time
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from groupvit_mmseg.checkpoints import read_weights
from groupvit_mmseg.checkpoints.loading import read_checkpoint
from groupvit_mmseg.checkpoints.restricted_unpickler import (
    BoundedStream,
    Placeholder,
    RestrictedUnpickler,
    StoredTensor,
)
from groupvit_mmseg.checkpoints.torch_archive import open_restricted


class Malice:
    """Makes a folder when unpickled without care."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


class MaliceOnState:
    """The same, when its state is set."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return MaliceOnState, (self.path,), {'x': Malice(self.path)}


TENSORS = dict(
    plain=torch.arange(6.0).reshape(2, 3),
    transposed=torch.arange(6).reshape(2, 3).t(),
    view=torch.arange(10.0)[3:7],
    half=torch.tensor([1.5, -2.0], dtype=torch.float16),
    brain=torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    flag=torch.tensor([True, False]),
    scalar=torch.tensor(2.5, dtype=torch.float64),
    empty=torch.empty(0, 3),
    parameter=torch.nn.Parameter(torch.ones(2)),
)


@pytest.mark.parametrize('zipped', [True, False], ids=['zip', 'legacy'])
def test_foreign_objects_become_placeholders(tmp_path, same_bits, zipped):
    trace, file = tmp_path / 'trace', tmp_path / 'official.pth'
    content = dict(
        model=TENSORS,
        epoch=3,
        malice=Malice(trace),
        state=MaliceOnState(tmp_path / 'trace of a state'),
        array=np.arange(3),
        kinds={1, 2},
        optimizer={'exp_avg': torch.zeros(5)},
    )
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    weights = read_weights(file)
    assert os.listdir(tmp_path) == ['official.pth']
    same_bits(weights.tensors, {key: value.detach() for key, value in TENSORS.items()})
    skipped = ' '.join(weights.skipped)
    assert 'type posix.mkdir: not loaded' in skipped
    assert 'MaliceOnState' in skipped
    for entry in ('epoch', 'malice', 'state', 'array', 'kinds', 'optimizer'):
        assert f'{entry}: not weights' in weights.skipped
    torch.load(file, weights_only=False)  # the trap works
    assert trace.exists()


def test_a_placeholder_does_nothing():
    placeholder = Placeholder(1, 2, key=3)
    placeholder['a'] = 1
    placeholder.append(2)
    placeholder.extend([3])
    placeholder.__setstate__({'x': 1})
    assert vars(placeholder) == {}
    assert not callable(placeholder)


def unpickled(pickled):
    """Unpickles bytes with the restricted unpickler."""
    stream = BoundedStream(io.BytesIO(pickled), len(pickled))
    return RestrictedUnpickler(stream, set()).load()


def test_a_pickle_cannot_change_the_reader():
    # BUILD with a slot state would set attributes of what GLOBAL found.
    for name in (b'_rebuild_tensor_v2', b'_rebuild_parameter'):
        pickled = b'\x80\x02ctorch._utils\n' + name + b'\n(N}(X\x01\x00\x00\x00aK\x01utb.'
        with pytest.raises(AttributeError):
            unpickled(pickled)
    assert unpickled(b'\x80\x02cbuiltins\neval\n(X\x03\x00\x00\x001+1tR.').__class__ is not int


def test_a_storage_must_be_a_tuple():
    for reference in (b'X\x01\x00\x00\x00a', b'K\x01', b']', b'}'):
        with pytest.raises(pickle.UnpicklingError, match='stored in an unknown way'):
            unpickled(b'\x80\x02' + reference + b'Q.')


@pytest.mark.parametrize(
    'pickled',
    [
        b'\x80\x02]r\xff\xff\xff\x7f.',  # remembers an object as number 2**31
        b'\x80\x05\x96\x00\x00\x00\x00\x01\x00\x00\x00.',  # a bytearray of 4 GB
        b'\x80\x04\x8e\x00\x00\x00\x00\x01\x00\x00\x00.',  # bytes of 4 GB
        b'\x80\x02\x82\x01.',  # a type by its number
    ],
)
def test_a_pickle_cannot_reserve_memory(pickled):
    with pytest.raises((ValueError, pickle.UnpicklingError)):
        unpickled(pickled)


def zip_of(path, tensor, size):
    """A zip file whose pickle asks for another number of elements than are there."""
    torch.save({'w': tensor}, path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    (pickled,) = [name for name in entries if name.endswith('data.pkl')]
    old, new = (b'K' + struct.pack('<B', n) for n in (len(tensor), size))
    assert old in entries[pickled]
    entries[pickled] = entries[pickled].replace(old, new)
    with zipfile.ZipFile(path, 'w') as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


def named_type(length):
    """A pickle of a type with a long name."""
    return b'\x80\x02c' + b'a' * length + b'\nb\n.'


def test_a_long_name_of_a_type_takes_no_time(tmp_path):
    """torch looks for words in its own message about it, in a time that grows with the square."""
    torch.save({'w': torch.ones(1)}, tmp_path / 'zip.pth')
    with zipfile.ZipFile(tmp_path / 'zip.pth') as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / 'zip.pth', 'w') as archive:
        for name, data in entries.items():
            archive.writestr(name, named_type(200_000) if name.endswith('data.pkl') else data)
    torch.save({'w': torch.ones(1)}, tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
    content = (tmp_path / 'old.pth').read_bytes()
    (tmp_path / 'old.pth').write_bytes(content.replace(b'\x80\x02}q', named_type(200_000), 1))
    for name in ('zip.pth', 'old.pth'):
        start = time.process_time()
        with pytest.raises(pickle.UnpicklingError, match='names a type by 200,002 characters'):
            read_checkpoint(tmp_path / name)
        assert time.process_time() - start < 2


def test_a_second_archive_in_front_is_refused(tmp_path):
    """torch would read the directory of the first one, zipfile that of the second."""
    files = []
    for values in (torch.ones(2), torch.zeros(2)):
        torch.save({'w': values}, tmp_path / 'one.pth')
        files.append((tmp_path / 'one.pth').read_bytes())
    (tmp_path / 'two.pth').write_bytes(b''.join(files))
    for read in (read_checkpoint, read_weights):
        with pytest.raises(pickle.UnpicklingError, match='does not begin where the file does'):
            read(tmp_path / 'two.pth')


def test_tensors_that_ask_for_more_than_there_is(tmp_path):
    zip_of(tmp_path / 'more.pth', torch.ones(7), 200)
    with pytest.raises(pickle.UnpicklingError, match=r'more\.pth cannot be read .* torn'):
        read_weights(tmp_path / 'more.pth')
    torch.save({'w': torch.ones(1).expand(2**40)}, tmp_path / 'wide.pth')  # 4 TB from 4 bytes
    with pytest.raises(pickle.UnpicklingError, match=r'a tensor reaches beyond its numbers'):
        read_weights(tmp_path / 'wide.pth')


@pytest.mark.parametrize('zipped', [True, False], ids=['zip', 'legacy'])
def test_every_truncation_is_refused(tmp_path, zipped):
    torch.save({'w': torch.ones(50)}, tmp_path / 'a', _use_new_zipfile_serialization=zipped)
    whole = (tmp_path / 'a').read_bytes()
    for size in range(1, len(whole) - 1, 13):
        (tmp_path / 'b').write_bytes(whole[:size])
        with pytest.raises(pickle.UnpicklingError, match='cannot be read as weights'):
            read_weights(tmp_path / 'b')


def test_optimiser_state_is_not_read(tmp_path, monkeypatch):
    torch.save({'model': {'w': torch.ones(2)}, 'optimizer': torch.zeros(1000)}, tmp_path / 'a.pth')
    file = open_restricted(tmp_path / 'a.pth')
    assert isinstance(file.content['optimizer'], StoredTensor)
    assert file.read(file.content['model']['w']).tolist() == [1, 1]


def write_shards(folder, kind):
    """Two shards and their index, of either kind."""
    first, second = {'a': torch.ones(2)}, {'b': torch.zeros(3), 'c': torch.ones(1)}
    stem = {'safetensors': 'model', 'bin': 'pytorch_model'}[kind]
    places = {}
    for number, part in enumerate((first, second), 1):
        name = f'{stem}-0000{number}-of-00002.{kind}'
        save_file(part, folder / name) if kind == 'safetensors' else torch.save(part, folder / name)
        places.update(dict.fromkeys(part, name))
    index = folder / f'{stem}.{kind}.index.json'
    index.write_text(json.dumps({'metadata': {}, 'weight_map': places}))
    return index, places, {**first, **second}


@pytest.mark.parametrize('kind', ['safetensors', 'bin'])
def test_shards_are_read_as_one(tmp_path, same_bits, kind):
    index, _, tensors = write_shards(tmp_path, kind)
    same_bits(read_weights(index).tensors, tensors)
    same_bits(read_weights(tmp_path).tensors, tensors)  # the folder means the same


def test_bad_shards_are_one_sentence(tmp_path):
    index, places, _ = write_shards(tmp_path, 'bin')

    def sentence(weight_map):
        index.write_text(json.dumps({'weight_map': weight_map}))
        with pytest.raises((FileNotFoundError, ValueError)) as error:
            read_weights(index)
        return str(error.value)

    assert '1 tensors that its shards lack: d' in sentence({**places, 'd': places['a']})
    assert 'names the shard x.bin, which is not beside it' in sentence({'a': 'x.bin'})
    assert 'only files beside it' in sentence({'a': '../secret.bin'})
    assert 'only files beside it' in sentence({})
    assert 'no usable weight_map' in sentence([1])
    index.write_text('{')
    with pytest.raises(ValueError, match=r'is not the index of sharded weights'):
        read_weights(index)


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder, and the address at which a server of this machine shows it."""
    folder = tmp_path / 'served'
    folder.mkdir()
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    monkeypatch.setattr(SimpleHTTPRequestHandler, 'log_message', lambda *_: None)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setenv('GROUPVIT_HOME', str(tmp_path / 'home'))
    monkeypatch.setenv('no_proxy', '*')
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield folder, f'http://127.0.0.1:{server.server_port}'
        server.shutdown()


def test_weights_by_address(served):
    folder, address = served
    torch.save({'state_dict': {'w': torch.ones(2)}}, folder / 'a.pth')
    assert read_weights(f'{address}/a.pth').tensors['w'].sum() == 2
    (folder / 'a.pth').unlink()
    assert read_checkpoint(f'{address}/a.pth')['state_dict']['w'].sum() == 2  # kept
    for read in (read_weights, read_checkpoint):
        with pytest.raises(FileNotFoundError, match=r'b\.pth cannot be downloaded: .*404.*: copy'):
            read(f'{address}/b.pth')


def test_an_address_is_cached_by_itself_and_torchs_cache_is_used(served, tmp_path, monkeypatch):
    folder, address = served
    for index, name in enumerate(('one', 'two')):
        (folder / name).mkdir()
        torch.save({'w': torch.tensor(index)}, folder / name / 'a.pth')
    values = [read_weights(f'{address}/{name}/a.pth').tensors['w'] for name in ('one', 'two')]
    assert values == [0, 1]
    (tmp_path / 'torch/hub/checkpoints').mkdir(parents=True)
    torch.save({'w': torch.tensor(2)}, tmp_path / 'torch/hub/checkpoints/b.pth')
    assert read_weights(f'{address}/b.pth?download=true').tensors['w'] == 2
    monkeypatch.setenv('GROUPVIT_OFFLINE', '1')
    assert read_weights(f'{address}/one/a.pth').tensors['w'] == 0
    with pytest.raises(FileNotFoundError, match=r'c\.pth is not in the cache, and downloads are s'):
        read_weights(f'{address}/c.pth')


def test_training_reads_safetensors_and_refuses_the_rest(tmp_path):
    save_file({'w': torch.ones(2)}, tmp_path / 'a.safetensors')
    assert read_checkpoint(tmp_path / 'a.safetensors')['state_dict']['w'].sum() == 2
    torch.save({'w': torch.ones(2), 'config': argparse.Namespace(a=1)}, tmp_path / 'foreign.pth')
    with pytest.raises(pickle.UnpicklingError, match=r'argparse.*mentation wrote, or an official'):
        read_checkpoint(tmp_path / 'foreign.pth')
    with zipfile.ZipFile(tmp_path / 'bomb.pth', 'w', zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr('archive/data.pkl', bytes(10_000_000))
    with pytest.raises(pickle.UnpicklingError, match=r'would unpack from .* to 10000000 bytes'):
        read_checkpoint(tmp_path / 'bomb.pth')


def test_a_pickled_module_is_named(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / 'module.pth')
    with pytest.raises(ValueError, match='holds a Linear instead of a dict of weights'):
        read_weights(tmp_path / 'module.pth')


def test_hub_without_a_network_says_what_to_bring(convert, tmp_path, capsys, monkeypatch):
    hub = pytest.importorskip('huggingface_hub', reason='the extra is not installed')
    monkeypatch.setattr(hub.constants, 'HF_HUB_OFFLINE', True)
    monkeypatch.setattr(hub.constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
    argv = ('--from', 'nvidia/groupvit-gcc-yfcc', tmp_path / 'out.pth')
    assert convert('hf_to_plugin', *argv) == 2
    assert capsys.readouterr().err == (
        'error: nvidia/groupvit-gcc-yfcc cannot be fetched from the hub: copy its '
        'model.safetensors (or pytorch_model.bin) and config.json into one folder and give that '
        'folder as SRC.\n'
    )
    assert not (tmp_path / 'out.pth').exists()


def test_hub_by_name(tmp_path, monkeypatch):
    huggingface_hub = pytest.importorskip('huggingface_hub', reason='the extra is not installed')
    errors = huggingface_hub.errors
    missing = getattr(errors, 'RemoteEntryNotFoundError', errors.EntryNotFoundError)
    asked = []

    def download(name, file, local_files_only):
        asked.append((name, file))
        if file == 'model.safetensors':
            raise missing('none', response=response)
        return str(tmp_path / file)

    # What the errors read of a response, which is of requests before version 1 and of httpx since.
    response = SimpleNamespace(headers={}, request=None)
    torch.save({'w': torch.ones(1)}, tmp_path / 'pytorch_model.bin')
    (tmp_path / 'config.json').write_text('{}')
    monkeypatch.setattr(huggingface_hub, 'hf_hub_download', download)
    assert read_weights('hf://nvidia/groupvit-gcc-yfcc').tensors['w'].item() == 1
    name = 'nvidia/groupvit-gcc-yfcc'
    files = ('model.safetensors', 'pytorch_model.bin', 'config.json', 'preprocessor_config.json')
    assert asked == [(name, file) for file in files]


@pytest.mark.parametrize('suffix', ['safetensors', 'pth'])
def test_tensors_are_put_where_map_location_says(tmp_path, suffix):
    path, whole = tmp_path / f'weights.{suffix}', {'a': torch.arange(6.0).view(2, 3)}
    save_file(whole, path) if suffix == 'safetensors' else torch.save(whole, path)
    assert read_checkpoint(path, map_location='meta')['state_dict']['a'].is_meta
    places = []

    def remember(storage, place):
        places.append(place)
        return storage

    tensors = read_checkpoint(path, map_location=remember)['state_dict']
    assert places == ['cpu']
    assert torch.equal(tensors['a'], whole['a'])


def test_safetensors_with_a_header_of_any_length_are_told_from_pickles(tmp_path):
    """The first byte of the file is that of the header's length: 0x80 begins a pickle too."""
    first_bytes = set()
    for length in range(0, 300, 8):
        path = tmp_path / f'{length}.safetensors'
        save_file({'w': torch.ones(2)}, path, metadata={'note': 'x' * length})
        first_bytes.add(path.read_bytes()[0])
        assert read_weights(path).tensors['w'].tolist() == [1, 1]
    assert 0x80 in first_bytes
