"""The measurement of the losses computes what one of many ranks computes."""

import importlib.util
import math
from pathlib import Path

import pytest
import torch

from groupvit_mmseg.models import losses, prompt_ids

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def tool():
    path = ROOT / 'tools/benchmarks/measure_losses.py'
    spec = importlib.util.spec_from_file_location('measure_losses_tool', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('level', ['pooled', 'segments'])
def test_a_rank_of_several_is_imitated(tool, monkeypatch, level):
    """Its rows meet those of all ranks: the loss of random embeddings is log(their number)."""
    for module, name in ((prompt_ids, 'world_size'), (losses, 'gather_with_grad')):
        monkeypatch.setattr(module, name, getattr(module, name))
    args = tool.parse_args(['--ranks', '4', '--level', level])
    tool.act_as_first_rank(args.ranks)
    for name, per_image in (('contrastive', 1), ('multi-label', args.prompts)):
        loss = tool.build(name, args, 5)
        torch.nn.init.zeros_(loss.logit_scale)
        with torch.no_grad():
            value = loss(*tool.draw_inputs(name, args, 6)).item()
        images = 4 * 6  # of all ranks
        expected = (math.log(images * per_image) + math.log(images)) / 2
        assert expected < value < expected + 1.5, name  # the others' are not normalised


def test_the_table_names_each_loss_and_skips_what_needs_too_much(tool, capsys):
    tool.main(['--ranks', '2', '--batches', '16', '--chunk-sizes', '4'])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:4] for line in lines[1:]] == [
        ['contrastive', '16', '8', '4'],
        ['multi-label', '16', '8', '4'],
    ]
    tool.main(['--ranks', '2', '--batches', '16', '--limit-gib', '0'])
    assert capsys.readouterr().out.count('skipped: over --limit-gib') == 4


@pytest.mark.parametrize(
    'argv, message',
    [
        (['--batches', '0'], '--batches 0 must be at least 16'),
        (['--batches', '64', '8', '--ranks', '32'], '--batches 8 must be at least 32'),
        (['--ranks', '0'], '--ranks 0 must be at least 1'),
        (['--prompts', '0'], '--prompts 0 must be at least 1'),
        (['--chunk-sizes', '0'], '--chunk-sizes 0 must be at least 1'),
    ],
)
def test_numbers_without_a_measurement_are_refused(tool, capsys, argv, message):
    with pytest.raises(SystemExit) as stop:
        tool.parse_args(argv)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
