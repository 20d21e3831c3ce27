"""Work that is measured is that of the stated size."""

import pytest
import torch

from groupvit_mmseg.benchmark import workloads
from groupvit_mmseg.models.flops import flop_counter


@pytest.fixture(autouse=True)
def scope():
    from mmengine.registry import init_default_scope

    init_default_scope('mmseg')


def operations(call):
    with flop_counter() as counter:
        call()
    return counter.get_total_flops()


def test_windows_are_counted_and_a_whole_image_is_one():
    one, four = (workloads.segmentation(side=side) for side in (448, 460))
    single = operations(lambda: one('fp32-plain'))
    assert operations(lambda: four('fp32-plain')) == pytest.approx(4 * single, rel=0.02)
    whole = workloads.segmentation(side=448, mode='whole')
    assert operations(lambda: whole('fp32-plain')) == single


def test_a_step_has_gradients_and_grows_with_its_pairs():
    two, three = (workloads.training(batch=batch) for batch in (2, 3))
    single, more = (operations(lambda step=step: step('fp32')) for step in (two, three))
    assert more == pytest.approx(1.5 * single, rel=0.02)


def test_more_ranks_are_more_columns(monkeypatch):
    for module, name in (
        (workloads.act_as_first_rank.__globals__['prompt_ids'], 'world_size'),
        (workloads.act_as_first_rank.__globals__['losses'], 'gather_with_grad'),
    ):
        monkeypatch.setattr(module, name, getattr(module, name))
    torch.manual_seed(0)
    counts = [operations(workloads.losses_of_a_rank(ranks, batch=8)) for ranks in (1, 4)]
    assert 3 < counts[1] / counts[0] < 4.5
