"""Usage of groups against numbers computed by hand, and the figures of a run."""

import logging
import math
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub

from groupvit_mmseg.engine.hooks import group_diagnostics
from groupvit_mmseg.engine.hooks.group_diagnostics import usage_entropy
from groupvit_mmseg.models import GroupViT


def test_entropy_by_hand():
    assert usage_entropy(torch.tensor([5.0, 5.0, 5.0, 5.0])) == pytest.approx(1)
    assert usage_entropy(torch.tensor([7.0, 0.0])) == 0
    assert usage_entropy(torch.tensor([1.0, 1.0, 0.0, 0.0])) == pytest.approx(0.5)
    assert usage_entropy(torch.tensor([9.0])) == 1


def scalars(runner, name):
    return runner.message_hub.get_scalar(f'train/{name}').data[0].tolist()


@pytest.mark.parametrize('mean_of_tokens', [False, True])
def test_similarity_is_that_of_the_segments(mean_of_tokens):
    stages = dict(depths=(1,), num_heads=(2,), embed_factors=(1,))
    stages |= dict(num_group_tokens=(16,), num_output_groups=(16,))
    torch.manual_seed(0)
    assignment = dict(mean_of_tokens=mean_of_tokens)
    backbone = GroupViT(img_size=32, patch_size=8, embed_dims=24, assignment=assignment, **stages)
    hub = MessageHub.get_instance(f'similarity-{mean_of_tokens}')
    runner = SimpleNamespace(
        iter=0, message_hub=hub, model=torch.nn.ModuleDict(dict(backbone=backbone))
    )
    hook = group_diagnostics.GroupUsageHook(interval=1)
    hook.before_train_iter(runner, 0)
    output = backbone.encode(torch.randn(3, 3, 32, 32))
    hook.after_train_iter(runner, 0)
    similarities = []
    for image in output.segments.detach():
        segments = image[image.any(dim=-1)]  # without empty ones
        assert 2 <= len(segments) <= 16 - mean_of_tokens
        unit = torch.nn.functional.normalize(segments, dim=-1)
        apart = ~torch.eye(len(segments), dtype=torch.bool)
        similarities.append(float((unit @ unit.T)[apart].mean()))
    logged = hub.get_scalar('train/segment_similarity').current()
    assert logged == pytest.approx(np.mean(similarities), abs=1e-5)


@pytest.mark.parametrize('micro_batch_size', [None, 3])
def test_a_run_logs_the_usage_of_its_assignments(make_runner, micro_batch_size):
    runner = make_runner(
        custom_hooks=[dict(type='GroupUsageHook', interval=2)],
        train_cfg=dict(max_epochs=1),
        model=dict(micro_batch_size=micro_batch_size),
    )
    seen = []
    grouping = runner.model.backbone.stages[0].grouping
    grouping.register_forward_hook(
        lambda module, inputs, output: seen.append(output[1].hard) if module.training else None
    )
    runner.train()
    entropies, dead = scalars(runner, 'group_entropy_1'), scalars(runner, 'dead_groups_1')
    assert len(entropies) == len(dead) == len(scalars(runner, 'segment_similarity')) == 2
    per_step = len(seen) // 4
    owned = torch.cat(seen[per_step : 2 * per_step]).sum(dim=(0, 2)).detach().double()
    shares = (owned / owned.sum()).tolist()
    expected = -sum(p * math.log(p) for p in shares if p > 1e-9) / math.log(len(shares))
    assert entropies[0] == pytest.approx(expected, abs=1e-6)
    assert dead[0] == sum(p < 1e-9 for p in shares) / len(shares)
    assert -1 <= scalars(runner, 'segment_similarity')[0] <= 1
    assert not runner.model.backbone.norm._forward_hooks


def test_similarity_against_the_definition():
    hook = group_diagnostics.GroupUsageHook()
    segments = torch.randn(3, 4, 5)
    hook._compare(None, None, segments)
    cosines = torch.nn.functional.cosine_similarity(segments[:, :, None], segments[:, None], dim=-1)
    apart = ~torch.eye(4, dtype=torch.bool)
    assert hook._values()['segment_similarity'] == pytest.approx(float(cosines[:, apart].mean()))


@pytest.mark.parametrize(
    'owned, dead', [([0.0, 1.0, 2.0, 4.0], 0.25), ([0.0, 0.0, 1.0, 9.0], 0.5), ([1.0, 1.0], 0.0)]
)
def test_a_group_with_one_patch_is_not_dead(owned, dead):
    hook = group_diagnostics.GroupUsageHook()
    hook._patch_counts = {1: torch.tensor(owned, dtype=torch.float64)}
    assert hook._values()['dead_groups_1'] == dead


def test_collapse_is_logged_at_the_first_and_at_doubled_counts(caplog, monkeypatch):
    lines = []
    monkeypatch.setattr(
        group_diagnostics, 'print_log', lambda message, **options: lines.append((message, options))
    )
    hook = group_diagnostics.GroupUsageHook()
    hook._warn_of_collapse({'group_entropy_1': 0.9, 'segment_similarity': 0.3})
    assert lines == []
    for _ in range(5):
        hook._warn_of_collapse({'group_entropy_1': 0.02, 'segment_similarity': 0.999})
    assert len(lines) == 3  # the first, second and fourth
    assert 'group_entropy_1 is 0.02, segment_similarity is 0.999' in lines[0][0]
    assert lines[0][1]['level'] == logging.WARNING


def test_pictures_of_the_same_images_every_so_often(make_runner, tmp_path):
    runner = make_runner(
        custom_hooks=[dict(type='GroupMapHook', interval=2, num_images=2)],
        train_cfg=dict(max_epochs=1),
    )
    runner.train()
    pictures = sorted(Path(runner.work_dir).glob('*/vis_data/vis_image/**/*.png'))
    assert len(pictures) == 4  # two images after steps 2 and 4
    assert cv2.imread(str(pictures[0])).shape == (160, 160, 3)  # legible
    plain = make_runner('plain', train_cfg=dict(max_epochs=1))
    plain.train()
    drawn = runner.model.state_dict()
    for name, value in plain.model.state_dict().items():
        assert torch.equal(drawn[name], value), name  # looking changes nothing


@pytest.mark.parametrize('hook', ['GroupUsageHook', 'GroupMapHook'])
def test_a_tower_without_groups_is_refused(make_runner, hook):
    ungrouped = dict(num_group_tokens=(0, 0), num_output_groups=())
    runner = make_runner(
        model=dict(backbone=ungrouped),
        val_cfg=dict(segmentor=dict(backbone=ungrouped)),
        custom_hooks=[dict(type=hook)],
    )
    with pytest.raises(ValueError, match=f'{hook} measures groups and the model has none'):
        runner.train()
