"""ImageNet's folders: labels are their order, so that other names would give other classes."""

import pytest

from groupvit_mmseg.benchmark import run_set


def check(root):
    run_set._check_folders_of_imagenet(root)


def test_folders_that_are_not_those_of_imagenet_are_one_sentence(tmp_path):
    check(tmp_path)  # MMPretrain says that it is empty
    for number in range(1000):
        (tmp_path / f'val/n{number:08}').mkdir(parents=True)
    check(tmp_path)
    (tmp_path / 'val/n00000007').rename(tmp_path / 'val/7')
    with pytest.raises(ValueError, match=r'val has 1000 folders, such as 7: the 1,000 classes of'):
        check(tmp_path)
    (tmp_path / 'val/7').rmdir()
    with pytest.raises(ValueError, match=r'val has 999 folders: the 1,000 classes of ImageNet are'):
        check(tmp_path)
    (tmp_path / 'meta').mkdir()
    (tmp_path / 'meta/val.txt').write_text('a.JPEG 3\n')
    check(tmp_path)
