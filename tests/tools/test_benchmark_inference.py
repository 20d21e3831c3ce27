"""The benchmark of inference: what it compares is equal, and counted."""

from pathlib import Path

import pytest

from groupvit_mmseg.models import backbone_precision

from loading import load_file

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'tests/data/configs/tiny_zeroshot.py'


@pytest.fixture(scope='module')
def tool():
    return load_file('tools/benchmarks/benchmark_inference.py')


@pytest.mark.parametrize('hardware', [True, False])
def test_both_ways_give_equal_labels_and_the_official_one_encodes_twice(
    tool, monkeypatch, capsys, hardware
):
    calls = []
    build = tool.build

    def counting(*arguments):
        segmentor = build(*arguments)
        encode = segmentor.backbone.encode
        segmentor.backbone.encode = lambda x: calls.append(len(x)) or encode(x)
        return segmentor

    monkeypatch.setattr(tool, 'build', counting)
    monkeypatch.setattr(backbone_precision, 'has_bfloat16_products', lambda _: hardware)
    size = ['--size', '48', '60', '--original', '40', '50', '--rounds', '1', '--device', 'cpu']
    assert tool.main([str(CONFIG), '--classes', '7', *size, '--threads', '1']) == 0
    row = [cell.strip() for cell in capsys.readouterr().out.splitlines()[-1].split('|')[1:-1]]
    assert row[0] == '7'
    assert int(row[1]) > 1
    assert row[3].endswith('x')
    ways = 3 if hardware else 2  # bf16 only where it is not emulated
    assert [cell[-1] for cell in row[3:]] == ['x', '%'] * ways
    assert float(row[4].rstrip('%')) > 99
    assert float(row[6].rstrip('%')) > 99
    # 6 windows, one by one and twice, then a batch in each way; two rounds
    assert calls == 2 * ([1] * 12 + [6] * ways)


def test_emulated_bfloat16_is_measured_only_if_it_is_asked_for(tool, monkeypatch):
    monkeypatch.setattr(backbone_precision, 'has_bfloat16_products', lambda each: each == 'cuda')
    assert tool.precisions_of('cuda') == ['fp32-plain', 'fp32', 'bf16']
    assert tool.precisions_of('cpu') == ['fp32-plain', 'fp32']
    assert tool.parse_args(['--precisions', 'bf16', '--device', 'cpu']).precisions == ['bf16']


def test_runtimes_of_the_exported_model_segment_the_same_image(tool, capsys):
    pytest.importorskip('onnxscript', reason='onnxscript is not installed')
    pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
    size = ['--size', '48', '60', '--original', '48', '60', '--rounds', '1', '--device', 'cpu']
    options = ['--precisions', 'fp32', '--exported', 'onnxruntime', '--threads', '1']
    assert tool.main([str(CONFIG), '--classes', '7', *size, *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert '| fp32 | equal labels | onnxruntime | equal labels |' in lines[-3]
    row = [cell.strip() for cell in lines[-1].split('|')[1:-1]]
    assert int(row[1]) > 1
    assert float(row[4].rstrip('%')) > 99
    assert float(row[6].rstrip('%')) > 99
