"""The throughput of training steps: rows are read, measured, kept one by one, and fail alone."""

import argparse
import json
from pathlib import Path

import pytest
import torch

from groupvit_mmseg.benchmark import step_timing

from loading import load_file

ROOT = Path(__file__).parents[2]
BUILDER = ('constructor', 'paramwise_cfg')  # read by the constructor of the wrapper
CONFIG = ROOT / 'configs/groupvit/groupvit_tiny-p4_1xb64-coslr-6e_scenes-40px.py'


@pytest.fixture(scope='module')
def tool():
    return load_file('tools/benchmarks/measure_throughput.py')


def test_rows_are_read(tool):
    assert tool.read_row('512:compile:fp16') == (512, ('compile', 'fp16'))
    assert tool.read_row('8') == (8, ())
    assert all(tool.read_row(row)[0] >= 256 for row in tool.ROWS)


@pytest.mark.parametrize('row', ['1', 'many', '8:turbo', ''])
def test_other_rows_are_refused(tool, row):
    with pytest.raises(argparse.ArgumentTypeError, match='is no row'):
        tool.read_row(row)


def test_texts_have_the_lengths_of_captions(tool):
    texts = tool.make_texts(28, 3, 77)
    lengths = (texts > 0).sum(-1)
    assert sorted(lengths[:, 0].tolist()) == sorted(tool.CAPTION_TOKENS * 2)
    assert 8 <= lengths[:, 1:].min() <= lengths[:, 1:].max() <= 12
    assert (texts[..., 0] == 49406).all()
    assert (texts.amax(-1) == 49407).all()
    assert (texts.gather(2, lengths[..., None] - 1) == 49407).all()


def test_rows_are_measured_and_kept_and_fail_alone(tool, tmp_path, capsys, monkeypatch):
    def broken(step, seconds, device, measured=tool.time_step):
        if getattr(step, 'func', None) and 'recompute' in rows[0][1]:
            raise torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 1 TiB\nmore')
        return measured(step, 0.01, device)

    monkeypatch.setattr(tool, 'time_step', broken)
    monkeypatch.setattr(step_timing, 'WARM_UP', 1)
    arguments = [str(CONFIG), '--device', 'cpu', '--prompts', '1', '--out', str(tmp_path / 'rows')]
    for row in ('4', '4:recompute', '4:micro:fp32'):
        rows = [tool.read_row(row)]
        tool.main([*arguments, '--rows', row])
    found = [json.loads(line) for line in (tmp_path / 'rows').read_text().splitlines()]
    assert [row.get('error') for row in found] == [
        None, 'CUDA out of memory. Tried to allocate 1 TiB', None,
    ]  # fmt: skip
    assert all(row['pairs_per_second'] > 0 for row in found[::2])
    assert found[2]['switches'] == ['micro', 'fp32']
    assert 'CUDA out of memory' in capsys.readouterr().out


@pytest.mark.parametrize('best', [torch.bfloat16, torch.float32])
@pytest.mark.parametrize('config', [CONFIG, ROOT / 'configs/groupvit_pretrain.py'])
def test_a_row_has_its_precision_whatever_the_config_trains_in(tool, monkeypatch, config, best):
    from mmengine.config import Config
    from mmseg.registry import OPTIM_WRAPPERS

    cfg, parameter = Config.fromfile(config), torch.nn.Parameter(torch.zeros(2, 2))
    monkeypatch.setattr(tool, 'best_dtype', lambda _: best)
    for switches, dtype in [(('fp32',), torch.float32), ((), best)]:
        assert tool.product_type(switches, 'cpu') is dtype
        wrapper = tool.wrapper_of(cfg, tool.precision_of(switches, 'cpu'))
        wrapper['optimizer'] = torch.optim.AdamW([parameter])
        built = OPTIM_WRAPPERS.build({k: v for k, v in wrapper.items() if k not in BUILDER})
        with built.optim_context(torch.nn.Linear(2, 2)):
            assert (parameter @ parameter).dtype is dtype


def test_flops_are_those_of_the_cost_tool(tool):
    """36.43 MFLOP of the metafile are at texts of full length: these are shorter."""
    from mmengine.config import Config
    from mmseg.registry import MODELS

    model = MODELS.build(Config.fromfile(CONFIG).model)
    counted = tool.count_flops(model, tool.make_batch(model, 8, 1, 'cpu')) / 8
    image = 22.3e6  # tools/benchmarks/measure_cost.py
    assert image < counted < 36.43e6
