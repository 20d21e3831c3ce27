"""Patch dropout: which patches a step sees, the tail that sees all, resuming, and refusals."""

import pytest
import torch

from groupvit_mmseg.engine import PatchDropoutHook
from groupvit_mmseg.engine.hooks.patch_dropout_hook import keep_patches


@pytest.fixture
def counted(make_runner):
    """Trains the tiny model; returns the number of patches of each pass of the first stage."""

    def train(*args, **changes):
        runner, seen = make_runner(*args, **changes), []
        runner.model.backbone.stages[0].blocks[0].register_forward_pre_hook(
            lambda block, inputs: seen.append((block.training, inputs[0].shape[1]))
        )
        runner.train()
        return runner, seen

    return train


def test_kept_patches_are_some_of_each_image_and_others_each_time():
    tokens = torch.arange(40.0).view(2, 10, 2)
    torch.manual_seed(0)
    first, second = keep_patches(tokens, 0.5), keep_patches(tokens, 0.5)
    for image, kept in zip(tokens, first, strict=True):
        rows = {tuple(row) for row in image.tolist()}
        chosen = {tuple(row) for row in kept.tolist()}
        assert len(chosen) == 5
        assert chosen < rows
    assert not torch.equal(first, second)
    assert not torch.equal(first[0] + 20, first[1])  # another choice for each image
    assert keep_patches(tokens, 0.01).shape == (2, 1, 2)


def test_gradients_reach_the_kept_patches_alone():
    tokens = torch.randn(3, 8, 4, requires_grad=True)
    keep_patches(tokens, 0.25).sum().backward()
    assert (tokens.grad.sum(dim=(1, 2)) == 2 * 4).all()
    assert set(tokens.grad.unique().tolist()) == {0, 1}


@pytest.mark.parametrize('micro_batch_size', [None, 3])
def test_training_sees_half_until_the_tail(counted, micro_batch_size):
    runner, seen = counted(
        custom_hooks=[dict(type='PatchDropoutHook', keep=0.5, tail=0.25)],
        train_cfg=dict(max_epochs=1),
        model=dict(micro_batch_size=micro_batch_size),
    )
    stage = runner.model.backbone.stages[0]
    tokens = runner.model.backbone.grid_shape[0] * runner.model.backbone.grid_shape[1]
    groups = stage.group_tokens.shape[1]
    trained = [count - groups for training, count in seen if training]
    passes = len(trained) // runner.max_iters
    expected = [tokens // 2] * 3 + [tokens]  # of four steps
    assert trained[::passes] == expected
    assert not stage._forward_pre_hooks


def test_evaluation_in_the_middle_of_a_training_sees_all(make_runner):
    runner, hook = make_runner(), PatchDropoutHook(tail=0)
    hook.before_train(runner)
    hook.before_train_iter(runner, 0)
    backbone, images = runner.model.backbone, torch.randn(2, 3, 32, 32)
    counts = [
        backbone.train(mode).encode(images).hard_assignments[0].shape[2] for mode in (True, False)
    ]
    assert counts == [counts[1] // 2, counts[1]]


def test_resumed_in_the_middle_it_is_the_whole_run(make_runner, tmp_path):
    changes = dict(
        custom_hooks=[dict(type='PatchDropoutHook', keep=0.5, tail=0.4)],
        train_cfg=dict(max_epochs=2),
        default_hooks=dict(checkpoint=dict(interval=1)),
    )
    whole = make_runner('whole', **changes)
    whole.train()
    start = str(tmp_path / 'whole/epoch_1.pth')
    rest = make_runner('rest', **changes, resume=True, load_from=start)
    rest.train()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, rest.model.state_dict()[name]), name


@pytest.mark.parametrize('shares', [dict(keep=0), dict(keep=1), dict(tail=1), dict(tail=-0.1)])
def test_shares_outside_their_range_are_refused(shares):
    with pytest.raises(ValueError, match='keep must be in'):
        PatchDropoutHook(**shares)


def test_other_models_are_refused(make_runner):
    runner = make_runner()
    runner.model.backbone = torch.nn.Identity()
    with pytest.raises(TypeError, match='is for a GroupViTPretrainer with a GroupViT'):
        PatchDropoutHook().before_train(runner)
