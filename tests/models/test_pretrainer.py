import pytest
import torch
from mmseg.registry import MODELS

import groupvit_mmseg  # noqa: F401


def build(multi_label=None, **backbone):
    torch.manual_seed(0)
    projector = dict(type='GroupViTProjector', hidden_channels=16, out_channels=8)
    return MODELS.build(
        dict(
            type='GroupViTPretrainer',
            backbone=dict(
                type='GroupViT',
                img_size=16,
                patch_size=4,
                embed_dims=24,
                depths=(1, 1),
                num_heads=(2, 2),
                num_group_tokens=(5, 0),
                num_output_groups=(4,),
                **backbone,
            ),
            text_encoder=dict(
                type='GroupViTTextEncoder',
                context_length=8,
                embed_dims=16,
                num_layers=1,
                vocab_size=50,
            ),
            image_projector=dict(projector, in_channels=24),
            text_projector=dict(projector, in_channels=16),
            loss_contrastive=dict(type='ImageTextContrastiveLoss'),
            loss_multi_label=multi_label,
        )
    )


def batch(num_prompts=2):
    generator = torch.Generator().manual_seed(0)
    token_ids = torch.randint(1, 49, (6, 1 + num_prompts, 8), generator=generator)
    token_ids[..., 5], token_ids[..., 6:] = 49, 0
    return torch.randn(6, 3, 16, 16, generator=generator), token_ids


@pytest.mark.parametrize('level', [None, 'pooled', 'segments', 'patches'])
def test_a_step_reaches_every_parameter(level):
    multi_label = level and dict(type='MultiLabelContrastiveLoss', level=level)
    model = build(multi_label)
    losses = model(*batch(2 if level else 0), mode='loss')
    total, log_vars = model.parse_losses(losses)
    expected = {'loss_contrastive', 'logit_scale', 'loss'}
    if level:
        expected |= {'loss_multi_label', 'logit_scale_multi_label'}
    assert set(log_vars) == expected
    # Only the losses are summed, not the logit scales.
    assert total.item() == pytest.approx(sum(v.item() for k, v in losses.items() if 'loss' in k))
    assert losses['logit_scale'].item() == pytest.approx(1 / 0.07)
    total.backward()
    without = [name for name, p in model.named_parameters() if p.grad is None]
    assert without == []


@pytest.mark.parametrize('level', ['pooled', 'patches'])
def test_a_batch_is_learned_by_heart(level):
    multi_label = dict(type='MultiLabelContrastiveLoss', level=level)
    model, (images, token_ids) = build(multi_label), batch()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    history = []
    for _ in range(60):
        loss, _ = model.parse_losses(model(images, token_ids, mode='loss'))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert sum(history[-5:]) / 5 < 0.5 * history[0]
    with torch.no_grad():
        embeds = model.eval()(images, token_ids)
    cosine = torch.nn.functional.cosine_similarity
    similarity = cosine(embeds.image_embeds[:, None], embeds.text_embeds[None, :, 0], dim=-1)
    assert similarity.argmax(1).tolist() == list(range(6))


def test_losses_of_prompts_are_added():
    levels = ('pooled', 'patches')
    configs = [dict(type='MultiLabelContrastiveLoss', level=level) for level in levels]
    configs[1]['loss_weight'] = 0.5
    together = build(configs).eval()(*batch(), mode='loss')
    for place, config in enumerate(configs):
        alone = build(config).eval()(*batch(), mode='loss')['loss_multi_label']
        torch.testing.assert_close(together[f'loss_multi_label_{place}'], alone)
    model = build(configs)
    total, _ = model.parse_losses(model(*batch(), mode='loss'))
    total.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    scales = [name for name in model.state_dict() if name.startswith('loss_multi_label')]
    assert scales == ['loss_multi_label.0.logit_scale', 'loss_multi_label.1.logit_scale']


def test_captions_and_prompts_share_one_batch_norm_call():
    model = build(dict(type='MultiLabelContrastiveLoss'))
    model(*batch(), mode='loss')
    assert model.text_projector.hidden[1].num_batches_tracked == 1
    assert model.image_projector.hidden[1].num_batches_tracked == 1


def test_another_mode_is_one_sentence():
    with pytest.raises(ValueError, match='GroupViTSegmentor'):
        build()(*batch(0), mode='predict')


@pytest.mark.parametrize('num_layers', [0, 1, 2, 3])
def test_projector_depths(num_layers):
    projector = MODELS.build(
        dict(
            type='GroupViTProjector',
            in_channels=8,
            hidden_channels=16,
            out_channels=5,
            num_layers=num_layers,
        )
    )
    out = projector(torch.randn(4, 3, 8))
    assert out.shape == (4, 3, 5 if num_layers else 8)
    norms = [m for m in projector.modules() if isinstance(m, torch.nn.BatchNorm1d)]
    assert len(norms) == max(num_layers - 1, 0)
