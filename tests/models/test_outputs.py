"""The maps of a GroupViTOutput against their definitions, pixel by pixel."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from groupvit_mmseg.models.outputs import GroupViTOutput

PATCHES, IMAGE = (3, 4), (13, 17)


def output(*num_segments):
    """Random assignments of 12 patches to segments, of these to the next stage's, and so on."""
    generator, soft, width = torch.Generator().manual_seed(0), [], 12
    for count in num_segments:
        soft.append(torch.randn(2, count, width, generator=generator).softmax(dim=1))
        width = count
    segments = torch.randn(2, width, 5, generator=generator)
    return GroupViTOutput(segments, segments.mean(1), tuple(soft), tuple(soft), PATCHES, IMAGE)


@pytest.mark.parametrize('num_stages', [1, 2, 3, None])
def test_pixels_have_the_resized_probabilities_of_the_composed_assignments(num_stages):
    ours = output(6, 4, 3)
    probs = ours.soft_assignments[0]
    for assignment in ours.soft_assignments[1:num_stages]:
        probs = torch.bmm(assignment, probs)
    resized = F.interpolate(
        probs.reshape(2, -1, *PATCHES), size=IMAGE, mode='bilinear', align_corners=False
    )
    assert torch.equal(ours.pixel_probs(num_stages), resized)
    assert torch.equal(ours.group_map(num_stages), resized.argmax(dim=1))


def test_a_pixel_has_the_weighted_mean_of_the_nearest_patches():
    grid, pixels = output(6).group_probs(), output(6).pixel_probs()
    for y, x in itertools.product(range(IMAGE[0]), range(IMAGE[1])):
        # Centres of pixels in units of patches; beyond the outermost centres nothing changes.
        row = min(max((y + 0.5) * PATCHES[0] / IMAGE[0] - 0.5, 0), PATCHES[0] - 1)
        column = min(max((x + 0.5) * PATCHES[1] / IMAGE[1] - 0.5, 0), PATCHES[1] - 1)
        expected = sum(
            (1 - abs(row - i)) * (1 - abs(column - j)) * grid[:, :, i, j]
            for i, j in itertools.product(range(PATCHES[0]), range(PATCHES[1]))
            if abs(row - i) < 1 and abs(column - j) < 1
        )
        torch.testing.assert_close(pixels[:, :, y, x], expected)


def test_without_assignments_each_patch_is_a_segment():
    ours = output()
    expected = torch.eye(12).view(12, *PATCHES).expand(2, -1, -1, -1)
    assert torch.equal(ours.group_probs(), expected)
    top, second = ours.pixel_probs().topk(2, dim=1).values.unbind(1)
    apart = top - second > 1e-6
    assert torch.equal(ours.group_map()[apart], ours.pixel_probs().argmax(dim=1)[apart])
