"""Micro-batches and text buckets give the gradients of the whole batch computed plainly."""

from itertools import product

import pytest
import torch
from mmseg.registry import MODELS

import groupvit_mmseg  # noqa: F401
from groupvit_mmseg.models import pretrainer as pretrainer_module
from groupvit_mmseg.models.micro_batching import distinct_texts, run_in_micro_batches
from groupvit_mmseg.models.text_encoder import GroupViTTextEncoder

BATCH, PROMPTS, LENGTH = 10, 3, 24
PAPER = dict(type='MultiLabelContrastiveLoss')
OURS = dict(type='MultiLabelContrastiveLoss', level='patches', match_equal_prompts=True)


def build(multi_label=PAPER, drop_path=0.3, **settings):
    projector = dict(type='GroupViTProjector', hidden_channels=16, out_channels=8)
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='GroupViTPretrainer',
            backbone=dict(
                type='GroupViT',
                img_size=16,
                patch_size=4,
                embed_dims=24,
                depths=(2, 1),
                num_heads=(2, 2),
                num_group_tokens=(5, 0),
                num_output_groups=(4,),
                drop_path_rate=drop_path,
                group_token_std=1.0,
            ),
            text_encoder=dict(
                type='GroupViTTextEncoder',
                context_length=LENGTH,
                embed_dims=16,
                num_layers=2,
                vocab_size=50,
            ),
            image_projector=dict(projector, in_channels=24),
            text_projector=dict(projector, in_channels=16),
            loss_contrastive=dict(type='ImageTextContrastiveLoss'),
            loss_multi_label=multi_label,
            **settings,
        )
    ).double()


def batch():
    """Long captions and short prompts of which several are equal."""
    generator = torch.Generator().manual_seed(0)
    token_ids = torch.zeros(BATCH, 1 + PROMPTS, LENGTH, dtype=torch.int64)
    for row, column in product(range(BATCH), range(1 + PROMPTS)):
        length = 12 + row if column == 0 else 2 + (row + column) % 3
        words = torch.randint(1, 40 if column == 0 else 3, (length,), generator=generator)
        token_ids[row, column, :length], token_ids[row, column, length] = words, 49
    images = torch.randn(BATCH, 3, 16, 16, generator=generator, dtype=torch.float64)
    return images, token_ids


def outcome(model, autocast=False):
    """Losses, every gradient, and BatchNorm's statistics after a step of training."""
    images, token_ids = batch()
    torch.manual_seed(1)
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=autocast):
        losses = model(images.to(model.backbone.pos_embed.dtype), token_ids, mode='loss')
    sum(value for key, value in losses.items() if 'loss' in key).backward()
    values = {key: value.detach() for key, value in losses.items()}
    values |= {name: p.grad for name, p in model.named_parameters()}
    return values | {name: buffer.clone() for name, buffer in model.named_buffers()}


def assert_close(ours, theirs, tolerance=1e-9):
    assert ours.keys() == theirs.keys()
    largest = max(value.abs().max() for name, value in theirs.items() if 'running' not in name)
    for name, expected in theirs.items():
        assert (ours[name] - expected).abs().max() <= tolerance * largest, name


@pytest.mark.parametrize('multi_label', [None, PAPER, OURS], ids=['none', 'paper', 'ours'])
@pytest.mark.parametrize('micro_batch_size, text_buckets', [(3, None), (None, 3), (4, 2), (1, 1)])
def test_gradients_of_the_whole_batch(monkeypatch, multi_label, micro_batch_size, text_buckets):
    # Without noise, for here the plain model draws other numbers: for all rows at once.
    monkeypatch.setattr(
        'groupvit_mmseg.models.assignment.gumbel_noise', lambda logits: torch.zeros_like(logits)
    )
    plain = outcome(build(multi_label, drop_path=0.0))
    ours = build(
        multi_label, drop_path=0.0, micro_batch_size=micro_batch_size, text_buckets=text_buckets
    )
    assert_close(outcome(ours), plain)


@pytest.mark.parametrize('precision', ['float64', 'float32', 'bfloat16'])
def test_noise_is_replayed_bit_for_bit(monkeypatch, precision):
    """The same micro-batches, once with all their activations kept, once computed again."""
    dtype = torch.float64 if precision == 'float64' else torch.float32
    autocast = precision == 'bfloat16'
    replayed = outcome(build(OURS, micro_batch_size=3).to(dtype), autocast)
    monkeypatch.setattr(
        pretrainer_module,
        'run_in_micro_batches',
        lambda tower, rows, size, recompute: run_in_micro_batches(
            tower, rows, size, recompute=False
        ),
    )
    kept = outcome(build(OURS, micro_batch_size=3).to(dtype), autocast)
    for name, value in kept.items():
        assert torch.equal(replayed[name], value), name
    monkeypatch.undo()
    torch.manual_seed(2)
    noiseless = outcome(build(OURS, micro_batch_size=3, drop_path=0.0).to(dtype), autocast)
    assert not torch.equal(noiseless['loss_contrastive'], kept['loss_contrastive'])


def saved_bytes(model):
    """What the forward pass of a step keeps for the backward pass."""
    sizes = {}

    def pack(tensor):
        sizes[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(*batch(), mode='loss')
    parameters = {p.data_ptr() for p in model.parameters()}
    return sum(size for pointer, size in sizes.items() if pointer not in parameters)


def test_the_forward_pass_keeps_no_activations_of_the_towers():
    assert saved_bytes(build(micro_batch_size=2)) < 0.05 * saved_bytes(build())


def test_short_and_equal_texts_cost_less(monkeypatch):
    tokens = []
    forward = GroupViTTextEncoder.forward

    def counted(self, token_ids):
        ends = int(token_ids.argmax(-1).max()) + 1
        tokens.append(len(token_ids) * min(-(-ends // 8) * 8, LENGTH))
        return forward(self, token_ids)

    monkeypatch.setattr(GroupViTTextEncoder, 'forward', counted)
    outcome(build())
    plain = sum(tokens)
    tokens.clear()
    outcome(build(text_buckets=4))
    assert plain == BATCH * (1 + PROMPTS) * LENGTH
    assert len(tokens) == 4
    assert sum(tokens) < 0.6 * plain


def test_distinct_texts_put_each_back_in_its_place():
    token_ids = batch()[1].flatten(0, 1)
    rows, place = distinct_texts(token_ids)
    assert torch.equal(rows[place], token_ids)
    assert len(rows) == len(set(map(tuple, token_ids.tolist()))) < len(token_ids)
    ends = rows.argmax(-1)
    assert torch.equal(ends, ends.sort().values)


def test_an_empty_micro_batch_is_one_sentence():
    with pytest.raises(ValueError, match='at least one row, not 0'):
        outcome(build(micro_batch_size=0))
