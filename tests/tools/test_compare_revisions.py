"""tools/benchmarks/compare_revisions.py on small repositories of git, and on this one."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from loading import load_file

ROOT = Path(__file__).resolve().parents[2]
PATH = ROOT / 'tools/benchmarks/compare_revisions.py'
COMMAND = ('--', 'tools/train.py', 'tiny.py')
# Trains nothing: a step's loss is a factor of the package, with what the config adds to it.
STAND_IN = """
import argparse, json, os, signal, time
from pathlib import Path
from plugin import FACTOR

parser = argparse.ArgumentParser()
parser.add_argument('config', type=Path)
parser.add_argument('--work-dir', type=Path)
parser.add_argument('--cfg-options', nargs='+', action='extend', default=[])
parser.add_argument('--amp', action='store_true')
args = parser.parse_args()
options = dict(option.split('=') for option in args.cfg_options)
settings = dict(steps=4, name='loss', timer='time')
settings['interval'] = options['default_hooks.logger.interval']
exec(args.config.read_text(), globals(), settings)
with open(settings.get('journal', os.devnull), 'a') as journal:
    print(Path.cwd().name, os.getpid(), sorted(args.cfg_options), file=journal)
if 'signal' in settings:
    os.kill(os.getppid(), settings['signal'])
    time.sleep(3)
    print('outlived the tool', file=open(settings['journal'], 'a'))
