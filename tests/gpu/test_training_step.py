"""Training steps on a device: the losses are those of float32 on the CPU, in every precision."""

import functools

import pytest
import torch
from mmseg.registry import MODELS
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from groupvit_mmseg.engine.hooks.block_hook import (
    COMPILES_FROM,
    blocks_of,
    compile_blocks,
    recompute_in_backward,
)
from groupvit_mmseg.engine.sharding import FullyShardedModel
from groupvit_mmseg.torch_versions import VERSION, make_grad_scaler

STEPS, PAIRS = 6, 8
TOLERANCE = 2e-3


@functools.cache
def batch():
    """Images and texts of one batch."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(PAIRS, 3, 16, 16, generator=generator)
    token_ids = torch.randint(1, 40_000, (PAIRS, 3, 12), generator=generator)
    token_ids[..., 0], token_ids[..., 8], token_ids[..., 9:] = 49406, 49407, 0
    return images, token_ids


@pytest.fixture(autouse=True)
def _same_noise(monkeypatch):
    """Devices draw other random numbers: all take those of the CPU."""

    def noise(logits):
        generator = torch.Generator().manual_seed(0)  # of one row, as rows may come in parts
        uniform = torch.rand(logits.shape[1:], generator=generator).clamp(1e-6, 1 - 1e-6)
        return (-(-uniform.log()).log()).to(logits).expand_as(logits)

    monkeypatch.setattr('groupvit_mmseg.models.assignment.gumbel_noise', noise)


@pytest.fixture
def make_model(tiny_config):
    """Builds the tiny pretrainer, with the same weights at each call."""

    def make(**changes):
        torch.manual_seed(0)
        model = MODELS.build({**tiny_config.model, **changes})
        model.init_weights()
        return model.train()

    return make


def train(model, device, dtype=None):
    """Losses of some steps with AdamW, by the model's own path of a training step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scaler = make_grad_scaler(device, enabled=dtype is torch.float16)
    if scaler.is_enabled():  # it begins at a scale that the first steps would search down from
        scaler.load_state_dict({**scaler.state_dict(), 'scale': 256.0})
    images, token_ids = (each.to(device) for each in batch())
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        with torch.autocast(device, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
            parts = model(images, token_ids=token_ids, mode='loss')
            loss = sum(value for name, value in parts.items() if name.startswith('loss'))
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(float(loss.detach()))
    return losses


@pytest.fixture
def expected(make_model):
    """Losses in float32 on the CPU."""
    losses = train(make_model(), 'cpu')
    assert losses[-1] < losses[0]
    return losses


def test_losses_are_those_of_the_cpu(make_model, expected, device):
    assert train(make_model().to(device), device) == pytest.approx(expected, rel=TOLERANCE)


def assert_learns_alike(found, expected):
    """Rounding moves patches to other groups, after which the curves differ, but not their fall."""
    assert found[0] == pytest.approx(expected[0], rel=0.03)
    assert found[-1] == pytest.approx(expected[-1], rel=0.3)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_half_precision_learns_alike(make_model, expected, device, dtype):
    if dtype is torch.float16 and device == 'cpu':
        pytest.skip('float16 training needs a GPU')
    assert_learns_alike(train(make_model().to(device), device, dtype), expected)


@pytest.mark.skipif(VERSION < COMPILES_FROM, reason='compile needs torch 2.5')
@pytest.mark.parametrize('dtype', [None, torch.bfloat16])
def test_compiled_blocks_give_the_same(make_model, expected, device, dtype):
    model = make_model().to(device)
    compile_blocks(model, True if device == 'cuda' else dict(backend='eager'))
    found = train(model, device, dtype)
    if dtype is None:
        assert found == pytest.approx(expected, rel=TOLERANCE)
    else:
        assert_learns_alike(found, expected)


def test_recomputed_blocks_give_the_same(make_model, expected, device):
    model = make_model().to(device)
    for block in blocks_of(model):
        recompute_in_backward(block)
    assert train(model, device) == pytest.approx(expected, rel=TOLERANCE)


def test_micro_batches_give_the_same(make_model, expected, device):
    model = make_model(micro_batch_size=3).to(device)
    assert train(model, device) == pytest.approx(expected, rel=TOLERANCE)


def test_a_data_parallel_rank_with_synchronised_norms_gives_the_same(
    make_model, expected, device, one_rank
):
    model = make_model().to(device)
    if device == 'cuda':  # it has no other device
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    wrapped = DistributedDataParallel(model)
    assert train(wrapped, device) == pytest.approx(expected, rel=TOLERANCE)


@pytest.mark.skipif(VERSION < (2, 7), reason='FullyShardedModel needs torch 2.7')
def test_a_sharded_rank_gives_the_same(make_model, expected, device, one_rank):
    model = FullyShardedModel(make_model().to(device))
    assert train(model, device) == pytest.approx(expected, rel=TOLERANCE)


@pytest.mark.gpu
def test_recomputing_saves_memory(make_model):
    peaks = []
    for recompute in (False, True):
        model = make_model().cuda()
        for block in blocks_of(model) if recompute else ():
            recompute_in_backward(block)
        torch.cuda.reset_peak_memory_stats()
        train(model, 'cuda')
        peaks.append(torch.cuda.max_memory_allocated())
        del model
    assert peaks[1] < peaks[0]
