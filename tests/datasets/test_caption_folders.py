"""Every file below a folder is listed once, or counted."""

import os

from groupvit_mmseg.datasets import caption_folders
from groupvit_mmseg.datasets.account import Account
from groupvit_mmseg.datasets.caption_folders import read_classes, read_folder


def remarks(account):
    return {remark: tally.count for remark, tally in account.notes.items()}


def test_links_to_folders_are_followed_and_each_is_listed_once(tmp_path):
    (tmp_path / 'real' / 'n1').mkdir(parents=True)
    (tmp_path / 'real' / 'n1' / 'a.jpg').touch()
    (tmp_path / 'set').mkdir()
    (tmp_path / 'set' / 'n1').symlink_to(tmp_path / 'real' / 'n1')
    (tmp_path / 'real' / 'n1' / 'loop').symlink_to(tmp_path / 'set')
    account = Account('files')
    assert list(read_classes(tmp_path / 'set', account)) == [('n1/a.jpg', 'n1')]
    assert (account.num_read, account.num_kept, account.num_dropped) == (1, 1, 0)
    assert remarks(account) == {'folders are links to others and listed once': 1}


def test_folders_that_cannot_be_listed_are_counted(tmp_path, monkeypatch):
    for name in ('closed', 'open'):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'a.jpg').touch()
        (tmp_path / name / 'a.txt').write_text('a')

    scandir = os.scandir

    def guarded(path):
        if os.fspath(path).endswith('closed'):
            raise PermissionError(13, 'Permission denied', os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(caption_folders.os, 'scandir', guarded)
    account = Account('files')
    assert [row.image for row in read_folder(tmp_path, account)] == ['open/a.jpg']
    assert remarks(account) == {'folders cannot be listed': 1}


def test_lines_end_where_editors_end_them(tmp_path):
    (tmp_path / 'a.jpg').touch()
    text = 'one\u2028still one\r\ntwo\x0cstill two\rthree\x85still three\n'
    (tmp_path / 'a.txt').write_bytes(text.encode())
    (row,) = read_folder(tmp_path, Account('files'))
    assert row.captions == ['one\u2028still one', 'two\x0cstill two', 'three\x85still three']
