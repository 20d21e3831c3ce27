"""``model(inputs, mode='tensor')``, which mmengine's counter of FLOPs and Grad-CAM call."""

import pytest
import torch
from mmengine.analysis import FlopAnalyzer
from mmengine.config import Config
from mmseg.registry import MODELS

from groupvit_mmseg.engine import MixedPrecisionOptimWrapper
from groupvit_mmseg.engine.optimizers.optim_wrapper import best_dtype
from groupvit_mmseg.models import onednn


@pytest.fixture
def segmentor(zero_shot):
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(zero_shot).model).eval()
    model.set_classes(['cat', 'dog', 'sky'])
    model.decode_head.encode_classes()
    return model


def linear_flops(model, images):
    counter = FlopAnalyzer(model, images)
    counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return counter.by_operator()['linear']


def test_tensor_mode_gives_the_scores_of_a_whole_image(segmentor):
    images = torch.randn(2, 3, 32, 40)
    with torch.no_grad():
        scores = segmentor(images, mode='tensor')
        segmentor.test_cfg = dict(mode='whole')
        results = segmentor(images, mode='predict')
    assert scores.shape == (2, 3, 32, 40)
    for ours, result in zip(scores, results, strict=True):
        torch.testing.assert_close(ours, result.seg_logits.data)


def test_gradients_reach_the_patches(segmentor):
    segmentor(torch.randn(1, 3, 32, 32), mode='tensor')[0, 1].sum().backward()
    gradient = segmentor.backbone.patch_embed.proj.weight.grad
    assert gradient.abs().max() > 0


def test_all_linear_layers_are_counted(segmentor):
    """Also without gradients, where oneDNN computes products that the counter does not know."""
    assert onednn.AVAILABLE
    images = torch.randn(1, 3, 32, 32)
    with_gradients = linear_flops(segmentor, images)
    with torch.no_grad():
        assert linear_flops(segmentor, images) == with_gradients
    # 16 patches and 6 group tokens through the first block: qkv, projection and MLP.
    assert with_gradients > 22 * 12 * 16 * 16


def test_loss_scale_of_mmsegs_amp():
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    wrapper = MixedPrecisionOptimWrapper(optimizer, loss_scale='dynamic')
    assert wrapper.dtype is best_dtype(wrapper.device_type)
    with pytest.raises(ValueError, match=r"loss_scale must be 'dynamic', not 512\.0"):
        MixedPrecisionOptimWrapper(optimizer, loss_scale=512.0)
