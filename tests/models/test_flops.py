"""Operations of fused attention on CPUs are counted as those of the same products one by one."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from groupvit_mmseg.models.flops import flop_counter

B, H, S, N, C = 2, 3, 20, 28, 8
PRODUCT = 2 * B * H * S * N * C


def attention_operations(backend, *, backward):
    torch.manual_seed(0)
    query = torch.randn(B, H, S, C, requires_grad=True)
    key, value = (torch.randn(B, H, N, C, requires_grad=True) for _ in range(2))
    with sdpa_kernel(backend), flop_counter() as counter:
        result = scaled_dot_product_attention(query, key, value)
        if backward:
            result.sum().backward()
    return counter.get_total_flops()


def test_forward_is_two_products():
    for backend in (SDPBackend.MATH, SDPBackend.FLASH_ATTENTION):
        assert attention_operations(backend, backward=False) == 2 * PRODUCT


@pytest.mark.parametrize(
    'backend, products', [(SDPBackend.MATH, 4), (SDPBackend.FLASH_ATTENTION, 5)]
)
def test_backward_is_four_products_and_fused_the_logits_once_more(backend, products):
    assert attention_operations(backend, backward=True) == (2 + products) * PRODUCT
