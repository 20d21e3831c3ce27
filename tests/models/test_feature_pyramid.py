import pytest
import torch
from mmseg.registry import MODELS

import groupvit_mmseg  # noqa: F401


def build(**settings):
    torch.manual_seed(0)
    return MODELS.build(dict(type='SimpleFeaturePyramid', **settings))


@pytest.mark.parametrize('size', [(4, 6), (5, 7), (1, 1)])
@pytest.mark.parametrize('count', [1, 4])
def test_strides_and_widths_of_a_resnet(size, count):
    neck = build(in_channels=24)
    levels = neck([torch.randn(2, 24, *size) for _ in range(count)])
    assert [level.shape[1] for level in levels] == [256, 512, 1024, 2048]
    for level, scale in zip(levels, (4, 2, 1, 0.5), strict=True):
        assert tuple(level.shape[2:]) == tuple(-int(-n * scale // 1) for n in size)


def test_every_level_sees_its_own_map():
    neck = build(in_channels=(8, 16), out_channels=(4, 6), scales=(2, 1))
    first, second = torch.randn(1, 8, 3, 3), torch.randn(1, 16, 3, 3)
    one, two = neck((first, second))
    assert one.shape == (1, 4, 6, 6)
    assert two.shape == (1, 6, 3, 3)
    other = neck((first, second + 1))
    assert torch.equal(other[0], one)
    assert not torch.equal(other[1], two)


def test_a_level_of_scale_one_is_a_normalised_projection():
    neck = build(in_channels=8, out_channels=(4,), scales=(1,), norm_cfg=None)
    x = torch.randn(2, 8, 3, 5)
    (level,) = neck((x,))
    weight, bias = neck.levels[0][1].weight[..., 0, 0], neck.levels[0][1].bias
    expected = torch.einsum('oc,bchw->bohw', weight, x) + bias[:, None, None]
    assert torch.allclose(level, expected, atol=1e-6)
    (normed,) = build(in_channels=8, out_channels=(4,), scales=(1,))((x,))
    assert torch.allclose(normed.mean((1, 2, 3)), torch.zeros(2), atol=1e-5)


def test_merged_levels_see_all_maps():
    neck = build(in_channels=(8, 16), out_channels=(4, 4, 4), scales=(2, None, 1), merge=True)
    maps = [torch.randn(1, 8, 3, 3), torch.randn(1, 16, 3, 3)]
    first, unread, last = neck(maps)
    assert unread is None
    assert (first.shape, last.shape) == ((1, 4, 6, 6), (1, 4, 3, 3))
    changed = neck([maps[0], maps[1] + 1])
    assert not torch.equal(changed[0], first)
    assert not torch.equal(changed[2], last)
    weight, bias = neck.merge.weight[..., 0, 0], neck.merge.bias[:, None, None]
    by_map = [torch.einsum('oc,bchw->bohw', w, x) for w, x in zip(weight.split((8, 16), 1), maps)]
    assert torch.allclose(neck.levels[2](sum(by_map) + bias), last, atol=1e-5)


def test_a_level_that_nobody_reads_has_no_parameters():
    neck = build(in_channels=8, scales=(None, None, 1, 1))
    names = {name.split('.')[1] for name, _ in neck.named_parameters()}
    assert names == {'2', '3'}
    assert [level is None for level in neck([torch.randn(1, 8, 3, 3)])] == [
        True,
        True,
        False,
        False,
    ]


def test_pooling_is_a_maximum():
    neck = build(in_channels=3, out_channels=(3,), scales=(0.25,), norm_cfg=None)
    with torch.no_grad():
        neck.levels[0][1].weight.copy_(torch.eye(3)[..., None, None])
        neck.levels[0][1].bias.zero_()
    x = torch.randn(1, 3, 8, 4)
    expected = torch.stack([x[..., :4, :], x[..., 4:, :]], 2).amax((3, 4))
    assert torch.allclose(neck((x,))[0][..., 0], expected)


@pytest.mark.parametrize(
    'settings, sentence',
    [
        (dict(in_channels=8, scales=(4, 2)), r'2 scales, 4 out_channels and 2 in_channels'),
        (dict(in_channels=(8, 8)), 'one width per level'),
        (dict(in_channels=8, scales=(4, 3, 1, 0.5)), r'scales = \(4, 3, 1, 0.5\) may hold'),
    ],
)
def test_settings_that_cannot_be(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        build(**settings)


@pytest.mark.parametrize('merge, sentence', [(False, '1 or 4'), (True, '4')])
def test_another_number_of_maps_is_told(merge, sentence):
    with pytest.raises(ValueError, match=rf'takes {sentence} map\(s\), but got 3'):
        build(in_channels=8, merge=merge)([torch.randn(1, 8, 4, 4)] * 3)
