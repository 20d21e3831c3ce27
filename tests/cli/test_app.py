"""The command ``groupvit``: its start, its errors, and the reports of models and doctor."""

import subprocess
import sys
import types

import pytest
import torch

from groupvit_cli import app as command
from groupvit_cli import doctor
from groupvit_mmseg import torch_versions


def call(monkeypatch, *args):
    """Exit status of a command line."""
    monkeypatch.setattr(sys, 'argv', ['groupvit', *map(str, args)])
    with pytest.raises(SystemExit) as stop:
        command.main()
    return stop.value.code or 0


def test_help_imports_neither_torch_nor_openmmlab():
    script = (
        'import sys; sys.argv = ["groupvit", "--help"]\n'
        'from groupvit_cli.app import main\n'
        'try:\n    main()\nexcept SystemExit:\n    pass\n'
        'print([name for name in ("torch", "mmengine", "numpy", "cv2") if name in sys.modules])'
    )
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == '[]', done.stderr
    assert 'segment' in done.stdout


def test_models_are_listed_with_their_licence(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv('GROUPVIT_HOME', str(tmp_path))
    assert call(monkeypatch, 'models') == 0
    printed = capsys.readouterr().out
    assert 'groupvit-gcc-yfcc' in printed
    assert 'non-commercial' in printed


@pytest.mark.parametrize(
    'args,message',
    [
        (
            ('segment', 'a.png', '--out', 'o', '--words', 'cat'),
            'There is no image, video or folder',
        ),
        (('convert', 'groupvit-gcc-yfc', 'x.pth'), 'did you mean groupvit-gcc-yfcc'),
        (('convert', 'x.pth', 'y.pth', '--to', 'tf'), '--to tf: choose plugin, official, hf'),
        (('convert', '--no-check', 'x.pth', 'y.pth'), 'There is no checkpoint at x.pth'),
        (('convert', '--img-size', '8', '8', 'x', 'y'), '--img-size is an option: name SOURCE'),
    ],
)
def test_wrong_input_is_one_sentence_and_status_2(monkeypatch, capsys, tmp_path, args, message):
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, *args) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ')
    assert message in error
    assert len(error.strip().splitlines()) == 1


def test_an_unknown_option_is_status_2(monkeypatch, capsys):
    assert call(monkeypatch, 'segment', 'x', '--colour', 'red') == 2
    assert 'No such option' in capsys.readouterr().err


def test_tools_get_their_own_options(monkeypatch, capsys):
    assert call(monkeypatch, 'evaluate', '--help') == 0
    assert '--protocol' in capsys.readouterr().out
    assert call(monkeypatch, 'export', '--nonsense') == 2


def findings(monkeypatch, check):
    """What one check of the doctor reports."""
    monkeypatch.setattr(doctor, 'CHECKS', (check,))
    return list(check())


def test_doctor_names_what_is_wrong_and_goes_on(monkeypatch, capsys):
    def check_broken():
        raise OSError('libGL.so.1: cannot open shared object file')
        yield

    monkeypatch.setattr(doctor, 'CHECKS', (doctor.check_python, check_broken, doctor.check_others))
    assert doctor.run() == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('ok       Python 3')
    assert lines[1].startswith('problem  broken: OSError: libGL')
    assert lines[-1] == '1 problem found'


def test_doctor_sees_both_builds_and_none(monkeypatch):
    versions = {'mmengine': '0.10.7', 'onedl-mmengine': '0.10.12', 'onedl-mmcv': '2.3.6'}
    monkeypatch.setattr(doctor, 'installed', versions.get)
    found = {finding.text: finding.level for finding in doctor.check_openmmlab()}
    both = next(text for text in found if 'both installed' in text)
    assert found[both] == 'problem'
    assert 'mmengine 0.10.7 and onedl-mmengine 0.10.12' in both
    assert found['onedl-mmcv 2.3.6'] == 'ok'
    assert any(text.startswith('mmsegmentation is missing') for text in found)


def test_doctor_names_devices_and_whether_they_have_bfloat16(monkeypatch):
    memory = types.SimpleNamespace(name='Tesla T4', total_memory=15 * 2**30)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setattr(torch.cuda, 'get_device_properties', lambda _: memory)
    monkeypatch.setattr(
        torch_versions, 'has_bfloat16_products', lambda device: str(device) == 'cuda:1'
    )
    texts = [finding.text for finding in doctor.check_devices()]
    assert texts[:3] == [
        'cpu, no bf16: mixed precision on it is float32',
        'cuda:0 Tesla T4, 15 GiB, no bf16',
        'cuda:1 Tesla T4, 15 GiB, bf16',
    ]


def test_doctor_sees_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / 'file').write_text('')
    finding = doctor.writable(tmp_path / 'file/home', 'set GROUPVIT_HOME')
    assert finding.level == 'problem'
    assert doctor.writable(tmp_path / 'new/home', '').level == 'ok'


def test_doctor_reports_the_weights(monkeypatch, tmp_path):
    monkeypatch.setenv('GROUPVIT_HOME', str(tmp_path))
    monkeypatch.setenv('GROUPVIT_OFFLINE', '1')
    texts = [finding.text for finding in doctor.check_weights()]
    assert texts[0] == f'groupvit-gcc-yfcc: not in {tmp_path}'
    assert texts[-1].startswith('downloads are switched off')
