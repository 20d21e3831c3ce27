"""Which words a model cannot tell apart."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from groupvit_mmseg.text.class_list import make_class_list

from loading import load_file

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'tests/data/configs/tiny_zeroshot.py'


@pytest.fixture(scope='module')
def tool():
    return load_file('tools/analysis_tools/vocabulary.py')


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(CONFIG).model)
    path = tmp_path_factory.mktemp('vocabulary') / 'weights.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return path


def test_pairs_are_of_different_classes_and_sorted(tool):
    classes = make_class_list(['cat', 'dog', 'bus'], aliases={'cat': ['kitten']})
    embeds = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    pairs = tool.near_pairs(embeds, classes)
    assert [(round(value, 3), one, other) for value, one, other in pairs] == [
        (0.8, 'cat', 'dog'),
        (0.8, 'kitten', 'dog'),
        (0.6, 'dog', 'bus'),
        (0.0, 'cat', 'bus'),
        (0.0, 'kitten', 'bus'),
    ]


def test_words_that_the_tokenizer_cannot_tell_apart_are_refused(tool, checkpoint, tmp_path, capsys):
    one, other = 'caf\u00e9', 'cafe\u0301'  # the same letter, as one code point and as two
    text = f'background: sky\n{one}, bar\n{other}\nfire hydrant\n'
    (tmp_path / 'classes.txt').write_text(text, encoding='utf-8')
    arguments = [str(checkpoint), f'--config={CONFIG}', f'--classes={tmp_path / "classes.txt"}']
    assert tool.main(arguments) == 2
    assert f'{other!r} is named already in line 2: name it once' in capsys.readouterr().err


@pytest.mark.parametrize('classes, count', [('pascal_voc', 190), ('cityscapes', 171), ('a, b', 1)])
def test_sets_and_free_text(tool, checkpoint, capsys, classes, count):
    assert tool.main([str(checkpoint), f'--config={CONFIG}', f'--classes={classes}']) == 0
    assert f'of {count} pairs' in capsys.readouterr().out


def test_a_missing_file_is_one_sentence(tool, checkpoint, capsys):
    assert tool.main([str(checkpoint), f'--config={CONFIG}', '--classes=none.txt']) == 2
    assert capsys.readouterr().err == 'error: There is no class file none.txt.\n'
