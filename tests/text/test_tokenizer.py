import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmseg.utils import tokenizer as clip_bpe

from groupvit_mmseg.text import tokenize, tokenizer

GOLDEN = sorted((Path(__file__).parents[1] / 'data' / 'golden').glob('*.npz'))


@pytest.mark.skipif(not GOLDEN, reason='the golden files are not in tests/data/golden')
def test_golden_token_ids():
    for file in GOLDEN:
        with np.load(file) as arrays:
            texts = json.loads(str(arrays['text/strings']))
            expected = torch.from_numpy(arrays['text/token_ids']).long()
        assert texts
        assert torch.equal(tokenize(texts, expected.shape[1]), expected)


def test_known_ids_are_padded_with_zeros():
    # "a", "cat" and the start and end tokens of CLIP's published vocabulary
    assert tokenize('A  cat', 6).tolist() == [[49406, 320, 2368, 49407, 0, 0]]


def test_long_text_is_cut_and_still_ends():
    ids = tokenize('cat ' * 50, 8)[0]
    assert ids.tolist() == [49406, *[2368] * 6, 49407]


def test_html_and_broken_unicode_are_repaired():
    assert torch.equal(tokenize('dogs &amp; cats'), tokenize('dogs & cats'))
    assert torch.equal(tokenize('caf\u00c3\u00a9'), tokenize('caf\u00e9'))


def test_one_text_equals_a_list_of_one_and_no_text_gives_no_rows():
    assert torch.equal(tokenize('a dog'), tokenize(['a dog']))
    assert tokenize([], 5).shape == (0, 5)


def test_no_room_for_start_and_end():
    with pytest.raises(ValueError, match='at least 2 tokens'):
        tokenize('a', 1)


def test_word_cache_is_bounded_and_emptying_it_changes_nothing(monkeypatch):
    before = tokenize('an extraordinarily unusual word')
    monkeypatch.setattr(tokenizer, '_MAX_CACHED_WORDS', 1)
    assert torch.equal(tokenize('an extraordinarily unusual word'), before)
    tokenize('x')
    assert len(clip_bpe._tokenizer.cache) <= 8
    assert tokenize('<end_of_text>', 4)[0, 1] == 49407
