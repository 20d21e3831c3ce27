"""The tool of mutation testing: what it counts, and that killed mutants are those tests notice."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from loading import load_file

HERE = Path(__file__).resolve().parent
mutants = load_file(HERE / 'mutants.py')


@pytest.mark.parametrize('name', mutants.PARTS)
def test_the_files_of_every_part_exist(name):
    part = mutants.PARTS[name]
    assert part.sources
    assert part.tests
    for source in part.sources:
        assert (mutants.ROOT / 'groupvit_mmseg' / source).is_file()
    for test in part.tests + part.slow:
        assert (mutants.ROOT / 'tests' / test).is_file()


CODE = """
def x_f__mutmut_orig(a, limit=3):
    if a > limit:
        print_log(f'{a} is above the limit.', level=3)
        raise ValueError(f'{a} is above {limit}.')
    return a, 'mean', f'iter_{a}'
def x_f__mutmut_1(a, limit=3):
"""
ORIGINAL = CODE.split('orig(a, limit=3):\n')[1].split('def ')[0]


@pytest.mark.parametrize(
    'old, new, is_wording',
    [
        ("f'{a} is above {limit}.'", 'None', True),
        ("f'{a} is above {limit}.'", "f'XX{a} is above {limit}.XX'", True),
        ("f'{a} is above the limit.'", 'None', True),
        ('level=3', 'level=4', True),
        ('a > limit', 'a >= limit', False),
        ("'mean'", "'MEAN'", False),
        ('iter_', 'ITER_', False),
        ('ValueError', 'TypeError', False),
    ],
)
def test_mutants_of_words_are_told_from_others(old, new, is_wording):
    assert old in ORIGINAL
    code = CODE + ORIGINAL.replace(old, new)
    assert mutants.KINDS.wording(['m.x_f__mutmut_1'], code) == ['m.x_f__mutmut_1'] * is_wording


def test_the_table_counts_wording_and_what_is_left_apart(tmp_path):
    meta = tmp_path / 'mutants' / 'groupvit_mmseg' / 'a.py.meta'
    meta.parent.mkdir(parents=True)
    codes = dict(killed=1, hung=24, crashed=-11, survived=0, no_test=33, everywhere=1000)
    codes |= dict(words=34, left=None, stopped=2)
    meta.write_text(json.dumps({'exit_code_by_key': codes}))
    count = mutants.count(meta)
    assert count == ('a.py', 3, ['survived', 'no_test', 'everywhere'], 1, 2)
    assert '| `a.py` (2 not tried) | 6 | 3 | 3 | 50.0% | 1 |' in mutants.table([count])
    assert mutants.table([count, count]).endswith(
        '| `all` (4 not tried) | 12 | 6 | 6 | 50.0% | 2 |'
    )


@pytest.mark.faults
def test_killed_are_the_mutants_that_a_test_notices(tmp_path, monkeypatch):
    """A package of two functions: what its tests notice, an equal program, what none reaches."""
    pytest.importorskip('mutmut', reason='mutmut is not installed')
    tree = tmp_path / 'tree'
    (tree / 'groupvit_mmseg').mkdir(parents=True)
    (tree / 'tests').mkdir()
    (tree / 'pyproject.toml').write_text('')
    for name in mutants.COPIED:
        (tree / name).mkdir()
    (tree / 'groupvit_mmseg' / '__init__.py').write_text('')
    (tree / 'groupvit_mmseg' / 'small.py').write_text(
        'def area(a, b):\n    return max(a, 0) * b\n\n'
        'def first(values):\n    return list(zip(values, values, strict=True))[0]\n\n'
        'def unused():\n    return 1\n'
    )
    (tree / 'tests' / 'test_small.py').write_text(
        'from groupvit_mmseg.small import area, first\n'
        'def test_area():\n    assert area(3, 2) == 6\n'
        'def test_first():\n    assert first([4, 5]) == (4, 4)\n'
    )
    monkeypatch.setattr(mutants, 'ROOT', tree)
    part = SimpleNamespace(sources=('small.py',), tests=('test_small.py',), slow=())
    folder = tmp_path / 'out'
    mutants.prepare(part, folder, again=False)
    assert mutants.run(part, folder), (folder / 'log.txt').read_text()
    (meta,) = mutants.meta_files(part, folder)
    functions = mutants.KINDS.functions(meta.with_suffix('').read_text())
    survivors = '\n'.join(
        mutants.KINDS.difference(functions, name) for name in mutants.count(meta).survivors
    )
    for changed in ('max(a, 1) * b', 'strict=False', 'return 2'):
        assert changed in survivors
    for noticed in ('max(a, 0) / b', 'zip(values, values, strict=True))[1]'):
        assert noticed not in survivors
        assert noticed in meta.with_suffix('').read_text()
    assert mutants.count(meta).killed > len(mutants.count(meta).survivors)


@pytest.mark.parametrize('parts, sentence', [(['nothing'], 'no part nothing: choose from losses')])
def test_an_unknown_part_is_one_sentence(parts, sentence, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['mutants.py', *parts])
    with pytest.raises(SystemExit):
        mutants.main()
    assert sentence in capsys.readouterr().err
