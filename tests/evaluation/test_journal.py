"""Journals: only files of the set are read, and only journals are cut."""

import os
import signal

import pytest

from groupvit_mmseg.benchmark.journal import Journal, read_results

SETTINGS = dict(set='pets', weights='0')


def journal(folder, name='pets', files=None, **changes):
    return Journal(folder, name=name, settings=SETTINGS | changes, files=files)


@pytest.mark.parametrize('name', ['pets', 'set[1]', 'pets.v2', 'a*'])
def test_results_are_those_of_the_set_whatever_its_name(tmp_path, name):
    for other in ('pets.more', 'set1', 'pets'):
        if other != name:
            with journal(tmp_path, other, set=other).writer(0) as writer:
                writer.add(9, pairs=[])
    first = journal(tmp_path, name, set=name)
    with first.writer(0) as writer:
        writer.add(3, pairs=[[0, 0, 1]])
    results = journal(tmp_path, name, set=name).results()
    assert results == {3: dict(index=3, pairs=[[0, 0, 1]])}


def write(folder, rank, fingerprint, pixels):
    with journal(folder, files=lambda index: [fingerprint]).writer(rank) as writer:
        writer.add(2, image='p2.jpg', pairs=[[0, 0, pixels]])


def test_the_newest_result_of_a_replaced_image_counts(tmp_path):
    write(tmp_path, rank=1, fingerprint=5, pixels=5)
    write(tmp_path, rank=1, fingerprint=7, pixels=7)
    write(tmp_path, rank=0, fingerprint=7, pixels=7)  # by another process, the same image
    assert read_results(tmp_path, 'pets')[2]['pairs'] == [[0, 0, 7]]
    assert read_results(tmp_path, 'dogs') == {}
    write(tmp_path, rank=0, fingerprint=8, pixels=8)
    assert journal(tmp_path, files=lambda index: [8]).results()[2]['pairs'] == [[0, 0, 8]]
    with pytest.raises(ValueError, match=r'results of p2\.jpg from before and after it was repl'):
        read_results(tmp_path, 'pets')


@pytest.mark.parametrize('content', [b'my notes', b'my notes\nof today\n', b'[1]\n', b'\xff\n'])
def test_a_file_that_is_no_journal_is_refused_and_left_alone(tmp_path, content):
    path = tmp_path / 'pets.0.jsonl'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r'Line 1 of .*pets\.0\.jsonl is not one of a journal'):
        journal(tmp_path)
    assert path.read_bytes() == content


def test_a_file_that_came_later_is_not_cut(tmp_path):
    writing = journal(tmp_path)
    path = tmp_path / 'pets.1.jsonl'
    path.write_bytes(b'my notes')
    with pytest.raises(ValueError, match='not one of a journal'):
        writing.writer(1)
    assert path.read_bytes() == b'my notes'


def test_a_broken_line_within_is_named(tmp_path):
    with journal(tmp_path).writer(0) as writer:
        writer.add(0, pairs=[])
    path = tmp_path / 'pets.0.jsonl'
    path.write_bytes(path.read_bytes() + b'{"index":1,"pa{"index":2,"pairs":[]}\n')
    with pytest.raises(ValueError, match=r'Line 3 of .*pets\.0\.jsonl is not one'):
        journal(tmp_path).results()


def test_two_evaluations_of_one_folder_do_not_mix_their_lines(tmp_path):
    with journal(tmp_path).writer(0) as writer:
        writer.add(0, pairs=[])
        before = (tmp_path / 'pets.0.jsonl').read_bytes()
        with pytest.raises(ValueError, match=r'pets\.0\.jsonl is written by another evaluation'):
            journal(tmp_path).writer(0)
        assert (tmp_path / 'pets.0.jsonl').read_bytes() == before
        with journal(tmp_path).writer(1) as other:  # another rank of the same evaluation
            other.add(1, pairs=[])
    assert list(journal(tmp_path).results()) == [0, 1]
    with journal(tmp_path).writer(0) as writer:  # the lock ends with the file
        writer.add(2, pairs=[])


@pytest.mark.parametrize(
    'line',
    [
        b'{"index":"1","pairs":[]}',
        b'{"index":-1,"pairs":[]}',
        b'{"index":1,"pairs":[[0,0]]}',
        b'{"index":1,"pairs":[[0,0,-5]]}',
        b'{"index":1,"pairs":[[0,0,1e9]]}',
        b'{"index":1,"pairs":{}}',
        b'{"index":1,"label":true,"best":[0]}',
        b'[' * 100_000,
    ],
)
def test_lines_with_other_values_are_refused(tmp_path, line):
    with journal(tmp_path).writer(0) as writer:
        writer.add(0, pairs=[[0, 1, 5]])
    path = tmp_path / 'pets.0.jsonl'
    path.write_bytes(path.read_bytes() + line + b'\n')
    with pytest.raises(ValueError, match=r'Line 3 of .*pets\.0\.jsonl is not one'):
        journal(tmp_path).results()


@pytest.mark.parametrize('length', [0, 5, -1, -4])
def test_what_an_interruption_tore_is_done_again(tmp_path, length):
    with journal(tmp_path).writer(0) as writer:
        writer.add(0, pairs=[])
    path = tmp_path / 'pets.0.jsonl'
    whole = path.read_bytes()
    path.write_bytes(whole[:length])
    with journal(tmp_path).writer(0) as writer:
        assert journal(tmp_path).results() == {}
        writer.add(0, pairs=[])
    assert path.read_bytes() == whole


def test_a_loader_worker_that_outlives_its_evaluation_keeps_no_lock(tmp_path):
    writer = journal(tmp_path).writer(0)
    reader, ready = os.pipe()
    worker = os.fork()
    if worker == 0:
        os.write(ready, b'1')
        signal.pause()
    try:
        os.read(reader, 1)
        writer._file.close()  # as the end of the evaluation does
        with journal(tmp_path).writer(0) as other:
            other.add(3, pairs=[[0, 0, 1]])
    finally:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)
    assert list(journal(tmp_path).results()) == [3]
