"""What belongs to a sample: the same in training, in the shard doctor and in counting."""

import gzip
import io
import json
import re
import tarfile

import pytest
from webdataset.tariterators import group_by_keys, tar_file_expander

from groupvit_mmseg.datasets import LoadImageText
from groupvit_mmseg.datasets.epoch_plan import ShardRange
from groupvit_mmseg.datasets.shard_members import count_members, group_members, read_members
from groupvit_mmseg.datasets.shard_reports import examine
from groupvit_mmseg.datasets.shard_stream import BadSample, read_shard_range

from loading import load_file

# Names in the order of the tar, and the samples that they make.
LAYOUTS = {
    'plain': (['a.jpg', 'a.txt', 'b.jpg', 'b.txt'], {'a': 'jpg txt', 'b': 'jpg txt'}),
    'hidden-files-of-macos': (
        ['./._d', 'd/._s0.jpg', 'd/s0.jpg', 'd/._s0.txt', 'd/s0.txt', 'd/.DS_Store', '._x.y'],
        {'d/s0': 'jpg txt'},
    ),
    'metadata': (['__info__', '__info__/x.jpg', 'a.jpg', 'a.txt'], {'a': 'jpg txt'}),
    'no-extension': (['README', 'a.jpg', 'a.txt'], {'a': 'jpg txt'}),
    'upper-case': (['a.JPG', 'a.Txt'], {'a': 'jpg txt'}),
    'dots': (['p.v0.jpg', 'p.v0.txt', 'p.v1.jpg'], {'p': 'v0.jpg v0.txt v1.jpg'}),
    'folders': (['images/a.jpg', 'texts/a.txt'], {'images/a': 'jpg', 'texts/a': 'txt'}),
    'dots-in-folders': (['v1.0/a.jpg', 'v1.0/a.txt'], {'v1.0/a': 'jpg txt'}),
    'twice': (['a.jpg', 'a.jpg', 'a.txt', 'b.jpg'], {'a': 'jpg txt', 'b': 'jpg'}),
    'none': ([], {}),
}


def write_tar(path, names, mode='w', content=b''):
    with tarfile.open(path, mode) as tar:
        for name in names:
            data = content or name.encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def load_tool(name):
    return load_file(f'tools/dataset_converters/{name}.py')


@pytest.mark.parametrize('mode', ['w', 'w:gz', 'w:bz2'])
@pytest.mark.parametrize('layout', LAYOUTS)
def test_training_the_doctor_and_counting_agree(layout, mode, tmp_path):
    names, expected = LAYOUTS[layout]
    path = tmp_path / 'a.tar'
    write_tar(path, names, mode)
    with path.open('rb') as stream:
        samples = list(group_members(read_members(stream)))
    assert {sample.key: ' '.join(sample.members) for sample in samples} == expected
    assert count_members(path).samples == len(samples)
    read = [raw for raw in read_shard_range(ShardRange(str(path), 0, None), 'x') if raw.members]
    assert [raw.key for raw in read] == [f'x/{key}' for key in expected]
    assert examine(str(path)).size == len(samples)


@pytest.mark.parametrize('layout', ['plain', 'metadata', 'no-extension', 'upper-case', 'dots'])
def test_samples_are_those_of_webdataset(layout, tmp_path):
    path = tmp_path / 'a.tar'
    write_tar(path, LAYOUTS[layout][0])
    with path.open('rb') as stream:
        theirs = list(group_by_keys(tar_file_expander([dict(url='a', stream=stream)])))
    with path.open('rb') as stream:
        ours = list(group_members(read_members(stream)))
    assert [(s.key, s.members) for s in ours] == [
        (t['__key__'], {k: v for k, v in t.items() if not k.startswith('__')}) for t in theirs
    ]


@pytest.mark.parametrize(
    'members, missing, found',
    [
        (['v0.jpg', 'v0.txt', 'v1.jpg'], 'image', r'\.v0\.jpg, \.v0\.txt, \.v1\.jpg'),
        (['input.jpg', 'txt'], 'image', r'\.input\.jpg, \.txt'),
        (['jpg'], 'caption', r'\.jpg'),
        (['txt'], 'image', r'\.txt'),
        (list('abcdef'), 'image', r'\.a, \.b, \.c, \.d and 2 more'),
    ],
)
def test_the_message_names_the_members_and_the_rule(members, missing, found):
    sample = dict(key='k', members=dict.fromkeys(members, b'a'), error=None)
    reason = rf'it has no {missing} member \(.*\), only {found}: .*a dot within the name ends it'
    with pytest.raises(BadSample, match=reason):
        LoadImageText()(sample)


