"""What differs between PyTorch versions: the same behaviour, or one sentence."""

import platform
import warnings

import pytest
import torch
from torch import nn

from groupvit_mmseg import torch_versions
from groupvit_mmseg.engine.hooks.block_hook import COMPILES_FROM, compile_blocks
from groupvit_mmseg.export import EXPORTS_FROM, export_program
from groupvit_mmseg.models.layers import TransformerBlock
from groupvit_mmseg.torch_versions import (
    VERSION,
    has_bfloat16_products,
    has_fused_optimizers,
    is_autocast_enabled,
    is_compiling,
    load_plain_data,
    make_grad_scaler,
    require_torch,
)


@pytest.fixture(autouse=True)
def _ask_the_cpu_again():
    """Answers about the CPU of a test are not kept."""
    torch_versions._cpu_has_bfloat16_products.cache_clear()
    yield
    torch_versions._cpu_has_bfloat16_products.cache_clear()


def test_an_older_version_is_told_what_is_needed():
    require_torch(VERSION, 'Anything')
    with pytest.raises(ImportError, match=r'^Time travel needs torch 99.1 or newer, this is \d'):
        require_torch((99, 1), 'Time travel')


@pytest.mark.parametrize(
    'first,act',
    [
        ((2, 3), lambda: make_grad_scaler('cpu', enabled=True)),
        (COMPILES_FROM, lambda: compile_blocks(TransformerBlock(8, 2), True)),
        (EXPORTS_FROM, lambda: export_program(None)),
    ],
)
def test_what_a_version_cannot_do_is_one_sentence(first, act):
    if first <= VERSION:
        pytest.skip(f'torch {torch.__version__} can do it')
    with pytest.raises(ImportError, match=f'needs torch {first[0]}.{first[1]} or newer, this is'):
        act()


def test_a_scaler_that_does_not_scale_passes_through_in_every_version():
    scaler = make_grad_scaler('cpu', enabled=False)
    loss = torch.tensor(3.0)
    assert scaler.scale(loss) is loss
    assert not scaler.is_enabled()


def test_autocast_is_asked_for_a_device():
    assert not is_autocast_enabled('cpu')
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert is_autocast_enabled('cpu')
        assert not is_autocast_enabled('cuda')


@pytest.mark.parametrize(
    'processor,of_onednn,instructions,expected',
    [
        ('x86_64', True, True, True),
        ('AMD64', True, False, False),  # AVX-512 without products of bfloat16
        ('x86_64', False, False, False),  # AVX2
        ('aarch64', True, False, True),  # the instructions are those of Intel and AMD
        ('aarch64', False, False, False),
    ],
)
def test_products_of_bfloat16_have_to_be_instructions(
    monkeypatch, processor, of_onednn, instructions, expected
):
    monkeypatch.setattr(platform, 'machine', lambda: processor)
    monkeypatch.setattr(torch.backends.mkldnn, 'is_available', lambda: True)
    monkeypatch.setattr(
        torch.ops.mkldnn, '_is_mkldnn_bf16_supported', lambda: of_onednn, raising=False
    )
    monkeypatch.setattr(torch.cpu, '_is_avx512_bf16_supported', lambda: instructions, raising=False)
    assert has_bfloat16_products('cpu') is expected


@pytest.mark.parametrize(
    'flags,expected',
    [('fma avx2 avx512f avx512_bf16 amx_tile', True), ('avx2 avx512f', False), (None, False)],
)
def test_older_versions_of_pytorch_ask_linux(monkeypatch, tmp_path, flags, expected):
    file = tmp_path / 'cpuinfo'
    if flags is not None:
        file.write_text(f'model name : EPYC\nflags : {flags}\n')
    monkeypatch.setattr(torch_versions, 'Path', lambda _: file)
    monkeypatch.delattr(torch.cpu, '_is_avx512_bf16_supported', raising=False)
    monkeypatch.setattr(platform, 'machine', lambda: 'x86_64')
    monkeypatch.setattr(torch.backends.mkldnn, 'is_available', lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, '_is_mkldnn_bf16_supported', lambda: True, raising=False)
    assert has_bfloat16_products('cpu') is expected


def test_without_onednn_bfloat16_is_emulated(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, 'is_available', lambda: False)
    assert has_bfloat16_products('cpu') is False


@pytest.mark.parametrize(
    'device,major,hip,expected',
    [
        ('cuda', 7, None, False),
        ('cuda:1', 8, None, True),
        ('cuda', 0, '6.2', True),
        ('mps', 0, None, True),
    ],
)
def test_emulation_by_a_gpu_is_no_hardware(monkeypatch, device, major, hip, expected):
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda _: (major, 0))
    monkeypatch.setattr(torch.version, 'hip', hip)
    assert has_bfloat16_products(device) is expected


def test_nothing_is_compiled_here():
    assert is_compiling() is False


def test_fused_is_true_where_the_optimizer_takes_it():
    model = nn.Linear(2, 2)
    if has_fused_optimizers(model):
        torch.optim.AdamW(model.parameters(), fused=True)
    else:
        with pytest.raises(RuntimeError, match='fused'):
            torch.optim.AdamW(model.parameters(), fused=True)


def test_plain_data_is_loaded_without_warnings(tmp_path):
    torch.save({'w': torch.ones(2)}, tmp_path / 'w.pth')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        found = load_plain_data(tmp_path / 'w.pth', 'cpu')
        seen = load_plain_data(tmp_path / 'w.pth', 'meta', mmap=True)
    assert torch.equal(found['w'], torch.ones(2))
    assert seen['w'].is_meta
