"""The reader of golden files, the rule that draws their weights, and the comparison of arrays."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from groupvit_mmseg.benchmark.golden_checks import (
    TOLERANCE,
    Check,
    build_pretrainer,
    check_step,
    check_weights,
    compare,
)
from groupvit_mmseg.benchmark.golden_segmentation import window_starts
from groupvit_mmseg.conversion.golden import GoldenFile, draw_weight, tower_configs

FILE = Path(__file__).resolve().parents[1] / 'data/golden/golden_two_stage.npz'


@pytest.fixture
def golden():
    return GoldenFile(FILE)


def test_arrays_and_settings_are_read(golden):
    assert golden.has('seg/')
    assert not golden.has('nothing/')
    assert golden.config['img_encoder']['embed_dim'] == 48
    assert golden.shapes['img_encoder.pos_embed'] == [1, 36, 48]
    first = golden.tensor('image/pooled')
    first.zero_()  # a copy: the file's values stay
    assert golden.tensor('image/pooled').abs().sum() > 0


def test_a_file_without_its_meta_arrays_is_refused(tmp_path):
    np.savez(tmp_path / 'a.npz', **{'meta/seed': 1, 'image/input': np.zeros(2)})
    with pytest.raises(ValueError, match='not a golden file: it lacks meta/config, meta/keys'):
        GoldenFile(tmp_path / 'a.npz')
    (tmp_path / 'b.npz').write_bytes(b'PK')
    with pytest.raises(ValueError, match='is not a readable'):
        GoldenFile(tmp_path / 'b.npz')


# Mean and standard deviation that the rule gives by the name of a tensor.
RULES = [
    ('a.running_mean', [4000], 0.0, 0.1),
    ('a.pos_embed', [40, 100], 0.0, 0.2),
    ('a.group_token', [40, 100], 0.0, 0.2),
    ('a.fc.weight', [40, 100], 0.0, 0.1),
    ('a.norm.weight', [4000], 1.0, 0.1),
    ('a.norm.bias', [4000], 0.0, 0.1),
    ('logit_scale', [], float(np.log(1 / 0.07)), None),
]


@pytest.mark.parametrize('key,shape,mean,deviation', RULES)
def test_weights_follow_from_name_shape_and_seed(key, shape, mean, deviation):
    value = draw_weight(key, shape, 3)
    assert (value.dtype, list(value.shape)) == (torch.float32, shape)
    assert value.mean().item() == pytest.approx(mean, abs=0.02)
    if deviation is not None:
        assert value.std().item() == pytest.approx(deviation, rel=0.1)
        assert not torch.equal(value, draw_weight(key, shape, 4))
        assert not torch.equal(value, draw_weight('b' + key, shape, 3))
    assert torch.equal(value, draw_weight(key, shape, 3))


def test_statistics_of_batch_norm_are_possible():
    assert draw_weight('a.running_var', [1000], 0).min() >= 1
    count = draw_weight('a.num_batches_tracked', [], 0)
    assert (count.dtype, count.item()) == (torch.int64, 0)


def test_configs_of_the_towers(golden):
    configs = tower_configs(golden)
    assert configs['backbone']['embed_dims'] == configs['image_projector']['in_channels'] == 48
    assert configs['text_encoder']['embed_dims'] == configs['text_projector']['in_channels']
    golden.config['text_encoder']['heads'] = 3
    with pytest.raises(ValueError, match=r"text_encoder .* settings unknown here: \['heads'\]"):
        tower_configs(golden)


def test_the_error_is_relative_to_the_largest_value(golden):
    golden.arrays['x'] = np.array([0.5, -2.0], dtype=np.float32)
    check = compare(golden, 'x', torch.tensor([0.5, -2.5]))
    assert (check.error, check.limit, check.passed) == (0.25, TOLERANCE, False)
    assert compare(golden, 'x', torch.tensor([0.5, -2.0])).passed
    other = compare(golden, 'x', torch.zeros(3))
    assert (other.error, other.note) == (float('inf'), 'shape (3,)')
    assert not Check('x', (), float('nan'), 1.0).passed


def test_a_wrong_checksum_or_gradient_fails(golden):
    (check,) = check_weights(golden)
    assert check.passed
    checksum = json.loads(golden.text('meta/checksum'))
    checksum['img_encoder.pos_embed'] *= 1.01
    golden.arrays['meta/checksum'] = np.array(json.dumps(checksum))
    (check,) = check_weights(golden)
    assert check.error == pytest.approx(0.01, rel=0.05)
    norms = json.loads(golden.text('step/grad_norms'))
    norms['text_encoder.ln_final.weight'] *= 1.01
    golden.arrays['step/grad_norms'] = np.array(json.dumps(norms))
    checks = {check.name: check for check in check_step(golden, build_pretrainer(golden))}
    assert not checks['step/grad_norms'].passed
    assert checks['step/grad_norms'].note == 'worst: text_encoder.ln_final.weight'
    assert checks['step/contrastive'].passed


def test_windows_end_at_the_border():
    assert window_starts(10, 4, 3) == [0, 3, 6]
    assert window_starts(11, 4, 3) == [0, 3, 6, 7]
    assert window_starts(3, 4, 3) == [0]
