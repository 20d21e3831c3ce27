"""Reading the plain members of a tar alone gives what tarfile gives, of whole and damaged tars."""

import gzip
import io
import tarfile

import pytest
from webdataset import TarWriter

from groupvit_mmseg.datasets import shard_members
from groupvit_mmseg.datasets.plain_tar import read_plain_members
from groupvit_mmseg.datasets.shard_members import read_members


def add(tar, name, size=700, **fields):
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    info.size = size
    tar.addfile(info, io.BytesIO(bytes(i % 251 for i in range(size))))


def write(path, *names, tar_format=tarfile.USTAR_FORMAT, **fields):
    with tarfile.open(path, 'w', format=tar_format) as tar:
        for name in names:
            add(tar, name, **fields)
    return path.read_bytes()


def special_tar(path):
    """Folders, links, a long name, one of other letters, an empty and a large member."""
    with tarfile.open(path, 'w', format=tarfile.PAX_FORMAT) as tar:
        add(tar, 'a.jpg', 1500)
        add(tar, 'folder', 0, type=tarfile.DIRTYPE)
        add(tar, 'link.jpg', 0, type=tarfile.SYMTYPE, linkname='a.jpg')
        add(tar, 'hard.jpg', 0, type=tarfile.LNKTYPE, linkname='a.jpg')
        add(tar, 'fifo', 0, type=tarfile.FIFOTYPE)
        add(tar, 'empty.txt', 0)
        add(tar, 'whole-block.txt', 512)
        add(tar, 'x' * 150 + '/name.jpg')
        add(tar, 'katze-\u00fc.jpg')
        add(tar, 'old.jpg', type=tarfile.AREGTYPE)
        add(tar, 'time.jpg', mtime=1e9 + 0.5)
        add(tar, 'large.jpg', 3_000_000)
        add(tar, 'last.txt', uid=2**40, uname='somebody')
    return path.read_bytes()


def read(path, plain, monkeypatch):
    """Members and error, with or without reading the plain ones alone."""
    if not plain:
        monkeypatch.setattr(shard_members, 'read_plain_members', lambda file: iter(()))
    members = []
    try:
        with open(path, 'rb') as file:
            members.extend(iter(read_members(file)))
    except Exception as error:
        return members, f'{type(error).__name__}: {error}'
    finally:
        monkeypatch.undo()
    return members, None


@pytest.fixture
def assert_equal(tmp_path, monkeypatch):
    def check(data):
        path = tmp_path / 'checked.tar'
        path.write_bytes(data)
        actual, expected = (read(path, plain, monkeypatch) for plain in (True, False))
        assert actual == expected
        return actual

    return check


@pytest.mark.parametrize(
    'tar_format', [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
)
def test_shards_of_every_format_are_plain(tmp_path, tar_format, assert_equal):
    data = write(tmp_path / 'a.tar', 'a.jpg', 'd/b.v0.txt', 'c.json', tar_format=tar_format)
    members, error = assert_equal(data)
    assert [name for name, _ in members] == ['a.jpg', 'd/b.v0.txt', 'c.json']
    assert error is None
    with open(tmp_path / 'a.tar', 'rb') as file:
        assert list(read_plain_members(file)) == members
        assert file.tell() == 3 * (512 + 1024)


def test_shards_of_webdataset_are_plain(tmp_path, assert_equal):
    path = tmp_path / 'a.tar'
    with TarWriter(str(path)) as writer:
        for key in ('a', 'b'):
            writer.write({'__key__': key, 'jpg': b'x' * 900, 'txt': b'text'})
    members, error = assert_equal(path.read_bytes())
    assert error is None
    with open(path, 'rb') as file:
        assert list(read_plain_members(file)) == members
    assert [name for name, _ in members] == ['a.jpg', 'a.txt', 'b.jpg', 'b.txt']


@pytest.mark.parametrize(
    'records',
    [
        dict(mtime='12.5'),
        dict(mtime='12', atime='3'),
        dict(path='other.jpg'),
        dict(size='3'),
        dict(mtime='x'),
        dict(comment='mtime=3'),
    ],
    ids=str,
)
def test_extra_headers(tmp_path, assert_equal, records):
    with tarfile.open(tmp_path / 'a.tar', 'w', format=tarfile.PAX_FORMAT) as tar:
        add(tar, 'a.jpg')
        add(tar, 'b.jpg', pax_headers=records)
        add(tar, 'c.jpg')
    data = (tmp_path / 'a.tar').read_bytes()
    assert_equal(data)
    for length in range(512 + 1024, len(data), 256):
        assert_equal(data[:length])
    damaged = data.replace(b' mtime=', b'1 mtime=').replace(b'\x000000000\x00', b'\x000000001\x00')
    assert_equal(damaged)


def test_special_members_are_read_by_tarfile(tmp_path, assert_equal):
    members, error = assert_equal(special_tar(tmp_path / 'a.tar'))
    assert len(members) == 9
    assert error is None


def test_a_compressed_tar_is_read_by_tarfile(tmp_path, assert_equal):
    members, _ = assert_equal(gzip.compress(write(tmp_path / 'a.tar', 'a.jpg')))
    assert [name for name, _ in members] == ['a.jpg']


def test_a_tar_cut_off_anywhere_gives_the_members_and_error_of_tarfile(tmp_path, assert_equal):
    data = write(tmp_path / 'a.tar', 'a.jpg', 'a.txt', 'b.jpg')
    errors = set()
    for length in [*range(0, len(data), 97), *range(0, 6000, 512), *range(511, 6000, 512)]:
        errors.add(assert_equal(data[:length])[1])
    assert len(errors) >= 3


def test_a_byte_changed_in_a_header_gives_the_members_and_error_of_tarfile(tmp_path, assert_equal):
    data = write(tmp_path / 'a.tar', 'a.jpg', 'b.jpg')
    start, errors = 512 + 1024, 0
    for offset in range(start, start + 512, 4):
        for value in (0, ord('7'), 0xFF):
            changed = bytearray(data)
            changed[offset] = value
            errors += assert_equal(bytes(changed))[1] is not None
    assert errors > 100


@pytest.mark.parametrize('field', range(7))
def test_a_header_with_odd_numbers_and_a_right_checksum(tmp_path, assert_equal, field):
    data = bytearray(write(tmp_path / 'a.tar', 'a.jpg', 'b.jpg'))
    start, stop = [
        (100, 108),
        (108, 116),
        (124, 136),
        (124, 136),
        (136, 148),
        (0, 100),
        (345, 500),
    ][field]
    content = [
        b'    644',
        b'12 34',
        b'   1274 ',
        b'\x80' + bytes(9) + b'\x02\xbc',
        b'x',
        b'',
        b'p',
    ][field]
    header = slice(512 + 1024, 512 + 1024 + 512)
    block = bytearray(data[header])
    block[start:stop] = content.ljust(stop - start, b'\0')
    checksum = sum(block) - sum(block[148:156]) + 256
    block[148:156] = b'%06o\0 ' % checksum
    data[header] = block
    assert_equal(bytes(data))


def test_two_tars_one_after_the_other_and_bytes_behind_the_end(tmp_path, assert_equal):
    first = write(tmp_path / 'a.tar', 'a.jpg')
    assert_equal(first + write(tmp_path / 'b.tar', 'b.jpg'))
    assert_equal(first[: 512 + 1024] + write(tmp_path / 'b.tar', 'b.jpg'))
    assert_equal(first[: 512 + 1024] + b'\x1f\x8b' + bytes(600))  # looks compressed
    assert_equal(b'<html>' * 300)
