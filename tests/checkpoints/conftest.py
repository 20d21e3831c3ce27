"""Random weights with the official names of the golden files, and Hugging Face's; the tools."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

from loading import load_file

ROOT = Path(__file__).resolve().parents[2]
HEADS = {'two_stage': [6, 6, 6], 'wide': [4, 4, 8]}


def random_like(shapes, seed=0):
    """Random tensors of the given shapes; running variances are positive, counts are integers."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for key, shape in shapes.items():
        value = torch.randn(tuple(shape), generator=generator)
        if key.endswith('num_batches_tracked'):
            value = torch.tensor(7)
        elif key.endswith('running_var'):
            value = 0.5 + value.abs()
        elif value.dim() >= 2:
            value = value / max(1, value[0].numel()) ** 0.5
        tensors[key] = value
    return tensors


@pytest.fixture(scope='session')
def golden_shapes():
    """Name and shape of every tensor of the official models of two sizes."""
    shapes = {}
    for name in HEADS:
        with np.load(ROOT / f'tests/data/golden/golden_{name}.npz') as file:
            shapes[name] = json.loads(str(file['meta/keys']))
    return shapes


@pytest.fixture(scope='session')
def official(golden_shapes):
    """Random official state dicts by golden file; few words, narrow projectors."""
    weights = {}
    for name, shapes in golden_shapes.items():
        smaller = {4096: 64, 49408: 100}  # channels in projectors, words
        small = {k: [smaller.get(size, size) for size in s] for k, s in shapes.items()}
        weights[name] = random_like(small)
    return weights


@pytest.fixture(scope='session')
def write_official(official):
    """Writes a file as the official release did: with training state and a foreign object."""

    def write(folder, name='two_stage', **changes):
        content = dict(
            model={**official[name], **changes},
            optimizer={'state': {0: {'exp_avg': torch.zeros(3)}}, 'param_groups': [{'lr': 0.1}]},
            config=argparse.Namespace(a=1),
            epoch=29,
        )
        path = folder / f'official_{name}.pth'
        torch.save(content, path)
        return path

    return write


@pytest.fixture
def official_file(write_official, tmp_path):
    """The same, in the test's folder."""
    return lambda *name, **changes: write_official(tmp_path, *name, **changes)


@pytest.fixture(scope='session')
def run_tool():
    """Runs a tool of this project in this process: its exit status."""
    modules = {}

    def module(name):
        if name not in modules:
            modules[name] = load_file(f'{name}.py')
        return modules[name]

    def run(name, *argv):
        return module(name).main([str(arg) for arg in argv])

    run.module = module
    return run


@pytest.fixture(scope='session')
def convert(run_tool):
    """Runs a converter."""
    return lambda name, *argv: run_tool(f'tools/model_converters/{name}', *argv)


def assert_equal(first, second):
    """The same names and the same bits."""
    assert set(first) == set(second)
    for key, value in first.items():
        assert value.dtype == second[key].dtype, key
        assert torch.equal(value, second[key]), key


@pytest.fixture
def same_bits():
    """The comparison as a fixture: test folders are no packages."""
    return assert_equal


@pytest.fixture(scope='session')
def refuse(run_tool):
    """Runs a converter that must fail: its one sentence; nothing is written."""

    def run(name, *argv, capsys):
        folder = Path(argv[1]).parent
        before = sorted(folder.iterdir()) if folder.exists() else []
        capsys.readouterr()
        assert run_tool(f'tools/model_converters/{name}', *argv) == 2
        errors = capsys.readouterr().err
        assert errors.startswith('error: ')
        assert len(errors.splitlines()) == 1, errors
        assert (sorted(folder.iterdir()) if folder.exists() else []) == before
        return errors

    return run


def pretrainer_cfg(**changes):
    """Config of a pretrainer whose heads are not 64 channels each; few words."""
    tower = dict(depths=(1, 1), num_group_tokens=(5, 0), num_output_groups=(4,))
    sizes = dict(img_size=32, patch_size=8, embed_dims=64, num_heads=(2, 2), assign_scale=8.0)
    text = dict(context_length=12, embed_dims=64, num_layers=1, num_heads=2, vocab_size=100)
    projector = dict(type='GroupViTProjector', hidden_channels=16, out_channels=8, in_channels=64)
    return dict(
        type='GroupViTPretrainer',
        data_preprocessor=dict(
            type='ImgDataPreprocessor', mean=[120, 110, 100], std=[60, 50, 40], bgr_to_rgb=True
        )
        | changes.get('data_preprocessor', {}),
        backbone=dict(type='GroupViT', **tower, **sizes) | changes.get('backbone', {}),
        text_encoder=dict(type='GroupViTTextEncoder', **text) | changes.get('text_encoder', {}),
        image_projector=projector,
        text_projector=projector,
        loss_contrastive=dict(type='ImageTextContrastiveLoss'),
    )


@pytest.fixture(scope='session')
def write_trained():
    """Writes what training of a small pretrainer wrote: its file and the model."""

    def write(path, *, with_config=True, seed=0, **changes):
        cfg = pretrainer_cfg(**changes)
        with DefaultScope.overwrite_default_scope('mmseg'):
            model = MODELS.build(cfg)
        shapes = {key: value.shape for key, value in model.state_dict().items()}
        model.load_state_dict(random_like(shapes, seed))
        path.parent.mkdir(exist_ok=True)
        meta = {'cfg': Config(dict(model=cfg)).pretty_text} if with_config else {}
        torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
        return path, model.eval()

    return write


@pytest.fixture
def trained(write_trained, tmp_path):
    """The same, under a name in the test's folder."""
    return lambda name='trained/epoch_1.pth', **options: write_trained(tmp_path / name, **options)
