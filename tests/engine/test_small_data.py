"""Small data: a run that is made to collapse is caught, the recipe's frozen groups stay."""

import logging
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from groupvit_mmseg.engine.hooks import group_diagnostics

ROOT = Path(__file__).parents[2]
RECIPE = 'configs/groupvit/groupvit_vit-small-p16_1xb128-coslr-10e_own-pairs-224px.py'


@pytest.fixture
def train(make_runner, monkeypatch):
    """Trains the tiny model; returns the runner, the weights before, and the warnings."""

    def run(**changes):
        lines = []
        monkeypatch.setattr(
            group_diagnostics, 'print_log', lambda text, logger, level: lines.append((level, text))
        )
        runner = make_runner(train_cfg=dict(max_epochs=2, val_interval=2), **changes)
        before = {name: value.clone() for name, value in runner.model.state_dict().items()}
        runner.train()
        return runner, before, lines

    return run


FREE = dict(optim_wrapper=dict(optimizer=dict(lr=1.0), clip_grad=None))
WATCH = dict(type='GroupUsageHook', interval=1)


def test_a_run_made_to_collapse_is_caught(train):
    runner, _, lines = train(**FREE, custom_hooks=[WATCH])
    level, text = lines[0]
    assert level == logging.WARNING
    assert re.match(r'The groups collapse: (group_entropy_1|segment_similarity) is ', text)
    entropies = runner.message_hub.get_scalar('train/group_entropy_1').data[0]
    assert entropies[0] > 0.9  # what it began with
    assert entropies[-1] < 0.6 * entropies[0]


def test_frozen_groups_stand_the_same_rate(train):
    runner, before, lines = train(
        **FREE, custom_hooks=[WATCH, dict(type='FreezeHook', patterns=['backbone'])]
    )
    assert lines == []
    entropies = runner.message_hub.get_scalar('train/group_entropy_1').data[0]
    assert max(entropies) - min(entropies) < 0.05  # other pictures, the same groups
    assert min(entropies) > 0.4
    assert changed_parts(runner, before) == {'text_encoder', 'text_projector', 'image_projector'}


def changed_parts(runner, before):
    """Parts of the model whose parameters differ from those before."""
    after = dict(runner.model.named_parameters())
    return {
        name.partition('.')[0]
        for name, value in before.items()
        if name in after and not torch.equal(value, after[name]) and 'logit_scale' not in name
    }


def test_the_recipe_trains_on_a_table_and_keeps_the_groups(train, tmp_path, encode_picture):
    recipe = Config.fromfile(ROOT / RECIPE)
    lines = ['file_name,text']
    for n in range(32):
        (tmp_path / f'{n}.png').write_bytes(encode_picture(n))
        lines.append(f'{n}.png,a dog and a cat number {n}')
    (tmp_path / 'metadata.csv').write_text('\n'.join(lines))
    (source,) = recipe.train_dataloader.dataset.sources
    runner, before, warnings = train(
        optim_wrapper=dict(
            optimizer=dict(lr=recipe.optim_wrapper.optimizer.lr),
            clip_grad=recipe.optim_wrapper.clip_grad,
        ),
        custom_hooks=[dict(hook) for hook in recipe.custom_hooks],
        train_dataloader=dict(
            dataset=dict(sources=[dict(source, data_root=str(tmp_path))]),
        ),
    )
    assert runner.iter == 8
    assert warnings == []
    assert changed_parts(runner, before) == {'text_encoder', 'text_projector', 'image_projector'}


@pytest.fixture
def encode_picture():
    """PNG files of noise in the size of the tiny model."""

    def encode(seed):
        pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        return cv2.imencode('.png', pixels)[1].tobytes()

    return encode