log = args.work_dir / '20260102_030405' / 'vis_data' / 'scalars.json'
log.parent.mkdir(parents=True)
lines = [
    {settings['name']: FACTOR / step, 'grad_norm': 1.5, settings['timer']: 0.25}
    | {'step': step, 'iter': step}
    for step in range(1, 1 + settings['steps'], int(settings['interval']))
]
lines[-1][settings['name']] += settings.get('noise', 0)
log.write_text(''.join(json.dumps(line) + chr(10) for line in lines))
"""


@pytest.fixture(scope='module')
def tool():
    return load_file(PATH)


def git(*words, cwd):
    """What a command of git prints."""
    names = ('-c', 'user.name=A', '-c', 'user.email=a@example.org')
    command = ['git', '--no-optional-locks', *names, *map(str, words)]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout


def state_of(folder):
    """What a tool that only reads a repository leaves as it is."""
    questions = ('worktree list', 'status --porcelain', 'for-each-ref', 'ls-files --stage')
    answers = [git(*question.split(), cwd=folder) for question in questions]
    inside = sorted(path.relative_to(folder) for path in folder.rglob('*'))
    return [*answers, inside, (folder / '.git/index').read_bytes()]


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder in which the tool makes its own; empty in the end."""
    folder = tmp_path / 'temporary'
    folder.mkdir()
    monkeypatch.setenv('TMPDIR', str(folder))
    monkeypatch.setattr(tempfile, 'tempdir', str(folder))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def repository(tmp_path, monkeypatch, temporary):
    """Two commits with equal losses, where the working directory is."""
    folder = tmp_path / 'repository'
    (folder / 'tools').mkdir(parents=True)
    git('init', '--quiet', cwd=folder)
    for factor in ('FACTOR = 1.5\n', 'FACTOR = 3 / 2\n'):
        (folder / 'plugin.py').write_text(factor)
        (folder / 'tools/train.py').write_text(STAND_IN)
        (folder / 'tiny.py').write_text('')
        git('add', '.', cwd=folder)
        git('commit', '--quiet', '--message', factor, cwd=folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def compare(tool, repository, capfd):
    """Calls the tool, which must change nothing; gives status, output and errors."""

    def main(*words):
        before = state_of(repository)
        try:
            status = tool.main([*map(str, words)])
        except SystemExit as end:
            status = end.code
        assert state_of(repository) == before
        return (status, *capfd.readouterr())

    return main


def cells(table):
    """The cells of each row behind the row's label."""
    rows = [line.strip('|').split('|') for line in table.splitlines() if line.startswith('|')]
    return {label.strip(): [cell.strip() for cell in row] for label, *row in rows}


def test_equal_losses_are_identical_and_both_revisions_are_timed(compare, repository, tmp_path):
    journal, file = tmp_path / 'journal', tmp_path / 'result.json'
    config = tmp_path / 'own.py'
    config.write_text(f'journal = {str(journal)!r}')
    command = ('--', 'python', 'tools/train.py', config, '--amp', '--cfg-options', 'model.depth=3')
    status, out, err = compare('HEAD~1', 'HEAD', '--rounds', 2, '--json', file, *command)
    assert status == 0, err
    rows = cells(out)
    commits = [git('rev-parse', '--short', name, cwd=repository).strip() for name in ('@~1', '@')]
    assert rows['revision'][:2] == [f'HEAD~1 ({commits[0]})', f'HEAD ({commits[1]})']
    assert rows['steps compared'][:2] == ['4', '4']
    assert rows['scalars compared'][:2] == ['2', '2']
    assert rows['first difference'][:2] == ['identical', 'identical']
    assert rows['seconds of the step'] == ['0.25', '0.25', '1.00 x']
    assert 'Compared: loss, grad_norm.' in out
    result = json.loads(file.read_text())
    assert (result['is_equal'], result['first_difference']) == (True, None)
    for side, position in (('before', 0), ('after', 1)):
        assert result[side]['commit'] == commits[position]
        assert len(result[side]['seconds']) == 2
        assert all(0 < each['processor'] < 60 for each in result[side]['seconds'])
    # In turns, each with the settings that the user gave and those of the tool.
    lines = journal.read_text().splitlines()
    assert [line.split()[0] for line in lines] == ['before', 'after'] * 2
    added = ['default_hooks.logger.interval=1', 'log_processor.window_size=1', 'model.depth=3']
    assert all(line.endswith(str(added)) for line in lines)


def test_a_change_of_the_working_tree_is_found(compare, repository, tmp_path):
    (repository / 'plugin.py').write_text('FACTOR = 1.5000000000000002\n')
    status, out, _ = compare('HEAD', '.', '--json', tmp_path / 'result.json', *COMMAND)
    assert status == 1
    rows = cells(out)
    assert rows['revision'][1].endswith(' and changes)')
    assert rows['first difference: step 1, loss'][:2] == ['1.5', '1.5000000000000002']
    assert 'give --rounds 2' in out
    first = json.loads((tmp_path / 'result.json').read_text())['first_difference']
    assert first == dict(step=1, name='loss', before=1.5, after=1.5000000000000002)
    assert compare('HEAD', 'HEAD~1', *COMMAND)[0] == 0  # committed files, not these


def test_a_link_to_a_folder_is_a_tracked_file_too(compare, repository):
    (repository / 'real').mkdir()
    (repository / 'real/plugin.py').write_text('FACTOR = 1.5\n')
    (repository / 'link').symlink_to('real')
    (repository / 'plugin.py').write_text('from link.plugin import FACTOR\n')
    git('add', '.', cwd=repository)
    git('commit', '--quiet', '--message', 'a link', cwd=repository)
    status, _, err = compare('HEAD', '.', *COMMAND)
    assert status == 0, err


def test_the_config_is_not_replaced_from_a_subfolder(compare, repository, monkeypatch):
    monkeypatch.chdir(repository / 'tools')
    status, _, err = compare('HEAD', '.', '--json', '../tiny.py', *COMMAND)
    assert status == 2
    assert 'would replace' in err


def test_a_time_that_one_revision_lacks_is_left_out(compare, repository):
    text = (repository / 'tools/train.py').read_text()
    (repository / 'tools/train.py').write_text(text.replace("settings['timer']", "'other'"))
    status, out, err = compare('HEAD', '.', *COMMAND)
    assert status == 0, err
    assert 'seconds of the step' not in out
    assert 'seconds of the clock' in out


def test_a_new_file_counts_once_git_knows_it(compare, repository):
    (repository / 'other.py').write_text('OTHER = 1.5\n')
    (repository / 'plugin.py').write_text('from other import OTHER as FACTOR\n')
    status, _, err = compare('HEAD', '.', *COMMAND)
    assert status == 2
    assert "No module named 'other'" in err
    git('add', 'other.py', cwd=repository)
    assert compare('HEAD', '.', *COMMAND)[0] == 0


def test_a_tolerance_is_relative(compare, repository):
    (repository / 'plugin.py').write_text('FACTOR = 1.515\n')
    assert compare('HEAD', '.', '--tolerance', 0.009, *COMMAND)[0] == 1
    status, out, _ = compare('HEAD', '.', '--tolerance', 0.011, *COMMAND)
    assert status == 0
    assert cells(out)['first difference'][:2] == ['none above 0.011'] * 2


def test_a_command_that_does_not_repeat_itself_is_told(compare, tmp_path):
    config = tmp_path / 'noisy.py'
    counter = tmp_path / 'counter'
    # The third run, the second of BEFORE, differs.
    config.write_text(
        f'with open({str(counter)!r}, "a+") as file:\n'
        '    print(file=file)\n'
        '    file.seek(0)\n'
        '    noise = float(len(file.readlines()) == 3)\n'
    )
    status, out, _ = compare('HEAD', '.', '--rounds', 2, '--', 'tools/train.py', config)
    assert status == 1
    assert cells(out)['first difference'][:2] == ['identical', 'identical']
    sentence = 'not repeatable: loss of step 4 is 0.375 and 1.375 in two runs of HEAD.'
    assert out.count('not repeatable') == 1
    assert sentence in out


def test_steps_end_the_training_without_validation(compare, tmp_path):
    journal, config = tmp_path / 'journal', tmp_path / 'own.py'
    config.write_text(f'journal = {str(journal)!r}')
    assert compare('HEAD', '.', '--steps', 7, '--', 'tools/train.py', config)[0] == 0
    for setting in ('_delete_=True', 'by_epoch=False', 'max_iters=7', 'val_begin=8'):
        assert journal.read_text().count(f"'train_cfg.{setting}'") == 2


def test_data_of_the_working_tree_is_there(compare, repository):
    (repository / 'data').mkdir()
    (repository / 'data/steps').write_text('3')
    (repository / 'tiny.py').write_text('steps = int(open("data/steps").read())')
    status, out, err = compare('.', '.', *COMMAND)
    assert status == 0, err
    assert cells(out)['steps compared'][0] == '3'


def test_a_command_without_a_timer_has_no_seconds_of_a_step(compare, repository, tmp_path):
    (repository / 'tiny.py').write_text('timer = "other"')
    status, out, err = compare('.', '.', '--json', tmp_path / 'result.json', *COMMAND)
    assert status == 0, err
    seconds = [label for label in cells(out) if label.startswith('seconds')]
    assert seconds == ['seconds of the processor', 'seconds of the clock']


@pytest.mark.parametrize(
    'config,plugin,sentence',
    [
        ('name = "accuracy"', 'FACTOR = 1.5', 'The command logged no loss in HEAD~1'),
        ('', 'FACTOR = 1.5 / 0', 'The command failed with status 1 in .:'),
        ('steps = FACTOR // 1 + 2', 'FACTOR = 2', 'TypeError'),
        (
            'steps = 3 if FACTOR == 1.5 else 4',
            'FACTOR = 1',
            'loss was logged at 3 steps, the last one 3, then at 4, the last one 4',
        ),
        (
            'name = "loss_a" if FACTOR == 1.5 else "loss_b"',
            'FACTOR = 1',
            'logged no loss of the same name',
        ),
    ],
)
def test_runs_that_cannot_be_compared(compare, repository, tmp_path, config, plugin, sentence):
    own = tmp_path / 'own.py'
    own.write_text(config)
    (repository / 'plugin.py').write_text(plugin)
    status, out, err = compare('HEAD~1', '.', '--', 'tools/train.py', own)
    assert (status, out) == (2, '')
    assert err.count('error: ') == 1
    assert sentence in err
    if '1.5 / 0' in plugin:
        assert 'ZeroDivisionError: float division by zero\nerror: ' in err


@pytest.mark.parametrize(
    'words,sentence',
    [
        (['HEAD', 'nowhere', *COMMAND], 'nowhere is no revision of '),
        (['HEAD', '.', '--', 'tools/train.py'], 'the command has no config'),
        (['HEAD', '.', '--', 'tools/train.py', '--amp', 'tiny.py'], 'the command has no config'),
        (['HEAD', '.'], 'the command has no config'),
        (['HEAD', '.', '--', 'tools/train.py', 'none.py'], 'There is no none.py in HEAD'),
        (['HEAD', '.', '--', 'none.py', 'tiny.py'], 'There is no none.py in HEAD'),
        (['HEAD', '.', '--', str(PATH), 'tiny.py'], 'each revision runs its own'),
        (['HEAD', '.', *COMMAND, '--work-dir=x'], 'leave --work-dir out'),
        (['HEAD', '.', '--rounds', '0', *COMMAND], '--rounds and --steps must be 1 or more'),
        (['HEAD', '.', '--steps', '0', *COMMAND], '--rounds and --steps must be 1 or more'),
        (['HEAD', '.', '--tolerance', '-1', *COMMAND], '--tolerance must be 0 or more'),
        (['HEAD', '.', '--json', 'tools', *COMMAND], '--json tools is a folder'),
    ],
)
def test_wrong_input_is_one_sentence(compare, words, sentence):
    status, out, err = compare(*words)
    assert (status, out) == (2, '')
    assert err.count('error: ') == 1
    assert sentence in err


def test_outside_of_a_checkout(tool, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('GIT_CEILING_DIRECTORIES', str(tmp_path.parent))
    assert tool.main(['HEAD', '.', *COMMAND]) == 2
    assert 'not a git repository' in capfd.readouterr().err


def is_alive(journal):
    """Whether the process that wrote the line of a journal is there."""
    (line,) = journal.read_text().splitlines()
    try:
        os.kill(int(line.split()[1]), 0)
    except ProcessLookupError:
        return False
    return True


def test_ctrl_c_leaves_nothing_behind(compare, tmp_path):
    journal, config = tmp_path / 'journal', tmp_path / 'own.py'
    config.write_text(f'journal = {str(journal)!r}\nsignal = {int(signal.SIGINT)}')
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        status, out, err = compare('HEAD', '.', '--', 'tools/train.py', config)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (status, out, err) == (130, '', 'Interrupted: nothing was compared.\n')
    assert not is_alive(journal)


@pytest.mark.slow
def test_a_signal_of_a_scheduler_leaves_nothing_behind(repository, tmp_path):
    journal, config = tmp_path / 'journal', tmp_path / 'own.py'
    config.write_text(f'journal = {str(journal)!r}\nsignal = {int(signal.SIGTERM)}')
    before = state_of(repository)
    words = [PATH, 'HEAD', '.', '--', 'tools/train.py', config]
    env = dict(os.environ, PYTHONPATH=str(ROOT))
    run = subprocess.run([sys.executable, *words], env=env, capture_output=True, text=True)
    assert run.returncode == 130, run.stderr
    assert not is_alive(journal)
    assert state_of(repository) == before


@pytest.fixture
def clone(tmp_path, monkeypatch, temporary):
    """The commit of this checkout in a repository of its own, where the working directory is."""
    if not (ROOT / '.git').exists():
        pytest.skip('the tests do not run in a checkout of git')
    folder = tmp_path / 'clone'
    git('clone', '--quiet', '--shared', ROOT, folder, cwd=tmp_path)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.slow
def test_a_training_notices_a_changed_loss(tool, clone, tiny_config, tmp_path, capfd):
    config = tmp_path / 'tiny.py'
    tiny_config.dump(config)
    words = ['HEAD', '.', '--steps', '2', '--', 'tools/train.py', str(config)]
    assert tool.main(words) == 0, capfd.readouterr().err
    out = capfd.readouterr().out
    assert cells(out)['first difference'][0] == 'identical'
    assert cells(out)['steps compared'][0] == '2'
    assert 'loss, loss_contrastive, loss_multi_label, grad_norm, lr.' in out

    losses = clone / 'groupvit_mmseg/models/losses.py'
    text = losses.read_text()
    assert 'logits = scale * rows @ columns.T' in text
    losses.write_text(text.replace('logits = scale * rows', 'logits = 1.000001 * scale * rows', 1))
    assert tool.main(words) == 1
    assert 'first difference: step 1, ' in capfd.readouterr().out
