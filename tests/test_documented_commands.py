"""Every command of the documentation is one that runs: files, options and targets exist."""

import ast
import re
import shutil
import sys
from argparse import ArgumentParser
from pathlib import Path

import pytest
import typer

from groupvit_cli.app import app

import documented_commands as documented
from loading import load_file

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = documented.all_commands()
# The words before the options of the Python tool, and that tool.
LAUNCHERS = {
    'tools/dist_train.sh': ('CONFIG GPUS', 'tools/train.py'),
    'tools/dist_test.sh': ('CONFIG CHECKPOINT GPUS', 'tools/test.py'),
    'tools/slurm_train.sh': ('PARTITION JOB CONFIG', 'tools/train.py'),
    'tools/slurm_test.sh': ('PARTITION JOB CONFIG CHECKPOINT', 'tools/test.py'),
}
# Words in capitals that stand for one of several choices, or for a number.
CHOICES = {'FORMAT': 'csv', 'SET': 'cc3m', 'GPUS': '2'}
# Commands that this file runs, with the options that make them small.
SMALL_SCENES = ['--num-train', '4', '--num-val', '2', '--num-calib', '2']
RUN_HERE = {
    r'tools/dataset_converters/make_scenes\.py --out data/scenes': SMALL_SCENES,
    r'tools/dataset_converters/make_shards\.py csv pairs\.csv': [],
    r'tools/dataset_converters/url_tables\.py cc3m Train_GCC-training\.tsv': [],
    r'tools/dataset_converters/check_shards\.py data/cc3m/': ['--processes', '1'],
    r'tools/dataset_converters/count_shards\.py data/cc3m/cc3m-\*': [],
    r'tools/analysis_tools/browse_pairs\.py CONFIG --out pairs': [],
    r'tools/analysis_tools/check_golden\.py tests/': [],
}
# Commands that another test runs, in the whole or with a tiny model in the place of CAPITALS.
EXECUTED_BY = {
    r'make quickstart|python tools/quickstart\.py': (
        'tests/tools/test_quickstart.py::test_the_checkpoint_is_there'
    ),
    r'python tools/dataset_converters/make_scenes\.py': (
        'tests/tools/test_make_scenes.py::test_drawn_once'
    ),
    r'python tools/analysis_tools/vocabulary\.py CHECKPOINT': (
        'tests/tools/test_vocabulary_tool.py::test_sets_and_free_text'
    ),
    r'python tools/analysis_tools/retrieve_groups\.py CHECKPOINT': (
        'tests/tools/test_retrieve_groups.py::test_every_segment_gets_a_row'
    ),
    r'python tools/dataset_converters/check_shards\.py data/\*\.tar --parts': (
        'tests/tools/test_shard_passes.py::test_merged_parts_print_and_write_the_same'
    ),
    r'python tools/dataset_converters/filter_shards\.py': (
        'tests/tools/test_shard_passes.py::'
        'test_a_filter_keeps_the_listed_samples_in_shards_of_one_size'
    ),
    r'python tools/dataset_converters/caption_words\.py': (
        'tests/tools/test_shard_passes.py::test_words_of_captions'
    ),
    r'python tools/dataset_converters/embed_captions\.py': (
        'tests/tools/test_shard_passes.py::test_embeddings_of_captions'
    ),
    r'python tools/benchmarks/benchmark_inference\.py': (
        'tests/tools/test_benchmark_inference.py::'
        'test_both_ways_give_equal_labels_and_the_official_one_encodes_twice'
    ),
    r'python tools/benchmarks/measure_texts\.py CONFIG': (
        'tests/tools/test_data_tools.py::test_texts_are_measured_or_one_sentence_says_why_not'
    ),
    r'python tools/benchmarks/measure_loader\.py CONFIG': (
        'tests/tools/test_data_tools.py::test_measure_names_every_transform'
    ),
    r'python tools/benchmarks/measure_step\.py CONFIG': (
        'tests/tools/test_measure_step.py::test_each_variant_is_timed_and_computes_the_same'
    ),
    r'python tools/study\.py \w+': ('tests/tools/test_study.py::test_a_study_from_begin_to_end'),
    r'python tools/train\.py CONFIG': (
        'tests/tools/test_train.py::test_run_says_nothing_that_could_be_prevented'
    ),
    r'python tools/test\.py CONFIG CHECKPOINT': (
        'tests/tools/test_test_tool.py::test_result_file_says_everything_the_number_depends_on'
    ),
}
# Set-up and tests need nothing but this repository and, to install, a package index.
SET_UP = (
    r'(make (venv|test|slow|test-integrations|lint|types|docs|format|lock|wheel|clean|zoo|scenes)|'
    r'pip install|mim (install|search|download|train|test)|groupvit (models|doctor|web)|'
    r'(python -m )?pytest|\.venv/bin/pre-commit|\.ci/run)\b'
)


