"""The losses of one rank of several."""

import math

import pytest
import torch

from groupvit_mmseg.benchmark.one_rank import act_as_first_rank, build_loss, draw_inputs
from groupvit_mmseg.models import losses, prompt_ids


@pytest.mark.parametrize('level', ['pooled', 'segments'])
def test_a_rank_of_several_is_imitated(monkeypatch, level):
    """Its rows meet those of all ranks: the loss of random embeddings is log(their number)."""
    for module, name in ((prompt_ids, 'world_size'), (losses, 'gather_with_grad')):
        monkeypatch.setattr(module, name, getattr(module, name))
    act_as_first_rank(4)
    for name, per_image in (('contrastive', 1), ('multi-label', 3)):
        loss = build_loss(name, chunk_size=5, level=level)
        torch.nn.init.zeros_(loss.logit_scale)
        with torch.no_grad():
            value = loss(*draw_inputs(name, 6, level=level)).item()
        images = 4 * 6  # of all ranks
        expected = (math.log(images * per_image) + math.log(images)) / 2
        assert expected < value < expected + 1.5, name  # the others' are not normalised
