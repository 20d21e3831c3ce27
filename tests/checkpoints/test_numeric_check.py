"""How far a conversion may be from its source."""

import pytest
import torch

from groupvit_mmseg.conversion.numeric_check import compare
from groupvit_mmseg.conversion.official_forward import Embeddings


def embeddings(error=0.0, name=None):
    """Random results, one of them off by a share of its largest value."""
    generator = torch.Generator().manual_seed(0)
    found = [torch.randn(2, 4, generator=generator).double() for _ in Embeddings._fields]
    for index, field in enumerate(Embeddings._fields):
        if field == name:
            place = found[index].abs().argmax()
            found[index].view(-1)[place] += error * found[index].abs().max()
    return Embeddings(*found)


@pytest.mark.parametrize('name', Embeddings._fields)
def test_a_difference_of_a_millionth_is_one_of_a_billionth_is_none(name):
    with pytest.raises(ValueError, match=f'numeric check failed: {name} differ'):
        compare(embeddings(1e-6, name), embeddings())
    assert 0 <= compare(embeddings(1e-9, name), embeddings()) < 1e-8
