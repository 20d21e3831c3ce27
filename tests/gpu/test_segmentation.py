"""Segmentation on a device: the labels of float32 on the CPU."""

from pathlib import Path

import numpy as np
import pytest
import torch

from groupvit_mmseg.inference import GroupViTInferencer

SIZES = ((40, 50), (33, 64), (16, 16))


@pytest.fixture(scope='module')
def pictures():
    """Photograph-like noise of several sizes."""
    rng = np.random.default_rng(0)
    return [
        np.kron(rng.integers(0, 256, (h // 4 + 1, w // 4 + 1, 3)), np.ones((4, 4, 1)))[:h, :w]
        .round()
        .astype(np.uint8)
        for h, w in SIZES
    ]


@pytest.fixture
def checkpoint(make_runner):
    """Weights of one epoch."""
    runner = make_runner(train_cfg=dict(max_epochs=1))
    runner.train()
    (path,) = Path(runner.work_dir).glob('epoch_*.pth')
    return str(path)


def open_on(checkpoint, device):
    names = ['red wall', 'green wall', 'blue wall']
    return GroupViTInferencer.from_pretrained(checkpoint, class_names=names, device=device)


@pytest.mark.parametrize('mode', ['whole', 'slide'])
def test_labels_are_those_of_the_cpu(checkpoint, pictures, device, mode):
    on_cpu, inferencer = open_on(checkpoint, 'cpu'), open_on(checkpoint, device)
    for each in (on_cpu, inferencer):
        each.set_options(mode=mode)
    expected = [on_cpu(picture) for picture in pictures]
    alone = [inferencer(picture) for picture in pictures]
    together = inferencer.batch(pictures)
    for ours, batched, theirs in zip(alone, together, expected, strict=True):
        assert np.mean(ours.label_map == theirs.label_map) > 0.999
        assert np.mean(batched.label_map == theirs.label_map) > 0.999


def test_bfloat16_agrees_nearly(checkpoint, pictures, device):
    expected = [open_on(checkpoint, 'cpu')(picture) for picture in pictures]
    inferencer = open_on(checkpoint, device)
    with torch.autocast(device, dtype=torch.bfloat16):
        found = [inferencer(picture) for picture in pictures]
    same = [np.mean(a.label_map == b.label_map) for a, b in zip(found, expected, strict=True)]
    assert np.mean(same) > 0.9