def test_a_member_twice_is_one_bad_sample_and_not_the_rest_of_the_shard(tmp_path):
    path = tmp_path / 'a.tar'
    write_tar(path, ['a.jpg', 'a.txt', 'b.jpg', 'b.jpg', 'b.txt', 'c.jpg', 'c.txt'])
    samples = list(read_shard_range(ShardRange(str(path), 0, 3), 'x'))
    assert [(raw.key, raw.error) for raw in samples] == [
        ('x/a', None),
        ('x/b', 'the member "b.jpg" is there twice: give samples different names'),
        ('x/c', None),
    ]


@pytest.fixture
def count(tmp_path, capsys):
    def run():
        load_tool('count_shards').main([str(tmp_path / '*.tar*')])
        return json.loads((tmp_path / 'sizes.json').read_text()), capsys.readouterr().err

    return run


def test_counting_names_what_is_odd(count, tmp_path):
    write_tar(tmp_path / 'dots.tar', ['a.jpg', 'a.jpg', 'd/._a.jpg'])
    write_tar(tmp_path / 'none.tar', [])
    write_tar(tmp_path / 'plain.tar', ['README'])
    write_tar(tmp_path / 'zipped.tar.gz', ['a.jpg', 'b.jpg'], 'w:gz')
    sizes, said = count()
    assert sizes == {'dots.tar': 1, 'none.tar': 0, 'plain.tar': 0, 'zipped.tar.gz': 2}
    assert 'none.tar" is empty: it counts 0 samples.' in said
    assert 'plain.tar" has 1 files but no sample: a sample is the members that follow' in said
    assert 'dots.tar": 1 hidden files' in said
    assert 'dots.tar": 1 members are there twice, first "a.jpg"' in said


