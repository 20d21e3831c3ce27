import json
import random
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmseg.utils import tokenizer as clip_bpe

from groupvit_mmseg.datasets import CaptionPrompts
from groupvit_mmseg.datasets.captions import captions_of_json
from groupvit_mmseg.text import tokenize, tokenizer

DATA = Path(__file__).resolve().parents[3] / 'shared' / 'data'
SHARDS = sorted(DATA.glob('flickr8k_128/*train*.tar'))
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


def test_caches_are_bounded_and_emptying_them_changes_nothing(monkeypatch):
    before = tokenize('an extraordinarily unusual word')
    monkeypatch.setattr(tokenizer, '_MAX_CACHED', 1)
    assert torch.equal(tokenize('an extraordinarily unusual word'), before)
    text = 'one more extraordinarily unusual word'
    assert torch.equal(tokenize(text), clip_bpe.tokenize(text))
    assert len(clip_bpe._tokenizer.cache) <= 8
    assert len(tokenizer._ids_of_pieces) <= 1
    assert tokenize('<end_of_text>', 4)[0, 1] == 49407


def test_long_pieces_are_not_kept(monkeypatch):
    monkeypatch.setattr(tokenizer, '_ids_of_pieces', {})
    tokenize('short ' + 'x' * 33)
    assert set(tokenizer._ids_of_pieces) == {'short'}


ODD_TEXTS = [
    '',
    ' ',
    "don't we'll They've I'M it's",
    'a\tb\nc\r\nd\x0be\x0cf\x1cg',
    'tabs\tand  spaces ',
    'AT&amp;T &amp;amp;lt;b&gt; &nbsp;x &quot;q&quot; &#39; &copy',
    'Rock & Roll; a&b',
    '<start_of_text> a <END_OF_TEXT>dog<end_of_text>',
    'caf\u00e9 cafe\u0301 \u0130stanbul \ufb01ne \u2018quoted\u2019 \u2026',
    'schÃ¶n â€œbrokenâ€\x9d',
    '\u4e00\u53ea\u72d7 \u3042 \U0001f415\U0001f3fd\u200d \u0e01\u0e33',
    'no\u00a0break\u2003em\u3000wide\u2028line\u2029para\x85next',
    'x' * 300,
    '\x1b[31mred\x1b[0m \x00nul \x7f',
    '1234 3.14 $5 #tag @you a-b_c/d\\e ...!!!',
    'word ' * 200,
]


@pytest.mark.parametrize('text', ODD_TEXTS, ids=range(len(ODD_TEXTS)))
def test_odd_texts_have_mmsegs_ids(text):
    for _ in range(2):  # the second time from the cache
        assert torch.equal(tokenize(text), clip_bpe.tokenize(text))


@pytest.mark.parametrize(
    'alphabet',
    [
        ''.join(map(chr, range(32, 127))),
        "abc ABC ' & ; # . 12",
        ''.join(map(chr, range(160))) + '\u2019\u00e9\u0130\u3000\U0001f415',
    ],
    ids=['ASCII', 'words', 'any'],
)
def test_random_texts_have_mmsegs_ids(alphabet):
    rng = random.Random(0)
    texts = [''.join(rng.choices(alphabet, k=rng.randrange(60))) for _ in range(1500)]
    assert torch.equal(tokenize(texts, 20), clip_bpe.tokenize(texts, 20))


@pytest.mark.slow
@pytest.mark.skipif(not SHARDS, reason='no Flickr8k shards beside the repository')
def test_captions_and_prompts_of_flickr8k_have_mmsegs_ids():
    make_prompts, count = CaptionPrompts(3), 0
    for shard in SHARDS:
        with tarfile.open(shard) as tar:
            files = [tar.extractfile(member) for member in tar if member.name.endswith('.json')]
            for file in files:
                captions = captions_of_json(file.read())
                texts = [
                    t for c in captions for t in (c, *make_prompts(dict(caption=c))['prompts'])
                ]
                assert torch.equal(tokenize(texts), clip_bpe.tokenize(texts))
                count += len(texts)
    assert count > 100_000
