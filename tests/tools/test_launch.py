"""Launches of several processes: an error is one sentence at the end, and ports do not collide."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from groupvit_mmseg.launch_record import ERROR_FILE, LAUNCHED, record_sentence

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
SAYS = """
import sys, os
from groupvit_mmseg.launch_record import record_sentence
if os.environ['LOCAL_RANK'] == '1':
    if not record_sentence('The shards are missing: name others.'):
        print('error: not launched', file=sys.stderr)
    sys.exit(2)
import time; time.sleep(60)
"""


def launch(script, text, *, processes=2):
    """Run a script in processes through the launcher."""
    script.write_text(text)
    command = [sys.executable, TOOLS / 'launch.py', '--standalone', f'--nproc_per_node={processes}']
    env = {**os.environ, 'PYTHONPATH': str(TOOLS.parent)}
    return subprocess.run(
        [*command, script], capture_output=True, text=True, timeout=120, check=False, env=env
    )


@pytest.mark.parametrize(
    'text, status, last',
    [
        (SAYS, 2, 'error: The shards are missing: name others.'),
        pytest.param(
            "import os, signal; os.environ['LOCAL_RANK'] == '1' and os.kill(os.getpid(), 9)\n"
            'import time; time.sleep(60)',
            137,
            'error: Rank 1 was ended by SIGKILL, and the other processes were stopped.',
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "import os, time; assert os.environ['LOCAL_RANK'] == '0', 'broken'\ntime.sleep(60)",
            1,
            'error: Rank 1 failed with status 1; its own messages are above.',
            marks=pytest.mark.slow,
        ),
    ],
    ids=['sentence', 'killed', 'crashed'],
)
def test_the_reason_is_the_last_line(tmp_path, text, status, last):
    done = launch(tmp_path / 'script.py', text)
    lines = done.stderr.splitlines()
    assert lines[-1] == last
    assert done.returncode == status
    assert sum(last.removeprefix('error: ') in line for line in lines) == 1
    assert 'ChildFailedError' not in done.stderr
    if status == 1:
        assert 'AssertionError: broken' in done.stderr


ENDS = """
import os, pathlib, signal, time
from groupvit_mmseg.launch_record import end_with_launcher
end_with_launcher()
pathlib.Path('rank').write_text(str(os.getpid()))
time.sleep(180)
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='the system ends it on Linux only')
def test_a_process_ends_with_its_launcher(tmp_path):
    """Which cannot end it where it is killed itself."""
    (tmp_path / 'script.py').write_text(ENDS)
    command = [sys.executable, TOOLS / 'launch.py', '--standalone', '--nproc_per_node=1']
    env = {**os.environ, 'PYTHONPATH': str(TOOLS.parent)}
    launcher = subprocess.Popen([*command, tmp_path / 'script.py'], env=env, cwd=tmp_path)
    rank, limit = tmp_path / 'rank', time.monotonic() + 120
    try:
        while not (rank.exists() and rank.read_text()) and time.monotonic() < limit:
            time.sleep(0.05)
        pid = int(rank.read_text())
    finally:
        launcher.kill()
        launcher.wait()
    while is_alive(pid) and time.monotonic() < limit:
        time.sleep(0.05)
    assert time.monotonic() < limit


@pytest.mark.parametrize('asked', [True, False])  # the system lists it until its parent asks
def test_a_process_whose_launcher_has_died_ends_at_once(asked):
    dead = subprocess.Popen([sys.executable, '-c', ''])
    if asked:
        dead.wait()
    while is_alive(dead.pid):
        time.sleep(0.05)
    code = 'from groupvit_mmseg.launch_record import end_with_launcher; end_with_launcher()'
    env = {**os.environ, 'PYTHONPATH': str(TOOLS.parent), LAUNCHED: str(dead.pid)}
    done = subprocess.run([sys.executable, '-c', code], env=env, check=False)
    assert done.returncode == -signal.SIGKILL


def is_alive(pid):
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except OSError:
        return False


@pytest.mark.slow
def test_two_launches_choose_their_ports(tmp_path):
    script = tmp_path / 'script.py'
    meet = (
        'import time, torch.distributed as dist\n'
        "dist.init_process_group('gloo'); time.sleep(3); dist.barrier(); print('met')\n"
    )
    script.write_text(meet)
    command = [sys.executable, TOOLS / 'launch.py', '--standalone', '--nproc_per_node=1', script]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=120)[0].strip() for process in both] == ['met', 'met']


@pytest.mark.parametrize('name', ['dist_train.sh', 'dist_test.sh'])
@pytest.mark.parametrize(
    'env, expected',
    [
        ({}, {'--standalone'}),
        ({'PORT': '29511'}, {'--master_port=29511', '--node_rank=0'}),
        ({'NNODES': '2', 'NODE_RANK': '1'}, {'--master_port=29500', '--node_rank=1', '--nnodes=2'}),
    ],
    ids=['one machine', 'port', 'two machines'],
)
def test_ports_of_the_launchers(tmp_path, name, env, expected):
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    own = {key: value for key, value in os.environ.items() if key not in ('PORT', 'NNODES')}
    args = ['cfg.py', '2'] if name == 'dist_train.sh' else ['cfg.py', 'w.pth', '2']
    done = subprocess.run(
        [TOOLS / name, *args],
        capture_output=True,
        text=True,
        check=True,
        env={**own, **env, 'PYTHON': str(python)},
    )
    words = set(done.stdout.splitlines())
    assert expected <= words
    assert ('--standalone' in words) == ('--standalone' in expected)


def test_without_a_launcher_nothing_is_recorded(tmp_path, monkeypatch):
    monkeypatch.delenv(ERROR_FILE, raising=False)
    assert not record_sentence('no')
    # torchrun itself reads the record, and does not print it at the end: the process does.
    monkeypatch.setenv(ERROR_FILE, str(tmp_path / 'error.json'))
    monkeypatch.delenv(LAUNCHED, raising=False)
    assert not record_sentence('no')
    assert (tmp_path / 'error.json').exists()
    monkeypatch.setenv(LAUNCHED, '1')
    assert record_sentence('yes')
    monkeypatch.setenv(ERROR_FILE, str(tmp_path / 'none' / 'error.json'))
    assert not record_sentence('no place')
