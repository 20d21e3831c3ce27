"""Light imports: what is left out, and that everything works when it is used after all."""

import json
import subprocess
import sys

import pytest

from groupvit_cli.light_imports import LAZY, UNUSED, LazyModule

SCRIPT = """
import json, sys
from groupvit_cli.light_imports import LAZY, UNUSED, light_imports

with light_imports():
    import groupvit_mmseg.inference
left_out = [name for name in (*UNUSED, *LAZY, 'torch._dynamo') if name not in sys.modules]

import torch
from mmseg.models.assigners import hungarian_assigner
from mmseg.models.backbones import beit
from torchvision.ops import roi_align

rows, columns = hungarian_assigner.linear_sum_assignment([[2, 1], [1, 2]])
spline = beit.interpolate.make_interp_spline([0, 1], [0, 2], k=1)
import scipy.optimize
import torch._dynamo.utils
import torch.distributed.optim
import transformers
compiled = torch.compile(lambda x: x + 1, backend='eager')(torch.ones(1))
torch.use_deterministic_algorithms(True)
pooled = roi_align(torch.ones(1, 1, 4, 4), torch.tensor([[0.0, 0, 0, 2, 2]]), 1)
print(json.dumps([left_out, columns.tolist(), float(spline(0.5)), compiled.item(), pooled.item(),
                  hasattr(scipy.optimize, 'minimize'), hasattr(transformers, 'AutoModel')]))
"""


@pytest.mark.slow
def test_packages_that_are_left_out_can_be_used_afterwards():
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    left_out, *values = json.loads(done.stdout.splitlines()[-1])
    assert set(left_out) == {*UNUSED, *LAZY, 'torch._dynamo'}
    assert values == [[1, 0], 1.0, 2.0, 1.0, True, True]


def test_functions_are_imported_when_they_are_called(monkeypatch):
    monkeypatch.delitem(sys.modules, 'colorsys', raising=False)
    lazy = LazyModule('colorsys', ['rgb_to_hsv'])
    monkeypatch.setitem(sys.modules, 'colorsys', lazy)
    from colorsys import rgb_to_hsv

    assert sys.modules['colorsys'] is lazy
    assert rgb_to_hsv(0, 0, 1) == (2 / 3, 1, 1)
    assert sys.modules['colorsys'] is not lazy


def test_anything_else_imports_the_module_at_once(monkeypatch):
    monkeypatch.delitem(sys.modules, 'colorsys', raising=False)
    lazy = LazyModule('colorsys', ['rgb_to_hsv'])
    monkeypatch.setitem(sys.modules, 'colorsys', lazy)
    assert lazy.ONE_THIRD == 1 / 3
    assert sys.modules['colorsys'] is not lazy
    assert not hasattr(lazy, '__path__')
    with pytest.raises(AttributeError):
        lazy.none  # noqa: B018
