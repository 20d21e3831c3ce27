"""Several ranks equal one process on the concatenated batch: losses and every gradient."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmseg.registry import MODELS

import groupvit_mmseg  # noqa: F401

BATCH_SIZE = 6


def config(multi_label):
    return dict(
        type='GroupViTPretrainer',
        backbone=dict(
            type='GroupViT',
            img_size=16,
            patch_size=4,
            embed_dims=16,
            depths=(1, 1),
            num_heads=(2, 2),
            num_group_tokens=(4, 0),
            num_output_groups=(3,),
        ),
        text_encoder=dict(
            type='GroupViTTextEncoder', context_length=8, embed_dims=16, num_layers=1, vocab_size=50
        ),
        image_projector=dict(
            type='GroupViTProjector', in_channels=16, hidden_channels=12, out_channels=8
        ),
        text_projector=dict(
            type='GroupViTProjector', in_channels=16, hidden_channels=12, out_channels=8
        ),
        loss_contrastive=dict(type='ImageTextContrastiveLoss'),
        loss_multi_label=dict(type='MultiLabelContrastiveLoss', **multi_label),
    )


def one_process(job):
    model = MODELS.build(job['config']).double().eval()
    model.load_state_dict(job['state_dict'])
    losses = model(job['images'], job['token_ids'], mode='loss')
    losses = {key: value for key, value in losses.items() if 'loss' in key}
    sum(losses.values()).backward()
    return losses, {name: p.grad for name, p in model.named_parameters()}


def free_port():
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return str(listener.getsockname()[1])


def many_processes(job, folder, world_size):
    torch.save(job, folder / 'job.pt')
    script, port = Path(__file__).with_name('ranks.py'), free_port()
    ranks = [
        subprocess.Popen(
            [sys.executable, script, str(rank), str(world_size), port, folder],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world_size)
    ]
    errors = [rank.communicate(timeout=120)[1] for rank in ranks]
    assert all(rank.returncode == 0 for rank in ranks), '\n'.join(errors)
    out = torch.load(folder / 'out.pt')
    return out['losses'], out['gradients']


@pytest.mark.parametrize(
    'multi_label, world_size',
    [({}, 2), (dict(level='segments', match_equal_prompts=True), 3)],
    ids=['paper, 2 ranks', 'segments and equal prompts, 3 ranks'],
)
def test_ranks_equal_one_process(tmp_path, multi_label, world_size):
    torch.manual_seed(0)
    model = MODELS.build(config(multi_label)).double()
    token_ids = torch.randint(1, 4, (BATCH_SIZE, 3, 8))
    token_ids[..., 3] = 49  # end of text
    token_ids[..., 1:3] = token_ids[..., 4:] = 0  # few distinct prompts: some are equal
    job = dict(
        config=config(multi_label),
        state_dict=model.state_dict(),
        images=torch.randn(BATCH_SIZE, 3, 16, 16, dtype=torch.float64),
        token_ids=token_ids,
    )
    losses, gradients = one_process(job)
    rank_losses, rank_gradients = many_processes(job, tmp_path, world_size)
    assert set(rank_losses) == {'loss_contrastive', 'loss_multi_label'}
    for key, value in losses.items():
        assert float(rank_losses[key]) == pytest.approx(float(value), rel=1e-10)
    for name, gradient in gradients.items():
        assert torch.allclose(rank_gradients[name], gradient, rtol=1e-8, atol=1e-12), name
    assert gradients['loss_multi_label.logit_scale'].abs() > 0
