"""Temporary folders of killed processes are removed by the next run, those of living ones kept."""

import os
import signal
import socket

from groupvit_mmseg.datasets.staging import staging_folder


def in_child(parent, act):
    """Enter a staging folder in a forked process, which then acts; return its number."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with staging_folder(parent, '.plan-') as folder:
                (folder / 'plan').write_text('x')
                os.write(writer, b'1')
                act()
        finally:
            os._exit(0)
    os.read(reader, 1)
    return child


def plans(parent):
    return list(parent.glob('.plan-*'))


def test_the_folder_of_a_killed_process_is_removed(tmp_path):
    child = in_child(tmp_path, signal.pause)
    before = plans(tmp_path)
    with staging_folder(tmp_path, '.plan-') as own:
        beside = plans(tmp_path)  # while that process lives
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert (len(before), len(beside)) == (1, 2)
        with staging_folder(tmp_path, '.plan-') as other:
            assert sorted(plans(tmp_path)) == sorted([own, other])
    assert plans(tmp_path) == []


def test_other_folders_are_left_alone(tmp_path):
    host = socket.gethostname()
    folders = [tmp_path / name for name in (f'.plan-{host}-mine', 'data', '.other-x')]
    of_another_machine = tmp_path / '.plan-another-machine-x'
    for each in (*folders, of_another_machine):
        each.mkdir()
        (each / 'notes').touch()
    (of_another_machine / '.in-use').touch()
    with staging_folder(tmp_path, '.plan-') as folder:
        assert folder.is_dir()
    assert all((each / 'notes').exists() for each in (*folders, of_another_machine))
