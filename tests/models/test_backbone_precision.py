"""Int8: few labels change, weights stay, and copies follow them."""

import copy
import pickle
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS

from groupvit_mmseg.models import backbone_precision
from groupvit_mmseg.models.backbone_precision import (
    QuantizedCopy,
    check_device_of,
    quantize_linears,
)
from groupvit_mmseg.models.open_vocabulary_model import OpenVocabularyModel
from groupvit_mmseg.models.open_vocabulary_segmentor import OpenVocabularySegmentor

CONFIG = Path(__file__).parents[1] / 'data/configs/tiny_zeroshot.py'


def make_segmentor(seed=0, **test_cfg):
    """A tiny segmentor whose segments differ."""
    torch.manual_seed(seed)
    cfg = Config.fromfile(CONFIG).model
    cfg.test_cfg = dict(mode='whole', **test_cfg)
    segmentor = MODELS.build(cfg).eval()
    for name, parameter in segmentor.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=3.0 if 'group_token' in name else 0.5)
    return segmentor


@pytest.fixture
def segmentor():
    return make_segmentor()


def labels(segmentor, precision, image):
    segmentor.test_cfg = {**segmentor.test_cfg, 'precision': precision}
    with torch.no_grad():
        return segmentor.predict(image[None])[0].pred_sem_seg.data


@pytest.fixture
def image():
    coarse = torch.randn(1, 3, 12, 16, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.interpolate(coarse, (48, 64))[0]


def test_int8_rounds_weights_and_inputs_of_linear_layers_and_nothing_else():
    layer, x = torch.nn.Linear(16, 24), torch.randn(5, 16)
    with torch.no_grad():
        found = quantize_linears(torch.nn.Sequential(layer))(x)
    # Half a step of each factor, of 127 in the range of weights and of inputs (7 bits at worst).
    steps = layer.weight.abs().max() / 127, (x.max() - x.min()) / 127
    limit = 16 * (steps[0] * x.abs().max() + steps[1] * layer.weight.abs().max())
    error = (found - layer(x)).abs().max()
    assert 0 < error < limit / 2
    norm = torch.nn.LayerNorm(16)
    assert torch.equal(quantize_linears(torch.nn.Sequential(norm))(x), norm(x))


def test_int8_gives_nearly_the_same_labels(segmentor, image):
    exact = labels(segmentor, 'fp32', image)
    assert len(exact.unique()) > 1
    assert (labels(segmentor, 'int8', image) == exact).float().mean() > 0.9


def test_plain_products_are_those_of_fp32(segmentor, image):
    assert torch.equal(labels(segmentor, 'fp32-plain', image), labels(segmentor, 'fp32', image))


def test_weights_and_the_state_dict_stay(segmentor, image):
    before = copy.deepcopy(segmentor.state_dict())
    labels(segmentor, 'int8', image)
    after = segmentor.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert segmentor.encoder is not segmentor.backbone
    assert all(module is not segmentor.encoder for module in segmentor.modules())


def test_a_checkpoint_that_is_loaded_later_counts(segmentor, image):
    other = make_segmentor(seed=1)
    expected = labels(other, 'int8', image)
    assert not torch.equal(labels(segmentor, 'int8', image), expected)
    segmentor.load_state_dict(other.state_dict())
    assert torch.equal(labels(segmentor, 'int8', image), expected)


def test_one_copy_serves_all_images_and_changed_weights_make_another(segmentor):
    copies, backbone = QuantizedCopy(), segmentor.backbone
    first = copies.of(backbone)
    assert copies.of(backbone) is first
    with torch.no_grad():
        backbone.norm.weight.mul_(2)
    second = copies.of(backbone)
    assert second is not first
    for unfinished in (copy.deepcopy(copies), pickle.loads(pickle.dumps(copies))):
        assert unfinished.of(backbone) is not second


def test_training_in_int8_is_refused(segmentor, image):
    segmentor.test_cfg.precision = 'int8'
    segmentor.train()
    with pytest.raises(ValueError, match=r"'int8' has no gradients: train with 'fp32'\."):
        segmentor.extract_feat(image[None])


@pytest.mark.parametrize('device', ['cuda', 'mps'])
def test_int8_is_for_cpus(device):
    check_device_of('bf16', device)
    with pytest.raises(ValueError, match=f'for CPUs alone, and the model is on {device}'):
        check_device_of('int8', device)


@pytest.fixture
def told(monkeypatch):
    """What is said of emulation, as often as it is said."""
    texts = []
    monkeypatch.setattr(backbone_precision, 'print_log', lambda text, **_: texts.append(text))
    backbone_precision._tell_of_emulation.cache_clear()
    yield texts
    backbone_precision._tell_of_emulation.cache_clear()


@pytest.mark.parametrize('hardware', [True, False])
@pytest.mark.parametrize('precision', ['bf16', 'fp32'])
def test_emulated_bfloat16_is_told_of_once(monkeypatch, told, hardware, precision):
    monkeypatch.setattr(backbone_precision, 'has_bfloat16_products', lambda _: hardware)
    segmentor = make_segmentor(precision=precision)
    segmentor.decode_head.set_classes(['cat', 'dog'])
    for _ in range(2):
        segmentor.predict(torch.rand(1, 3, 32, 32))
    assert len(told) == (precision == 'bf16' and not hardware)
    assert all(text.startswith("Precision 'bf16' is emulated, slowly: this CPU") for text in told)


def test_other_models_are_told_of_as_well(monkeypatch, told):
    monkeypatch.setattr(backbone_precision, 'has_bfloat16_products', lambda _: False)
    segmentor = OpenVocabularySegmentor(Constant(), test_cfg=dict(precision='bf16')).eval()
    segmentor.predict(torch.zeros(1, 3, 4, 5))
    assert len(told) == 1


def test_a_pytorch_without_quantisation_is_one_sentence(segmentor, monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch.ao.quantization', None)
    with pytest.raises(ImportError, match=r"'int8' needs torch\.ao\.quantization, which torch"):
        quantize_linears(segmentor.backbone)


class Constant(OpenVocabularyModel):
    """The same logits for every image."""

    def embed_prompts(self, prompts):
        return torch.arange(float(len(prompts)))

    def forward(self, images, prompt_embeds):
        return prompt_embeds[None, :, None, None].expand(len(images), -1, 2, 2)


@pytest.mark.parametrize('precision', ['int8', 'auto'])
def test_other_models_have_neither(precision):
    message = f"precision '{precision}' needs a GroupViTSegmentor: take 'fp32' or 'bf16'"
    with pytest.raises(ValueError, match=message):
        OpenVocabularySegmentor(Constant(), test_cfg=dict(precision=precision))
    segmentor = OpenVocabularySegmentor(Constant())
    segmentor.test_cfg.precision = precision
    with pytest.raises(ValueError, match=message):
        segmentor.predict(torch.zeros(1, 3, 4, 5))
