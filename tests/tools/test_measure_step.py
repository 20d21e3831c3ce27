"""The measurement of speed switches: every variant computes the same losses."""

from pathlib import Path

import pytest
import torch

from groupvit_mmseg.torch_versions import VERSION

from loading import load_file

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'tests/data/configs/tiny_pretrain.py'


@pytest.fixture(scope='module')
def tool():
    return load_file('tools/benchmarks/measure_step.py')


def test_each_variant_is_timed_and_computes_the_same(tool, monkeypatch, capsys):
    gradients, step = {}, tool.step

    def watched(model, images, token_ids, **options):
        torch.manual_seed(0)  # Gumbel noise
        model.zero_grad = lambda: gradients.setdefault(id(model), model.backbone.pos_embed.grad)
        step(model, images, token_ids, **options)
        model.backbone.pos_embed.grad = None

    monkeypatch.setattr(tool, 'step', watched)
    variants = ['again', 'recompute', 'channels_last']
    arguments = ['--batch-size', '3', '--tokens', '9', '--rounds', '2', '--variants', *variants]
    tool.main([str(CONFIG), '--device', 'cpu', *arguments])
    first, *others = gradients.values()
    assert len(others) == 3
    for gradient in others:
        torch.testing.assert_close(gradient, first, rtol=1e-4, atol=1e-6)
    rows = [line.split('|')[1:-1] for line in capsys.readouterr().out.splitlines() if '|' in line]
    names = [name.strip() for name, seconds, ratio in rows if ratio.endswith(' x ')]
    assert names == [
        *('as written', *variants),
        *('contiguous', 'again', 'channels_last'),
        *(('fused',) if VERSION >= (2, 4) else ()),
        *('foreach', 'loop'),
    ]
    assert all(float(row[1]) > 0 for row in rows if row[2].endswith(' x '))
