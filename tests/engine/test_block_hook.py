"""Compiled and recomputed blocks train to the same weights."""

from pathlib import Path

import pytest
import torch

from groupvit_mmseg.engine.hooks.block_hook import COMPILES_FROM
from groupvit_mmseg.models.layers import TransformerBlock
from groupvit_mmseg.torch_versions import VERSION

NOISY = dict(model=dict(backbone=dict(drop_path_rate=0.5)), train_cfg=dict(max_epochs=1))


def trained(make_runner, name, hooks, **changes):
    runner = make_runner(name, custom_hooks=hooks, **changes)
    runner.train()
    return runner


def test_recomputed_blocks_change_nothing_and_keep_less(make_runner):
    plain = trained(make_runner, 'plain', [], **NOISY)
    hooks = [dict(type='TransformerBlocksHook', recompute=True)]
    ours = trained(make_runner, 'recomputed', hooks, **NOISY)
    assert ours.model.backbone.stages[1].blocks[0].drop_path.drop_prob == 0.5
    for name, value in plain.model.state_dict().items():
        assert torch.equal(ours.model.state_dict()[name], value), name
    assert saved_bytes(ours.model) < 0.5 * saved_bytes(plain.model)


def saved_bytes(model):
    """Bytes that a forward pass through a block stores, without parameters."""
    block = next(module for module in model.modules() if isinstance(module, TransformerBlock))
    own, total = {p.data_ptr() for p in block.parameters()}, 0

    def pack(tensor):
        nonlocal total
        total += 0 if tensor.data_ptr() in own else tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        block(torch.randn(2, 9, 16, requires_grad=True))
    return total


@pytest.mark.slow
@pytest.mark.skipif(VERSION < COMPILES_FROM, reason='compile needs torch 2.5')
def test_compiled_blocks_train_and_validate_alike(make_runner):
    counted = []

    def backend(graph, inputs):
        counted.append(1)
        return graph.forward

    options = dict(backend=backend, dynamic=False)
    hooks = [dict(type='TransformerBlocksHook', compile=options)]
    changes = dict(train_cfg=dict(max_epochs=1))
    plain = trained(make_runner, 'plain', [], **changes)
    ours = make_runner('compiled', **changes)
    torch._dynamo.reset()
    ours.register_hook(dict(hooks[0]))
    ours.train()
    assert counted
    path = next(Path(ours.work_dir).glob('best_*.pth'))
    keys = torch.load(path, weights_only=True)['state_dict'].keys()
    assert keys == plain.model.state_dict().keys()
    for name, value in plain.model.state_dict().items():
        torch.testing.assert_close(ours.model.state_dict()[name], value, rtol=1e-4, atol=1e-5)
    scores = [run.message_hub.get_scalar('val/mIoU').current() for run in (plain, ours)]
    assert scores[0] == pytest.approx(scores[1])
