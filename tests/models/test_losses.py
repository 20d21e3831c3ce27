import math

import pytest
import torch
import torch.nn.functional as F
from mmseg.registry import MODELS

import groupvit_mmseg  # noqa: F401
from groupvit_mmseg.models.prompt_ids import consecutive_prompt_ids
from groupvit_mmseg.models.smooth_maximum import smooth_maximum

B, S, P, D = 5, 4, 3, 8


def build(type, **settings):
    return MODELS.build(dict(type=type, **settings)).double()


def draw(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def naive_similarity(segments, prompt, beta):
    """The definition, one image and one prompt: a smooth maximum over the image's segments."""
    cosines = [F.cosine_similarity(segment, prompt, dim=0) for segment in segments]
    if len(cosines) == 1:
        return cosines[0]
    return torch.stack([(beta * c).exp() for c in cosines]).sum().log() / beta


def naive_multi_label(images, prompts, ids, scale, beta=10.0):
    """The loss by loops; ``ids`` (B, P) says which prompts are equal."""
    flat = [(b, p) for b in range(len(prompts)) for p in range(prompts.shape[1])]
    similarity = torch.stack(
        [
            torch.stack([naive_similarity(image, prompts[b, p], beta) for b, p in flat])
            for image in images
        ]
    )
    loss = 0.0
    for i in range(len(images)):
        positives = [j for j, (b, p) in enumerate(flat) if ids[b, p] in ids[i]]
        loss -= (scale * similarity[i]).log_softmax(0)[positives].mean() / len(images) / 2
    for j, (b, p) in enumerate(flat):
        positives = [i for i in range(len(images)) if ids[b, p] in ids[i]]
        loss -= (scale * similarity[:, j]).log_softmax(0)[positives].mean() / len(flat) / 2
    return loss


def assert_equal_with_gradients(value, expected, inputs):
    assert torch.allclose(value, expected, rtol=1e-12)
    for ours, theirs in zip(
        torch.autograd.grad(value, inputs), torch.autograd.grad(expected, inputs), strict=True
    ):
        assert torch.allclose(ours, theirs, atol=1e-12)


def test_contrastive_by_hand():
    loss = build('ImageTextContrastiveLoss', temperature=1.0)
    eye = torch.eye(2, dtype=torch.float64)
    # Both directions: log(e + 1) - 1, since matched cosines are 1 and others 0.
    assert float(loss(eye, 3 * eye).detach()) == pytest.approx(math.log(math.e + 1) - 1)


def naive_equal_captions(images, texts, ids, scale):
    """Cross-entropy by loops, uniform over all captions equal to an image's own."""
    cosines = F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T
    loss = 0.0
    for logits in (scale * cosines, scale * cosines.T):
        for i, row in enumerate(logits.log_softmax(-1)):
            positives = [j for j in range(len(ids)) if torch.equal(ids[i], ids[j])]
            loss -= row[positives].mean() / len(ids) / 2
    return loss


@pytest.mark.parametrize('chunk_size', [2, 1024])
def test_equal_captions_against_loops(chunk_size):
    loss = build('ImageTextContrastiveLoss', match_equal_captions=True, chunk_size=chunk_size)
    images, texts = draw(B, D), draw(B, D)
    ids = torch.tensor([[1, 2], [1, 3], [1, 2], [4, 0], [1, 2]])
    expected = naive_equal_captions(images, texts, ids, loss.logit_scale.exp())
    assert_equal_with_gradients(loss(images, texts, ids), expected, [images, texts])


def test_captions_that_all_differ_are_compared_as_in_the_paper():
    ours = build('ImageTextContrastiveLoss', match_equal_captions=True)
    papers = build('ImageTextContrastiveLoss')
    images, texts, ids = draw(B, D), draw(B, D), torch.arange(B)[:, None]
    assert_equal_with_gradients(ours(images, texts, ids), papers(images, texts), [images, texts])


def test_equal_captions_need_the_token_ids():
    loss = build('ImageTextContrastiveLoss', match_equal_captions=True)
    with pytest.raises(ValueError, match='needs the token ids of the captions'):
        loss(draw(B, D), draw(B, D))


def test_contrastive_is_lowest_for_the_right_order():
    loss, images = build('ImageTextContrastiveLoss'), torch.randn(6, D, dtype=torch.float64)
    right = loss(images, images)
    assert right < loss(images, images.roll(1, 0))


@pytest.mark.parametrize('level', ['pooled', 'segments'])
@pytest.mark.parametrize('match_equal_prompts', [False, True])
def test_multi_label_against_loops(level, match_equal_prompts):
    torch.manual_seed(0)
    loss = build('MultiLabelContrastiveLoss', level=level, match_equal_prompts=match_equal_prompts)
    images = draw(B, D) if level == 'pooled' else draw(B, S, D)
    prompts = draw(B, P, D)
    ids = torch.randint(0, 6, (B, P))  # several equal prompts, within an image and across
    assert len(ids.unique()) < B * P
    token_ids = torch.stack([ids, torch.full_like(ids, 99)], dim=-1)
    effective = ids if match_equal_prompts else torch.arange(B * P).view(B, P)
    segments = images if level == 'segments' else images.unsqueeze(1)
    expected = naive_multi_label(segments, prompts, effective, loss.logit_scale.exp())
    value = loss(images, prompts, token_ids)
    assert_equal_with_gradients(value, expected, [images, prompts, loss.logit_scale])


def test_multi_label_with_one_distinct_prompt_is_the_contrastive_loss():
    torch.manual_seed(0)
    images, texts = draw(B, D), draw(B, D)
    multi, single = build('MultiLabelContrastiveLoss'), build('ImageTextContrastiveLoss')
    assert torch.allclose(multi(images, texts.unsqueeze(1)), single(images, texts))


def test_permuted_captions_permute_the_gradients():
    torch.manual_seed(0)
    loss, images, texts = build('ImageTextContrastiveLoss'), draw(B, D), draw(B, D)
    order = torch.randperm(B)
    (gradient,) = torch.autograd.grad(loss(images, texts), images)
    (permuted,) = torch.autograd.grad(loss(images[order], texts[order]), images)
    assert torch.allclose(gradient, permuted)


@pytest.mark.parametrize('name', ['ImageTextContrastiveLoss', 'MultiLabelContrastiveLoss'])
def test_scale_is_clamped_at_100_in_the_forward_pass(name):
    torch.manual_seed(0)
    loss, images, texts = build(name), draw(B, D), draw(B, D)
    texts = texts if name == 'ImageTextContrastiveLoss' else texts.unsqueeze(1)
    with torch.no_grad():
        loss.logit_scale.fill_(math.log(100))
        at_limit = loss(images, texts)
        loss.logit_scale.fill_(math.log(1000))
        assert torch.allclose(loss(images, texts), at_limit)


@pytest.mark.parametrize('name', ['ImageTextContrastiveLoss', 'MultiLabelContrastiveLoss'])
def test_half_precision_embeddings_give_a_float32_loss(name):
    torch.manual_seed(0)
    loss = MODELS.build(dict(type=name))
    images, texts = torch.randn(B, D).bfloat16(), torch.randn(B, 1, D).bfloat16()
    texts = texts.squeeze(1) if name == 'ImageTextContrastiveLoss' else texts
    with torch.autocast('cpu', dtype=torch.bfloat16):
        value = loss(images, texts)
    assert value.dtype == torch.float32
    assert torch.allclose(value, loss(images.float(), texts.float()))


def test_any_beta_leaves_pooled_embeddings_alone():
    """There is no maximum over one embedding: no power of e, which would be infinite here."""
    images, prompts = torch.randn(B, D), torch.randn(B, P, D)
    values = [
        MODELS.build(dict(type='MultiLabelContrastiveLoss', smooth_max_beta=beta))(images, prompts)
        for beta in (10.0, 1000.0)
    ]
    assert torch.equal(*values)


def test_two_segments_against_loops():
    torch.manual_seed(0)
    loss, images, prompts = (
        build('MultiLabelContrastiveLoss', level='segments'),
        draw(B, 2, D),
        draw(B, P, D),
    )
    ids = torch.arange(B * P).view(B, P)
    expected = naive_multi_label(images, prompts, ids, loss.logit_scale.exp())
    assert_equal_with_gradients(loss(images, prompts), expected, [images, prompts])


@pytest.mark.parametrize('name', ['ImageTextContrastiveLoss', 'MultiLabelContrastiveLoss'])
def test_defaults_are_the_documented_ones(name):
    loss = build(name)
    assert float(loss.logit_scale.detach().exp()) == pytest.approx(1 / 0.07)
    assert (loss.loss_weight, loss.chunk_size) == (1.0, 1024)


def test_numbers_of_prompts_are_on_the_device_of_the_prompts():
    local, everywhere = consecutive_prompt_ids(torch.empty(B, P, D, device='meta'))
    assert (local.device.type, everywhere.device.type) == ('meta', 'meta')


def test_bad_settings_are_one_sentence():
    with pytest.raises(ValueError, match=r"one of .*'segments', 'patches'.*, not 'pixels'"):
        build('MultiLabelContrastiveLoss', level='pixels')
    with pytest.raises(ValueError, match="level='patches' needs segment_shares"):
        build('MultiLabelContrastiveLoss', level='patches')(draw(B, S, D), draw(B, P, D))
    with pytest.raises(ValueError, match='needs the token ids'):
        build('MultiLabelContrastiveLoss', match_equal_prompts=True)(draw(B, D), draw(B, P, D))


@pytest.mark.parametrize('beta', [3.0, 90.0])
def test_an_empty_segment_learns_what_a_patch_would_bring_it(beta):
    """The gradient of a share is the exact one, where exponentials are added up and where not."""
    cosines = torch.tensor([[[1.0], [0.98]]], dtype=torch.float64)
    shares = torch.tensor([[1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    smooth_maximum(cosines, beta, shares).sum().backward()
    expected = (beta * (cosines[0, :, 0] - 1.0)).exp() / beta
    torch.testing.assert_close(shares.grad[0], expected, atol=1e-4, rtol=1e-4)
    assert shares.grad[0, 1] > 0.001
