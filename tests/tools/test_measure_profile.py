"""tools/benchmarks/measure_profile.py: shares of the time by kind of operation."""

import json
import re

import pytest
import torch

from loading import load_file


@pytest.fixture(scope='module')
def tool():
    return load_file('tools/benchmarks/measure_profile.py')


@pytest.mark.parametrize(
    'operation, kind',
    [
        ('aten::mm', 'products'),
        ('mkldnn::_linear_pointwise', 'products'),
        ('quantized::linear_dynamic', 'products'),
        ('aten::_scaled_dot_product_flash_attention_for_cpu_backward', 'attention'),
        ('aten::_softmax_backward_data', 'attention'),
        ('aten::gelu_backward', 'GELU'),
        ('aten::native_layer_norm', 'normalisation'),
        ('aten::fill_', 'copies and zeros'),
        ('aten::mul', 'all else'),
        ('aten::catch', 'all else'),
        ('Optimizer.step#AdamW.step', 'all else'),
    ],
)
def test_every_operation_has_a_kind(tool, operation, kind):
    assert tool.kind_of(operation) == kind


def test_a_product_is_all_that_a_product_takes(tool, tmp_path):
    a = torch.randn(600, 600)
    seconds, parts = tool.shares(lambda: a @ a, tmp_path / 'new' / 'trace.json')
    assert seconds > 0
    assert sum(parts.values()) == pytest.approx(1)
    assert max(parts, key=parts.get) == 'products'
    assert json.loads((tmp_path / 'new' / 'trace.json').read_text())['traceEvents']
    x = torch.ones(300_000)  # made outside: nothing but the GELU is measured
    _, parts = tool.shares(lambda: torch.nn.functional.gelu(x), None)
    assert max(parts, key=parts.get) == 'GELU'


@pytest.mark.slow
def test_the_table_has_a_row_for_each_precision(tool, tmp_path, capsys):
    assert tool.main(['--pairs', '2', '--side', '64', '--trace', str(tmp_path / 'traces')]) == 0
    head, _, *rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 6
    for line in rows:
        cells = [int(cell) for cell in re.findall(r'(\d+) %', line)]
        assert len(cells) == head.count('|') - 3
        assert 96 < sum(cells) < 104
        assert cells[1] > 10  # products
    assert len(list((tmp_path / 'traces').glob('*.json'))) == 6


def test_a_batch_of_one_is_one_sentence(tool, capsys):
    with pytest.raises(SystemExit):
        tool.main(['--pairs', '1'])
    assert '--pairs must be at least 2' in capsys.readouterr().err