def test_commands_were_found():
    assert len(COMMANDS) > 150
    sources = {command.source.partition(':')[0] for command in COMMANDS}
    assert {'README.md', 'docs/training.md', 'tools/train.py'} < sources
    assert {f'configs/{name}/README.md' for name in ('fcn', 'groupvit', 'baselines')} < sources


def unique(commands):
    """Commands of different texts, by a name."""
    names = {command.text: command for command in reversed(commands)}
    return [pytest.param(one, id=f'{one.source} {text[:60]}') for text, one in names.items()]


@pytest.mark.parametrize('command', unique(COMMANDS))
def test_command_is_known(command, monkeypatch, capsys):
    check(command.words, monkeypatch, capsys)


def check(words, monkeypatch, capsys):
    """Fail where a file, an option, a target or an extra of a command does not exist."""
    program, *rest = words
    if program in ('bash', '.venv/bin/python') and rest[0].startswith('tools/'):
        program, *rest = rest
    missing = [word for word in words if re.match(r'(configs|tests|tools|demo|docs)/', word)]
    assert [word for word in missing if not (ROOT / word.partition('::')[0]).exists()] == []
    if program in LAUNCHERS:
        before, tool = LAUNCHERS[program]
        count = len(before.split())
        assert len(rest) >= count, f'usage: {program} {before}'
        config = [rest[before.split().index('CONFIG')]]
        checkpoint = ['CHECKPOINT'] if 'CHECKPOINT' in before else []
        parse(tool, [*config, *checkpoint, *rest[count:]], monkeypatch, capsys)
    elif program == 'groupvit':
        parse_with_typer(rest)
    elif program == 'make':
        targets = re.findall(r'^([a-z-]+):', (ROOT / 'Makefile').read_text(), re.MULTILINE)
        assert set(rest) <= set(targets)
    elif program == 'pip':
        extras = re.findall(r'(?:^|groupvit-mmseg|\.)\[(\w+)\]', ' '.join(rest))
        setup = (ROOT / 'setup.py').read_text(encoding='utf-8')
        assert rest[0] == 'install'
        assert [extra for extra in extras if f"'{extra}':" not in setup] == []
    elif program == 'python' and rest[0].startswith(('tools/', 'demo/')):
        parse(rest[0], rest[1:], monkeypatch, capsys)
    elif re.match(SET_UP, ' '.join(words)) is None:
        pytest.fail(f'{program} is no program that the documentation may use.')


def parse_with_typer(words):
    """Read the words with the parser of the command ``groupvit``; fail with its message."""
    name, *rest = words
    commands = typer.main.get_command(app).commands
    assert name in commands
    try:
        commands[name].make_context(name, [CHOICES.get(word, word) for word in rest])
    except Exception as error:  # of click, which some versions of typer bring along
        if not hasattr(error, 'format_message'):
            raise
        pytest.fail(f'groupvit {" ".join(words)}: {error.format_message()}')


class Parsed(BaseException):
    """Ends a tool when its options are read."""


