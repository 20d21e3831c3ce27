"""Several ranks equal one process on the concatenated batch: losses and every gradient."""

from itertools import product
from pathlib import Path

import pytest
import torch
from mmseg.registry import MODELS
from torch.multiprocessing import start_processes

import groupvit_mmseg  # noqa: F401

from loading import load_file

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


MODELS_OF_LOSSES = {
    'paper': ({}, 2),
    'segments and equal prompts': (dict(level='segments', match_equal_prompts=True), 3),
}
LOSSES = {
    'contrastive': dict(type='ImageTextContrastiveLoss'),
    'equal captions': dict(type='ImageTextContrastiveLoss', match_equal_captions=True),
    'multi-label': dict(type='MultiLabelContrastiveLoss'),
    'segments': dict(type='MultiLabelContrastiveLoss', level='segments', match_equal_prompts=True),
    'patches': dict(type='MultiLabelContrastiveLoss', level='patches', match_equal_prompts=True),
}
WORLD_SIZES = (1, 2, 3, 4)
# Rows of a rank: 12, 6, 4, 3 images and 24, 12, 8, 6 prompts. Last chunks of 5 and 4 are uneven.
CHUNKS = (1024, 5, 4)
PRECISIONS = {'float64': 1e-10, 'float32': 2e-5, 'bfloat16': 2e-2}
ROWS = 12


def model_job(multi_label, world_size):
    torch.manual_seed(0)
    model = MODELS.build(config(multi_label)).double()
    token_ids = torch.randint(1, 4, (BATCH_SIZE, 3, 8))
    token_ids[..., 3] = 49  # end of text
    token_ids[..., 1:3] = token_ids[..., 4:] = 0  # few distinct prompts: some are equal
    return dict(
        world_sizes=[world_size],
        config=config(multi_label),
        state_dict=model.state_dict(),
        images=torch.randn(BATCH_SIZE, 3, 16, 16, dtype=torch.float64),
        token_ids=token_ids,
    )


def loss_inputs(name, precision):
    """Embeddings, and for some losses captions or prompts of which some are equal, and shares."""
    torch.manual_seed(0)
    captions = name in ('contrastive', 'equal captions')
    images = torch.randn(ROWS, 8) if captions or name == 'multi-label' else None
    images = torch.randn(ROWS, 3, 8) if images is None else images
    texts = torch.randn(ROWS, 8) if captions else torch.randn(ROWS, 2, 8)
    inputs = [tensor.to(getattr(torch, precision)) for tensor in (images, texts)]
    if name == 'equal captions':
        inputs.append(torch.randint(0, 6, (ROWS, 1)))
        assert len(inputs[-1].unique()) < ROWS
    elif name != 'contrastive':
        inputs.append(torch.randint(0, 9, (ROWS, 2, 1)))
        assert len(inputs[-1].unique()) < ROWS * 2
    if name == 'patches':
        inputs.append(torch.rand(ROWS, 3).softmax(-1).double())
    return inputs


@pytest.fixture(scope='module')
def outcomes(tmp_path_factory):
    """What the ranks computed: ``{world size: {job: outcome}}``, and the jobs."""
    jobs = {name: model_job(*settings) for name, settings in MODELS_OF_LOSSES.items()}
    jobs['micro-batches'] = model_job(dict(level='patches'), 2)
    jobs['micro-batches']['config'].update(micro_batch_size=2, text_buckets=2)
    for name, chunk_size, precision in product(LOSSES, CHUNKS, PRECISIONS):
        jobs[name, chunk_size, precision] = dict(
            world_sizes=WORLD_SIZES,
            config=dict(LOSSES[name], chunk_size=chunk_size),
            inputs=loss_inputs(name, precision),
            autocast=precision == 'bfloat16',
        )
    folder = tmp_path_factory.mktemp('ranks')
    torch.save(jobs, folder / 'jobs.pt')
    ranks = load_file(Path(__file__).with_name('ranks.py'))
    for size in WORLD_SIZES:
        start_processes(ranks.run, (size, folder), nprocs=size, start_method='fork')
    return {size: torch.load(folder / f'out-{size}.pt') for size in WORLD_SIZES}, jobs


@pytest.mark.parametrize('name', MODELS_OF_LOSSES)
def test_ranks_equal_one_process(outcomes, name):
    outcomes, jobs = outcomes
    losses, gradients = one_process(jobs[name])
    rank_losses, rank_gradients = outcomes[MODELS_OF_LOSSES[name][1]][name]
    assert set(rank_losses) == {'loss_contrastive', 'loss_multi_label'}
    for key, value in losses.items():
        assert float(rank_losses[key]) == pytest.approx(float(value.detach()), rel=1e-10)
    for parameter, gradient in gradients.items():
        assert torch.allclose(rank_gradients[parameter], gradient, rtol=1e-8, atol=1e-12), parameter
    assert gradients['loss_multi_label.logit_scale'].abs() > 0


def test_ranks_with_micro_batches_equal_one_plain_process(outcomes):
    outcomes, _ = outcomes
    losses, gradients = one_process(model_job(dict(level='patches'), 2))
    rank_losses, rank_gradients = outcomes[2]['micro-batches']
    for key, value in losses.items():
        assert float(rank_losses[key]) == pytest.approx(float(value.detach()), rel=1e-10)
    for parameter, gradient in gradients.items():
        assert torch.allclose(rank_gradients[parameter], gradient, rtol=1e-8, atol=1e-12), parameter


@pytest.mark.parametrize('precision', PRECISIONS)
@pytest.mark.parametrize('chunk_size', CHUNKS)
@pytest.mark.parametrize('world_size', WORLD_SIZES)
@pytest.mark.parametrize('name', LOSSES)
def test_losses_of_ranks_in_chunks_equal_the_plain_ones(
    outcomes, name, world_size, chunk_size, precision
):
    loss = MODELS.build(LOSSES[name]).double()
    inputs = [t.double() if t.is_floating_point() else t for t in loss_inputs(name, precision)]
    leaves = [tensor.requires_grad_() for tensor in inputs if tensor.is_floating_point()]
    expected = loss(*inputs)
    gradients = torch.autograd.grad(expected, [*leaves, loss.logit_scale])
    value, rank_gradients = outcomes[0][world_size][name, chunk_size, precision]
    # Losses are float32 islands: only the embeddings and their gradients are rounded to bfloat16.
    assert float(value) == pytest.approx(float(expected.detach()), rel=2e-6)
    for ours, theirs in zip(rank_gradients, gradients, strict=True):
        error = (ours.double() - theirs).abs().max() / theirs.abs().max()
        assert error < PRECISIONS[precision]
