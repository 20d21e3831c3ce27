"""Both towers at full size against ``transformers.GroupViTModel``, in float64."""

import pytest
import torch
from mmseg.registry import MODELS

import groupvit_mmseg  # noqa: F401
from groupvit_mmseg.checkpoints import from_hugging_face

transformers = pytest.importorskip('transformers', reason='the oracle is not installed')


@pytest.fixture(scope='module')
def models():
    torch.manual_seed(0)
    config = transformers.GroupViTConfig()
    # The oracle draws Gumbel noise in training mode only; random weights everywhere, norms too.
    oracle = transformers.GroupViTModel(config).double().eval()
    with torch.no_grad():
        for parameter in oracle.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
        for name, buffer in oracle.named_buffers():
            if name.endswith('running_mean'):
                buffer.normal_(std=0.1)
            if name.endswith('running_var'):
                buffer.uniform_(0.5, 1.5)
    projector = dict(type='GroupViTProjector')
    ours = MODELS.build(
        dict(
            type='GroupViTPretrainer',
            backbone=dict(type='GroupViT'),
            text_encoder=dict(type='GroupViTTextEncoder'),
            image_projector=dict(projector, in_channels=384),
            text_projector=dict(projector, in_channels=256),
            loss_contrastive=dict(type='ImageTextContrastiveLoss'),
        )
    ).double()
    ours.load_state_dict(from_hugging_face(oracle.state_dict()))
    return oracle, ours.eval()


@pytest.fixture(scope='module')
def batch():
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, 224, 224, generator=generator, dtype=torch.float64)
    token_ids = torch.randint(1, 49000, (3, 77), generator=generator)
    for row, length in enumerate((5, 20, 76)):
        token_ids[row, 0], token_ids[row, length], token_ids[row, length + 1 :] = 49406, 49407, 0
    return images, token_ids


@pytest.fixture(autouse=True)
def _float64():
    """Older oracles make a mask of float64's least number in the default type."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def difference(a, b):
    return float((a - b).abs().max())


@torch.no_grad()
def test_both_towers_and_embeddings(models, batch):
    oracle, ours = models
    images, token_ids = batch
    expected = oracle(
        input_ids=token_ids,
        pixel_values=images,
        attention_mask=torch.ones_like(token_ids),
        output_segmentation=False,
    )
    output = ours.backbone.encode(images)
    vision, text = expected.vision_model_output, expected.text_model_output
    assert difference(output.segments, vision.last_hidden_state) < 1e-9
    assert difference(output.pooled, vision.pooler_output) < 1e-9
    assert difference(ours.text_encoder(token_ids), text.pooler_output) < 1e-9
    embeds = ours.embed(images, token_ids[:2].unsqueeze(1))
    image_embeds = torch.nn.functional.normalize(embeds.image_embeds, dim=-1)
    text_embeds = torch.nn.functional.normalize(embeds.text_embeds[:, 0], dim=-1)
    assert difference(image_embeds, expected.image_embeds) < 1e-9
    assert difference(text_embeds, expected.text_embeds[:2]) < 1e-9


@torch.no_grad()
def test_logits(models, batch):
    oracle, ours = models
    images, token_ids = batch
    expected = oracle(input_ids=token_ids[:2], pixel_values=images).logits_per_image
    embeds = ours.embed(images, token_ids[:2].unsqueeze(1))
    image_embeds = torch.nn.functional.normalize(embeds.image_embeds, dim=-1)
    text_embeds = torch.nn.functional.normalize(embeds.text_embeds[:, 0], dim=-1)
    logits = ours.loss_contrastive.logit_scale.exp() * image_embeds @ text_embeds.T
    assert difference(logits, expected) < 1e-8  # logits are up to 14.3 times a cosine
