"""Random weights with the official names of the golden files, and Hugging Face's; the tools."""

import argparse
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

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


@pytest.fixture
def official_file(official, tmp_path):
    """A file as the official release wrote it: with training state and a foreign object."""

    def write(name='two_stage', **changes):
        content = dict(
            model={**official[name], **changes},
            optimizer={'state': {0: {'exp_avg': torch.zeros(3)}}, 'param_groups': [{'lr': 0.1}]},
            config=argparse.Namespace(a=1),
            epoch=29,
        )
        path = tmp_path / f'official_{name}.pth'
        torch.save(content, path)
        return path

    return write


@pytest.fixture(scope='session')
def run_tool():
    """Runs a tool of this project in this process: its exit status."""
    modules = {}

    def module(name):
        if name not in modules:
            spec = importlib.util.spec_from_file_location(Path(name).stem, ROOT / f'{name}.py')
            modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(modules[name])
        return modules[name]

    def run(name, *argv):
        return module(name).main([str(arg) for arg in argv])

    run.module = module
    return run


@pytest.fixture
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
