"""Imports between the rooms of the package run one way, and the tour names files that exist."""

import ast
import re
from pathlib import Path

import pytest

from loading import load_file

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'groupvit_mmseg'
# A room may import from the lists before its own; rooms of one list do not know each other.
ORDER = (
    (
        '_openmmlab',
        'atomic_files',
        'error_messages',
        'key_values',
        'launch_record',
        'out_of_memory',
        'output_paths',
        'image_size',
        'palettes',
        'registry',
        'torch_versions',
    ),
    ('text', 'checkpoints', 'visualization', 'animation'),
    ('dataset_meta', 'openmmlab_entries', 'openmmlab_names', 'config_files', 'results'),
    ('command_line',),
    ('datasets', 'conversion'),
    ('models',),
    ('evaluation', 'inference', 'export'),
    ('engine',),
    ('benchmark',),
)
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}


def rooms_imported(path):
    """Rooms of the package that a file imports from."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}, line {node.lineno}: write the whole name.'
            names = [f'{node.module}.{alias.name}' for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition('.')
            if package == PACKAGE.name and rest:
                yield rest.partition('.')[0]


def modules():
    """Every module of the package but the one that registers all rooms, with its room."""
    for path in sorted(PACKAGE.rglob('*.py')):
        parts = path.relative_to(PACKAGE).with_suffix('').parts
        if parts != ('__init__',):
            yield pytest.param(path, parts[0], id='.'.join(parts))


def test_every_room_has_a_place():
    assert {param.values[1] for param in modules()} == set(RANK)


@pytest.mark.parametrize('path,room', list(modules()))
def test_imports_run_one_way(path, room):
    for other in rooms_imported(path):
        assert other == room or RANK[other] < RANK[room], f'{path} imports {other}'


def python_files():
    """Every module of the package and every script."""
    for folder in ('groupvit_mmseg', 'groupvit_cli', 'groupvit_web', 'tools', 'demo', 'docs'):
        for path in sorted((ROOT / folder).rglob('*.py')):
            yield pytest.param(path, id=path.relative_to(ROOT).as_posix())


@pytest.mark.parametrize('path', list(python_files()))
def test_a_module_is_one_idea(path):
    assert len(path.read_text(encoding='utf-8').splitlines()) <= 300


@pytest.mark.parametrize('page', ['docs/tour.md', 'docs/draw_figures.py', 'CONTRIBUTING.md'])
def test_pages_name_files_that_exist(page):
    text = (ROOT / page).read_text(encoding='utf-8')
    named = set(re.findall(r"[`'\s(]((?:[a-z_]+/)+[a-z_]+\.(?:py|svg|png|md))\b", text))
    assert named
    places = (ROOT, PACKAGE, ROOT / 'docs')
    assert [name for name in named if not any((p / name).exists() for p in places)] == []


def test_figures_are_drawn_by_their_script(tmp_path, monkeypatch):
    script = load_file('docs/draw_figures.py')
    folder = script.FOLDER
    monkeypatch.setattr(script, 'FOLDER', tmp_path)
    script.main()
    drawn = sorted(path.name for path in tmp_path.iterdir())
    assert drawn
    for name in drawn:
        assert words_of(tmp_path / name) == words_of(folder / name), 'run docs/draw_figures.py'


def words_of(path):
    """What a figure says, and nothing of how this version of the library draws it."""
    return re.findall(r'<!-- (.*?) -->', path.read_text(encoding='utf-8'))


def functions():
    """Every function of the package: its lines without the docstring, and its arguments."""
    for path in sorted(PACKAGE.rglob('*.py')):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[int(ast.get_docstring(node) is not None) :]
                lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                yield path, node, lines


def test_functions_are_short():
    lengths = sorted(lines for _, _, lines in functions())
    assert len(lengths) > 1000
    assert lengths[len(lengths) // 2] <= 8
    assert lengths[len(lengths) * 9 // 10] <= 25


def test_a_long_constructor_states_its_reason():
    for path in sorted(PACKAGE.rglob('*.py')):
        for owner in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            for node in owner.body if isinstance(owner, ast.ClassDef) else ():
                if isinstance(node, ast.FunctionDef) and node.name == '__init__':
                    count = len(node.args.args) + len(node.args.kwonlyargs) - 1
                    reason = '12 arguments' in ' '.join((ast.get_docstring(owner) or '').split())
                    assert count <= 12 or reason, f'{path}, {owner.name}: {count} arguments'
