"""First contact: the import, its silence, its error messages, the packaging."""

import re
import subprocess
import sys
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest

import groupvit_mmseg
from groupvit_mmseg import _openmmlab

ROOT = Path(__file__).resolve().parents[1]

HIDE_OPENMMLAB = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {'mmengine', 'mmcv', 'mmseg', 'mmpretrain'}:
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)
sys.meta_path.insert(0, Hide())
import groupvit_mmseg
"""

FAILING = """
import sys
class Break:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            raise {error}
sys.meta_path.insert(0, Break())
import groupvit_mmseg
"""
# Module, the error that its import raises in the wild, and the end of the sentence.
FAILURES = [
    (
        'torchvision',
        "RuntimeError('operator torchvision::nms does not exist')",
        'run: pip install --upgrade torch torchvision',
    ),
    (
        'cv2',
        "ImportError('libGL.so.1: cannot open shared object file: No such file or directory')",
        'pip install --force-reinstall --no-deps opencv-python-headless',
    ),
    (
        'mmcv',
        "ModuleNotFoundError(\"No module named 'mmcv._ext'\", name='mmcv._ext')",
        'mmpretrain, then run: pip install "groupvit-mmseg[onedl]"',
    ),
    (
        'mmseg',
        "AssertionError('MMCV==2.2.0 is used but incompatible. Please install mmcv<2.2.0.')",
        'install one build whole, as docs/faq.md says',
    ),
    (
        'mmengine',
        "ModuleNotFoundError(\"No module named 'pkg_resources'\", name='pkg_resources')",
        'run: pip install "setuptools<81"',
    ),
]


def python(*args):
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, cwd=ROOT)


def test_import_is_silent():
    # Before 2.2 torch leaves a folder to be removed at the end.
    # Python warns of escapes in old packages when it compiles them, the first time only.
    ignored = ('ignore::ResourceWarning', 'ignore:invalid escape')
    options = ('-W', 'default', *(part for text in ignored for part in ('-W', text)))
    done = python(*options, '-c', 'import groupvit_mmseg')
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


@pytest.mark.parametrize(
    'program,sentence',
    [
        (HIDE_OPENMMLAB, 'run: pip install "groupvit-mmseg[onedl]"'),
        (FAILING.format(module=FAILURES[0][0], error=FAILURES[0][1]), FAILURES[0][2]),
    ],
)
def test_unusable_environment_is_one_sentence(program, sentence):
    done = python('-c', program)
    last_line = done.stderr.strip().splitlines()[-1]
    assert done.returncode != 0
    assert last_line.startswith('ImportError: ')
    assert last_line.endswith(sentence)


@pytest.mark.parametrize('module, error, end', FAILURES)
def test_known_failures_of_the_import_have_a_remedy(module, error, end, monkeypatch):
    def fail(name):
        raise eval(error)

    monkeypatch.setattr(_openmmlab.importlib, 'import_module', fail)
    with pytest.raises(ImportError) as caught:
        _openmmlab.import_openmmlab()
    assert str(caught.value).endswith(end)


def test_two_builds_are_named_whether_the_import_fails_or_not(monkeypatch):
    found = {'mmengine': '0.10.7', 'mmcv': '2.1.0', 'onedl-mmcv': '2.3.6'}
    monkeypatch.setattr(_openmmlab, '_version', found.get)
    sentence = (
        '^mmcv and onedl-mmcv are both installed, and each overwrites files of the other; run: '
        r'pip uninstall --yes mmengine mmcv onedl-mmcv && pip install "groupvit-mmseg\[onedl\]"$'
    )
    with pytest.warns(UserWarning, match=sentence):
        _openmmlab.import_openmmlab()
    monkeypatch.setattr(_openmmlab, 'MODULES', ('mmcv.no_such_module',))
    with pytest.raises(ImportError, match=sentence):
        _openmmlab.import_openmmlab()
    monkeypatch.setattr(_openmmlab, '_version', {'mmcv': '2.1.0'}.get)
    assert _openmmlab.mixed_builds() is None


@pytest.mark.slow
@pytest.mark.parametrize('module, error, end', FAILURES)
def test_known_failures_end_in_one_sentence(module, error, end):
    done = python('-c', FAILING.format(module=module, error=error))
    assert done.stderr.strip().splitlines()[-1].endswith(end)


def test_missing_other_package_keeps_its_own_error():
    done = python(
        '-c', HIDE_OPENMMLAB.replace("'mmengine', 'mmcv', 'mmseg', 'mmpretrain'", "'prettytable'")
    )
    assert done.returncode != 0
    assert (
        done.stderr.strip().splitlines()[-1] == "ModuleNotFoundError: No module named 'prettytable'"
    )
    assert 'import_openmmlab' in done.stderr  # while the package was imported


@pytest.mark.slow
def test_pycocotools_beside_transformers_5_does_not_stop_the_import(tmp_path):
    info = tmp_path / 'pycocotools-2.0.11.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text('Metadata-Version: 2.1\nName: pycocotools\nVersion: 2.0.11\n')
    program = f'import sys; sys.path.insert(0, {str(tmp_path)!r}); import groupvit_mmseg'
    program += "; from importlib.metadata import version; print(version('pycocotools'))"
    done = python('-c', program)
    assert (done.stdout.strip(), done.stderr) == ('2.0.11', '')


def test_the_command_line_starts_without_torch_and_openmmlab():
    heavy = {'torch', 'mmengine', 'mmseg', 'groupvit_mmseg', 'numpy', 'cv2'}
    program = f'import sys, groupvit_cli.app; print(sorted({heavy} & set(sys.modules)))'
    assert python('-c', program).stdout == '[]\n'
    done = python('-m', 'groupvit_cli', '--help')
    assert (done.returncode, done.stderr) == (0, '')
    assert 'segment' in done.stdout


@pytest.mark.slow
def test_import_leaves_out_what_few_functions_need():
    heavy = {'matplotlib', 'nltk', 'textblob', 'pyarrow', 'sklearn', 'onnx', 'pandas'}
    program = f'import sys, groupvit_mmseg; print(sorted({heavy} & set(sys.modules)))'
    assert python('-c', program).stdout == '[]\n'


def test_version_is_a_release_number():
    assert re.fullmatch(r'\d+\.\d+\.\d+', groupvit_mmseg.__version__)


def test_lock_pins_every_requirement_and_names_no_index():
    lock = (ROOT / 'requirements' / 'lock.txt').read_text()
    lines = [line for line in lock.splitlines() if line and not line.startswith('#')]
    pins = [line for line in lines if not line.startswith('    --hash=sha256:')]
    # A hash, or several, after each: pip installs nothing else under these names.
    assert all(pin.endswith(' \\') for pin in pins)
    assert all('--hash' in after for pin, after in pairwise(lines) if pin in pins)
    assert len(pins) > 50
    assert all(re.match(r'^[\w.-]+(\[\w+\])?==[\w.+!-]+ [;\\]', pin) for pin in pins)
    assert '://' not in lock
    locked = {re.split(r'[=\[]', pin)[0].lower() for pin in pins}
    setup = (ROOT / 'setup.py').read_text()
    required = re.findall(r"'([a-z0-9-]+)(?:[><=][^']*)?',", setup.split('install_requires')[1])
    missing = {name for name in required if name not in locked} - {'onedl', 'openmmlab'}
    assert {'torch', 'webdataset'} <= set(required)
    assert not missing


@pytest.mark.slow
def test_wheel_carries_configs_and_tools(tmp_path):
    done = python('-m', 'build', '--wheel', '--no-isolation', '--outdir', str(tmp_path), '.')
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob('*.whl')
    names = zipfile.ZipFile(wheel).namelist()
    assert 'groupvit_mmseg/.mim/configs/groupvit_pretrain.py' in names
    assert 'groupvit_mmseg/.mim/tools/train.py' in names
    assert 'groupvit_cli/app.py' in names
    assert 'groupvit_web/segmentation.py' in names
    assert 'groupvit_web/static/chips.js' in names
    assert 'groupvit = groupvit_cli.app:main' in information(wheel, 'entry_points.txt')
    # mmengine looks for groupvit_mmseg::CONFIG in the first of the packages.
    assert information(wheel, 'top_level.txt').split() == [
        'groupvit_mmseg',
        'groupvit_cli',
        'groupvit_web',
    ]
    assert not [name for name in names if name.startswith('tests/')]


def information(wheel, name):
    """Text of a file in the metadata of a wheel."""
    with zipfile.ZipFile(wheel) as file:
        (path,) = [one for one in file.namelist() if one.endswith(f'.dist-info/{name}')]
        return file.read(path).decode()
