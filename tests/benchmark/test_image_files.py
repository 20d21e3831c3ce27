"""Fingerprints of images and masks that were replaced."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from groupvit_mmseg.benchmark.image_files import ImageFiles


@pytest.mark.parametrize('suffix', ['bmp', 'tif', 'png'])
def test_a_replaced_image_has_another_fingerprint(tmp_path, suffix):
    image, mask = tmp_path / f'a.{suffix}', tmp_path / 'a_mask.png'
    info = dict(img_path=str(image), seg_map_path=str(mask))

    class Dataset(SimpleNamespace):
        def __len__(self):
            return 1

    def fingerprint(pixels, labels):
        Image.fromarray(np.uint8(pixels).repeat(3, 2)).save(image)
        Image.fromarray(np.uint8(labels)).save(mask)
        return ImageFiles(Dataset(get_data_info=lambda index: info))(0)

    noise = np.random.default_rng(0).integers(0, 256, (8, 9, 1))
    labels = np.zeros((8, 9))
    first = fingerprint(noise, labels)
    assert fingerprint(noise, labels) == first
    assert fingerprint(noise // 128, labels) != first
    assert fingerprint(noise, labels + 1) != first