def parse(tool, words, monkeypatch, capsys):
    """Read the words with the tool's own parser; fail with its message."""

    def ending(read):
        def parse_args(self, args=None, namespace=None):
            raise Parsed(read(self, args, namespace))

        return parse_args

    for method in ('parse_args', 'parse_intermixed_args'):
        monkeypatch.setattr(ArgumentParser, method, ending(getattr(ArgumentParser, method)))
    monkeypatch.setattr(sys, 'argv', [tool, *(CHOICES.get(word, word) for word in words)])
    try:
        load_file(tool).main()
    except Parsed:
        return
    except SystemExit:
        pytest.fail(f'{tool} {" ".join(words)}: {capsys.readouterr().err}')
    pytest.fail(f'{tool} reads no options')


@pytest.mark.parametrize(
    'words',
    [
        'python tools/train.py CONFIG --resum-from x',
        'python tools/evaluate.py CHECKPOINT --out DIR --protocol mine',
        'python tools/test.py configs/none.py CHECKPOINT',
        'tools/dist_train.sh configs/groupvit_pretrain.py 8 --fp16',
        'tools/slurm_train.sh CONFIG',
        'make quickly',
        'groupvit segment photos --word cat --out DIR',
        'groupvit draw photos',
        'pip install groupvit-mmseg[everything]',
        'conda install groupvit',
    ],
)
def test_wrong_commands_fail(words, monkeypatch, capsys):
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check(tuple(words.split()), monkeypatch, capsys)


@pytest.mark.parametrize('test', sorted(set(EXECUTED_BY.values())))
def test_tests_that_run_commands_exist(test):
    path, _, name = test.partition('::')
    tree = ast.parse((ROOT / path).read_text(encoding='utf-8'))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    pattern = next(pattern for pattern, value in EXECUTED_BY.items() if value == test)
    script = re.search(r'(\w+)\\\.py', pattern)[1]
    assert script in (ROOT / path).read_text(encoding='utf-8')


def matches(patterns, command):
    """Those of the patterns that a command begins with, or whose tool it calls."""
    return [pattern for pattern in patterns if re.search(pattern, command.text)]


def test_tables_name_commands_that_are_documented():
    for pattern in [*RUN_HERE, *EXECUTED_BY]:
        assert any(re.search(pattern, command.text) for command in COMMANDS), pattern


def test_other_commands_say_what_they_need():
    """By a word in CAPITALS, a comment ``# needs ...``, or a line ``Data: ...`` of the section."""
    unmarked = [
        f'{command.source} {command.text}'
        for command in COMMANDS
        if not command.says_needs
        and not matches([*RUN_HERE, *EXECUTED_BY], command)
        and not re.match(SET_UP, command.text)
    ]
    assert unmarked == [], '\n'.join(unmarked)


@pytest.fixture
def folder(tmp_path, monkeypatch, tiny_config, tiny_data):
    """A work directory with the files that documented commands read, tiny."""
    for name in ('configs', 'tests', 'tools'):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / 'data/cc3m').mkdir(parents=True)
    for number in range(2):
        source = tiny_data / f'pairs-{number}.tar'
        shutil.copy(source, tmp_path / f'data/cc3m/cc3m-{number:06d}.tar')
    (tmp_path / 'photos').symlink_to(tiny_data / 'images')
    rows = ''.join(f'{i}.png,a red wall\n' for i in range(4))
    (tmp_path / 'pairs.csv').write_text(f'image,caption\n{rows}')
    (tmp_path / 'Train_GCC-training.tsv').write_text('a red wall\thttps://example.org/1.jpg\n')
    tiny_config.dump(tmp_path / 'config.py')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    'command', unique([command for command in COMMANDS if matches(RUN_HERE, command)])
)
def test_command_runs(command, folder, capsys):
    _, tool, *words = command.words
    (pattern,) = matches(RUN_HERE, command)
    words = ['config.py' if word == 'CONFIG' else word for word in words]
    if '--num-train' in words:  # sizes of the whole data set
        words = words[: words.index('--num-train')]
    argv = [*words, *RUN_HERE[pattern]]
    assert run(tool, argv) == 0, capsys.readouterr().err


def run(tool, argv):
    """Exit status of a tool."""
    module = load_file(tool)
    original, sys.argv = sys.argv, [tool, *argv]
    try:
        return module.main() or 0
    except SystemExit as end:
        return end.code or 0
    finally:
        sys.argv = original