def broken_gzip(names, path):
    write_tar(path, names, 'w:gz')
    data = bytearray(path.read_bytes())
    data[len(data) // 2 :] = b'\0' * (len(data) - len(data) // 2)
    path.write_bytes(data)


def broken_header(names, path):
    write_tar(path, names)
    data = bytearray(path.read_bytes())
    data[1024] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize(
    'write, reason',
    [
        (lambda names, path: path.write_bytes(b''), 'is empty (0 bytes): fetch it again'),
        (lambda names, path: path.write_bytes(b'<html>' * 200), 'is no readable tar'),
        (broken_gzip, 'is no readable tar'),
        (broken_header, 'is no readable tar (broken header: bad checksum)'),
        (
            lambda names, path: path.write_bytes(gzip.compress(b'hello' * 300)),
            'is no readable tar',
        ),
    ],
)
def test_counting_refuses_what_training_could_not_read(tmp_path, capsys, write, reason):
    write([f'{i}.txt' for i in range(9)], tmp_path / 'a.tar')
    assert load_tool('count_shards').main([str(tmp_path / '*.tar*')]) == 2
    assert reason in capsys.readouterr().err
    assert not (tmp_path / 'sizes.json').exists()
    (raw,) = list(read_shard_range(ShardRange(str(tmp_path / 'a.tar'), 0, 1), 'x'))
    assert raw.error is not None or raw.key == 'x/0'


def test_counting_and_the_doctor_say_that_nothing_matches(tmp_path, capsys):
    for tool in ('count_shards', 'check_shards'):
        assert load_tool(tool).main([str(tmp_path / '*.tar')]) == 2
        assert capsys.readouterr().err.startswith('error: No shard matches')


def test_the_doctor_names_every_bad_sample_and_what_to_do(tmp_path, capsys):
    files = {
        'a.jpg': b'x',
        'b.jpg': b'x',
        'a.txt': b'x',
        'c.png': b'x',
        'c.json': b'1' * 5000,
        'd/._e.jpg': b'x',
    }
    with tarfile.open(tmp_path / 'x.tar', 'w') as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    write_tar(tmp_path / 'y.tar', [])
    doctor = load_tool('check_shards')
    assert doctor.main([str(tmp_path / '*.tar'), '--processes', '1']) == 1
    printed = capsys.readouterr().out
    assert 'unusable         5' in printed
    assert 'x.tar/c: ' in printed
    assert '3 have no image or no caption member: a sample is the members that' in printed
    assert 'tar --sort=name' in printed
    assert f'{tmp_path}/x.tar: 1 hidden files (._*, .DS_Store) passed over' in printed
    assert f'{tmp_path}/y.tar is empty: fetch or make it again' in printed
    assert json.loads((tmp_path / 'sizes.json').read_text()) == {'x.tar': 4, 'y.tar': 0}


@pytest.fixture
def one_process(monkeypatch):
    """The doctor without other processes."""
    doctor, main = load_tool('check_shards'), load_tool('check_shards').main
    monkeypatch.setattr(doctor, 'main', lambda words: main([*words, '--processes', '1']))
    return doctor


def whole_tar(path):
    with tarfile.open(path, 'w') as tar:
        for key in 'ab':
            tar.addfile(tarfile.TarInfo(f'{key}.jpg'))
            tar.addfile(tarfile.TarInfo(f'{key}.txt'))
    return path


def test_a_tar_that_was_cut_off_between_samples_is_named(tmp_path, one_process, capsys):
    cut = whole_tar(tmp_path / 'cut.tar')
    whole_tar(tmp_path / 'whole.tar')
    cut.write_bytes(cut.read_bytes()[:1024])  # two headers: all of the first sample
    load_tool('count_shards').main([str(tmp_path / '*.tar')])
    assert one_process.main([str(tmp_path / '*.tar')]) == 1  # the images are empty
    printed = capsys.readouterr()
    assert json.loads((tmp_path / 'sizes.json').read_text()) == {'cut.tar': 1, 'whole.tar': 2}
    for text in (printed.err, printed.out):
        (line,) = [line for line in text.splitlines() if 'has no end mark' in line]
        assert 'cut.tar' in line


def test_the_doctor_writes_sizes_of_files_only(tmp_path, one_process, monkeypatch, capsys):
    whole_tar(tmp_path / 'a.tar')
    monkeypatch.chdir(tmp_path)
    assert one_process.main(['a.tar', 'missing.tar', f'pipe:cat {tmp_path}/a.tar']) == 1
    assert json.loads((tmp_path / 'sizes.json').read_text()) == {'a.tar': 2}
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.tar', 'sizes.json']


@pytest.mark.parametrize('content', ['{', '[1]'])
def test_a_sizes_file_that_cannot_be_added_to_is_one_sentence(
    content, tmp_path, one_process, capsys, monkeypatch
):
    whole_tar(tmp_path / 'a.tar')
    (tmp_path / 'sizes.json').write_text(content)
    monkeypatch.setattr(one_process, 'run_pass', None)  # said before hours of reading
    for tool in (one_process, load_tool('count_shards')):
        assert tool.main([str(tmp_path / 'a.tar')]) == 2
        message = capsys.readouterr().err
        assert re.search(r'sizes\.json" (is not valid JSON|must be an object)', message)
    assert (tmp_path / 'sizes.json').read_text() == content


def test_a_folder_that_cannot_be_written_to_is_one_sentence(tmp_path, one_process, capsys):
    whole_tar(tmp_path / 'a.tar')
    (tmp_path / 'sizes.json').mkdir()
    assert one_process.main([str(tmp_path / 'a.tar')]) == 2
    printed = capsys.readouterr()
    assert 'samples          2 in 1 shards' in printed.out
    assert printed.err.startswith('error: The sizes cannot be written: ')
    assert load_tool('count_shards').main([str(tmp_path / 'a.tar')]) == 2
    assert re.search(r'The sizes cannot be written: .*sizes\.json', capsys.readouterr().err)


@pytest.mark.parametrize(
    'tool, option',
    [
        ('check_shards', '--processes'),
        ('check_shards', '--ranks'),
        ('check_shards', '--workers'),
        ('check_shards', '--batch-size'),
        ('count_shards', '--processes'),
    ],
)
def test_none_of_something_is_one_sentence(tool, option, tmp_path, capsys):
    with pytest.raises(SystemExit) as status:
        load_tool(tool).main([str(whole_tar(tmp_path / 'a.tar')), option, '0'])
    assert status.value.code == 2
    assert f'{option}: it is 0: give at least 1' in capsys.readouterr().err


@pytest.mark.parametrize(
    'limit,value,names,reason',
    [
        ('MAX_SAMPLE_BYTES', 11, ['jpg'], 'it has more than 11 bytes'),
        ('MAX_MEMBERS', 1, ['jpg'], 'it has more than 1 members'),
        ('MAX_SAMPLE_BYTES', 12, ['jpg', 'txt'], None),
        ('MAX_MEMBERS', 2, ['jpg', 'txt'], None),
    ],
)
def test_a_sample_beyond_a_limit_is_a_bad_one(tmp_path, monkeypatch, limit, value, names, reason):
    monkeypatch.setattr(f'groupvit_mmseg.datasets.shard_members.{limit}', value)
    write_tar(tmp_path / 'x.tar', ['a.jpg', 'a.txt', 'b.jpg'], content=b'123456')
    first, second = read_shard_range(ShardRange(str(tmp_path / 'x.tar'), 0, None), 'x')
    assert (list(first.members), first.error) == (names, reason)
    assert (list(second.members), second.error) == (['jpg'], None)
