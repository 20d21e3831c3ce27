import json
import random
from collections import Counter

import cv2
import numpy as np
import pytest
import torch
from mmseg.registry import TRANSFORMS

from groupvit_mmseg.datasets import CaptionPrompts, LoadImageText, PackImageText, collate_image_text
from groupvit_mmseg.text import TEMPLATE_SETS, tokenize


def raw(**members):
    return dict(key='set/1', members=members, error=None)


@pytest.fixture
def png(encode_image):
    return encode_image()


def test_image_is_decoded_blue_green_red(png):
    pixels = np.zeros((2, 3, 3), dtype=np.uint8)
    pixels[..., 0] = 200  # blue in OpenCV's order
    results = LoadImageText()(raw(png=cv2.imencode('.png', pixels)[1].tobytes(), txt=b' a sky \n'))
    np.testing.assert_array_equal(results['img'], pixels)
    assert results['caption'] == 'a sky'
    assert results['img_shape'] == results['ori_shape'] == (2, 3)


@pytest.mark.parametrize('kind', ['grey', 'alpha', '16 bit'])
def test_any_kind_of_image_becomes_three_channels(kind):
    shape, dtype = {
        'grey': ((4, 4), 'u1'),
        'alpha': ((4, 4, 4), 'u1'),
        '16 bit': ((4, 4, 3), 'u2'),
    }[kind]
    data = cv2.imencode('.png', np.full(shape, 7, dtype=dtype))[1].tobytes()
    image = LoadImageText()(raw(png=data, txt=b'a'))['img']
    assert (image.shape, image.dtype) == ((4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    'content, captions',
    [
        ('one', {'one'}),
        (['one', 'two'], {'one', 'two'}),
        ({'caption': 'one'}, {'one'}),
        ({'captions': ['one', ' ', 'two'], 'text': 'three'}, {'one', 'two'}),
        ({'texts': ['one']}, {'one'}),
        ({'text': 'one', 'url': 'x'}, {'one'}),
    ],
)
def test_captions_in_json(png, content, captions):
    sample = raw(png=png, json=json.dumps(content).encode())
    drawn = {LoadImageText()(dict(sample))['caption'] for _ in range(40)}
    assert drawn == captions


def test_text_and_json_where_both_are_there(png):
    both = dict(png=png, txt=b'plain', json=b'["first", "second"]')
    assert LoadImageText()(raw(**both))['caption'] == 'plain'
    assert LoadImageText('json')(raw(**both))['caption'] in ('first', 'second')
    assert LoadImageText('json')(raw(png=png, text=b'plain'))['caption'] == 'plain'
    with pytest.raises(ValueError, match='use "text" or "json"'):
        LoadImageText('tsv')


def words_of(prompts, templates):
    """The words set into templates, by trying all of them."""
    found = []
    for prompt in prompts:
        for template in templates:
            before, after = template.split('{}')
            word = prompt[len(before) : len(prompt) - len(after)]
            if prompt == before + word + after and ' ' not in word:
                found.append(word)
                break
    return found


def test_prompts_are_words_drawn_without_replacement_in_templates():
    transform = CaptionPrompts(3)
    drawn = Counter()
    for _ in range(200):
        prompts = transform(dict(caption='two brown dogs playing in water'))['prompts']
        words = words_of(prompts, TEMPLATE_SETS['full'])
        assert sorted(words) == ['dogs', 'playing', 'water']
        drawn.update(prompts)
    assert len(drawn) > 100  # of 240: the templates are drawn too


def test_every_word_is_drawn_equally_often():
    transform = CaptionPrompts(1, templates='identity')
    random.seed(0)
    caption = 'a dog and a cat on a beach with a ball'
    drawn = Counter(transform(dict(caption=caption))['prompts'][0] for _ in range(2000))
    assert set(drawn) == {'dog', 'cat', 'beach', 'ball'}
    assert max(abs(count - 500) for count in drawn.values()) < 80  # 4 standard deviations


def test_the_caption_fills_the_rest():
    prompts = CaptionPrompts(3, templates=['<{}>'])(dict(caption='a red kite'))['prompts']
    assert prompts == ['<kite>', 'a red kite', 'a red kite']
    assert CaptionPrompts(2)(dict(caption='?!'))['prompts'] == ['?!', '?!']


def test_braces_in_a_word_are_text():
    assert CaptionPrompts(1, templates='simple')._fill_template('{0}') == 'a photo of a {0}.'


def test_no_prompts():
    assert CaptionPrompts(0)(dict(caption='a dog'))['prompts'] == []
    with pytest.raises(ValueError, match='must be 0 or more'):
        CaptionPrompts(-1)


def pack(key, prompts):
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    packed = PackImageText(7)(dict(key=key, img=image, caption='a cat', prompts=prompts))
    return {**packed, 'skipped': ['x: bad'] if key == 'b' else []}


def test_batch_structure():
    batch = collate_image_text([pack('a', ['a dog', 'x']), pack('b', ['y', 'a cat'])])
    assert batch['inputs'].shape == (2, 3, 2, 3)
    assert batch['inputs'].dtype == torch.uint8
    assert batch['inputs'][0, :, 1, 2].tolist() == [15, 16, 17]
    assert torch.equal(batch['token_ids'][0], tokenize(['a cat', 'a dog', 'x'], 7))
    assert torch.equal(batch['token_ids'][1], tokenize(['a cat', 'y', 'a cat'], 7))
    assert batch['captions'] == ['a cat', 'a cat']
    assert batch['prompts'] == [['a dog', 'x'], ['y', 'a cat']]
    assert batch['keys'] == ['a', 'b']
    assert batch['skipped'] == ['x: bad']


def test_all_types_are_registered_where_mmseg_configs_look():
    for name in ('LoadImageText', 'CaptionPrompts', 'PackImageText'):
        assert TRANSFORMS.get(name).__name__ == name


def test_words_fill_up_the_prompts():
    make = CaptionPrompts(5, templates='simple', repeat_words=True, ignored_words=['photo'])
    prompts = make(dict(caption='a photo of a dog and a cat'))['prompts']
    assert sorted(prompts) in (
        ['a photo of a cat.'] * 2 + ['a photo of a dog.'] * 3,
        ['a photo of a cat.'] * 3 + ['a photo of a dog.'] * 2,
    )
    assert make(dict(caption='on and on'))['prompts'] == ['on and on'] * 5
