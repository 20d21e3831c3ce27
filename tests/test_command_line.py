"""Exit statuses, sentences and arguments that the tools share."""

import argparse
import os
import subprocess
import sys
from pathlib import Path
from pickle import UnpicklingError

import pytest

from groupvit_mmseg.benchmark.command_line import add_protocol_arguments
from groupvit_mmseg.command_line import (
    add_config_options_argument,
    add_device_argument,
    add_launcher_arguments,
    add_model_config_argument,
    add_pretraining_arguments,
    add_workers_argument,
    export_local_rank,
    pretraining_config,
    tool_main,
    tool_parser,
)
from groupvit_mmseg.error_messages import error_line

CONFIG = 'tests/data/configs/tiny_zeroshot.py'
ROOT = Path(__file__).resolve().parents[1]


def ending(error, **options):
    """The exit status of a tool that raises an error."""

    @tool_main(**options)
    def main():
        raise error

    return main()


@pytest.mark.parametrize('status', [None, 0, 1])
def test_the_status_of_a_tool_that_ends_by_itself_is_its_own(status):
    main = tool_main()(lambda number: number)
    assert main(status) == (status or 0)


@pytest.mark.parametrize(
    'error, line',
    [
        (ValueError('no such\n  set'), 'no such set'),
        (FileNotFoundError(2, 'No such file', 'a.txt'), "[Errno 2] No such file: 'a.txt'"),
        (UnpicklingError('not inert'), 'not inert'),
        (KeyError('X is not in the registry'), 'X is not in the registry'),
        (KeyError('img_path'), 'KeyError: img_path'),
        (RuntimeError(), 'RuntimeError'),
    ],
)
def test_wrong_input_is_one_line_and_status_2(capsys, error, line):
    assert ending(error) == 2
    assert capsys.readouterr() == ('', f'error: {line}\n')


@pytest.mark.parametrize('kind', [AssertionError, AttributeError, IndexError, TypeError])
def test_faults_of_the_tool_keep_their_traceback(kind):
    with pytest.raises(kind):
        ending(kind('why'))
    assert ending(kind('why'), errors=(kind,)) == 2
    assert error_line(kind('why')) == f'{kind.__name__}: why'


def test_a_tool_may_name_fewer_errors():
    with pytest.raises(ValueError, match='why'):
        ending(ValueError('why'), errors=(OSError,))


def test_ctrl_c_is_status_130(capsys):
    assert ending(KeyboardInterrupt()) == 130
    assert ending(KeyboardInterrupt(), interrupted='The same command goes on.') == 130
    assert capsys.readouterr().err == 'Interrupted.\nThe same command goes on.\n'


@pytest.mark.slow
@pytest.mark.parametrize('unbuffered', ['', '1'])
def test_output_that_nobody_reads_ends_the_tool_quietly(unbuffered):
    code = (
        'import sys\nfrom groupvit_mmseg.command_line import tool_main\n'
        "main = tool_main()(lambda: print('x\\n' * 100_000))\nsys.exit(main())"
    )
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'PYTHONUNBUFFERED': unbuffered}
    process = subprocess.Popen(
        [sys.executable, '-c', code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    process.stdout.close()
    assert process.stderr.read() == b''
    assert process.wait() == 141


def test_another_broken_pipe_is_an_error(capfd):
    assert ending(BrokenPipeError(32, 'Broken pipe')) == 2
    assert capfd.readouterr().err == 'error: [Errno 32] Broken pipe\n'


def parse(add, words, *options):
    parser = argparse.ArgumentParser()
    add(parser, *options)
    return parser.parse_args(words)


def test_help_keeps_the_lines_of_the_docstring():
    assert 'one\n\n  two' in tool_parser('one\n\n  two').format_help()
    tool_parser(None)  # python -OO has no docstrings


def test_repeated_arguments():
    assert parse(add_model_config_argument, []).config is None
    assert parse(add_model_config_argument, ['--config=a/b.py']).config == Path('a/b.py')
    assert parse(add_device_argument, ['--device=cuda:1']).device == 'cuda:1'
    assert parse(add_workers_argument, []).workers == 2
    assert parse(add_config_options_argument, ['--cfg-options', 'a.b=1']).cfg_options == {'a.b': 1}
    args = parse(add_protocol_arguments, ['--protocol=tcl', '--change', 'top_k=1', 'stride=32'])
    assert (args.protocol, args.change) == ('tcl', {'top_k': 1, 'stride': 32})
    assert parse(add_protocol_arguments, []).change == {}


def test_the_rank_of_a_launcher_stands_before_that_of_the_command_line(monkeypatch):
    monkeypatch.setenv('LOCAL_RANK', '3')
    args = parse(add_launcher_arguments, ['--local-rank=1', '--launcher=pytorch'])
    export_local_rank(args)
    assert os.environ['LOCAL_RANK'] == '3'
    monkeypatch.delenv('LOCAL_RANK')
    export_local_rank(args)
    assert os.environ['LOCAL_RANK'] == '1'


def test_shards_and_settings_of_the_command_line_are_applied(tiny_config, tmp_path):
    tiny_config.dump(tmp_path / 'config.py')
    words = [str(tmp_path / 'config.py'), '--shards=*.tar', '--cfg-options', 'max_epochs=7']
    cfg = pretraining_config(parse(add_pretraining_arguments, words))
    assert cfg.max_epochs == 7
    assert cfg.train_dataloader.dataset.sources == [dict(shards='*.tar')]
    plain = pretraining_config(parse(add_pretraining_arguments, words[:1]))
    assert plain.train_dataloader == tiny_config.train_dataloader


def test_a_config_without_pairs_is_refused():
    args = parse(add_pretraining_arguments, [str(ROOT / CONFIG)])
    with pytest.raises(ValueError, match='has no `train_dataloader`'):
        pretraining_config(args)
