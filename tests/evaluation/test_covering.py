"""Covering, Rand index and variation of information against loops over pixels."""

import itertools
import math

import numpy as np
import pytest
from scipy.io import savemat

from groupvit_mmseg.evaluation.covering import covering_scores, read_annotations


def plain_scores(first, second):
    pixels = list(zip(first.ravel().tolist(), second.ravel().tolist(), strict=True))
    count = len(pixels)
    covering = 0.0
    for region in set(second.ravel().tolist()):
        of_region = {i for i, (_, b) in enumerate(pixels) if b == region}
        best = 0.0
        for other in set(first.ravel().tolist()):
            of_other = {i for i, (a, _) in enumerate(pixels) if a == other}
            best = max(best, len(of_region & of_other) / len(of_region | of_other))
        covering += len(of_region) * best / count
    pairs = list(itertools.combinations(pixels, 2))
    rand = sum((a[0] == b[0]) == (a[1] == b[1]) for a, b in pairs) / len(pairs)
    variation = 0.0
    for a, b in pixels:  # -log p(a, b) / p(a) - log p(a, b) / p(b), averaged over pixels
        both = sum(pixel == (a, b) for pixel in pixels)
        variation -= math.log2(both / sum(p[0] == a for p in pixels)) / count
        variation -= math.log2(both / sum(p[1] == b for p in pixels)) / count
    return 100 * covering, 100 * rand, variation


def test_scores_are_those_of_loops_over_pixels():
    rng = np.random.default_rng(0)
    first = rng.integers(0, 4, (6, 7))
    annotations = [rng.integers(3, 6, (6, 7)), first // 2]
    expected = np.mean([plain_scores(first, each) for each in annotations], axis=0)
    assert covering_scores(first, annotations) == pytest.approx(tuple(expected))


def test_names_of_regions_do_not_matter():
    regions = np.array([[7, 7, -2], [5, 5, 5]])
    renamed = np.array([[0, 0, 9], [4, 4, 4]])
    assert covering_scores(regions, [renamed]) == pytest.approx((100.0, 100.0, 0.0), abs=1e-12)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match='no annotation'):
        covering_scores(np.zeros((2, 2), int), [])
    with pytest.raises(ValueError, match='resize the regions'):
        covering_scores(np.zeros((2, 2), int), [np.zeros((2, 3), int)])


def save_bsds(path, maps):
    """A file as BSDS500 has them: a cell of structs."""
    cells = np.empty((1, len(maps)), dtype=object)
    for index, each in enumerate(maps):
        cells[0, index] = dict(Segmentation=each.astype(np.uint16), Boundaries=each > 0)
    savemat(path, dict(groundTruth=cells))


def test_files_of_bsds(tmp_path):
    maps = [np.array([[1, 1, 2], [3, 3, 2]]), np.array([[1, 1, 1], [300, 2, 2]])]
    save_bsds(tmp_path / 'a.mat', maps)
    for read, saved in zip(read_annotations(tmp_path / 'a.mat'), maps, strict=True):
        assert np.array_equal(read, saved)
    savemat(tmp_path / 'b.mat', dict(other=1))
    (tmp_path / 'c.mat').write_bytes(b'nothing of MATLAB' * 20)
    for name in ('b', 'c'):
        with pytest.raises(ValueError, match='is no file of BSDS500'):
            read_annotations(tmp_path / f'{name}.mat')
    with pytest.raises(FileNotFoundError):
        read_annotations(tmp_path / 'd.mat')
