import pickle

import nltk
import pytest

from groupvit_mmseg.text import CaptionWords


@pytest.fixture
def no_nltk_data(monkeypatch):
    monkeypatch.setattr(nltk.data, 'path', [])


@pytest.mark.parametrize(
    'caption, words',
    [
        ('two brown dogs playing some water', ['dogs', 'playing', 'water']),
        ('A man rides a horse .', ['man', 'rides', 'horse']),
        ('Dog, dog and DOG!', ['Dog', 'dog', 'DOG']),
        ('very slowly and quietly', []),
        ('', []),
        ('?! ... --', []),
    ],
)
def test_nouns_and_verbs_without_any_nltk_data(no_nltk_data, caption, words):
    assert CaptionWords()(caption) == words


def test_survives_pickling_to_a_worker(monkeypatch):
    words = pickle.loads(pickle.dumps(CaptionWords()))
    assert words('a red kite') == ['kite']
    monkeypatch.setattr(nltk, 'word_tokenize', str.split)
    monkeypatch.setattr(nltk, 'pos_tag', lambda words: [(word, 'NN') for word in words])
    assert pickle.loads(pickle.dumps(CaptionWords('nltk')))('a kite') == ['a', 'kite']


def test_nltk_without_its_data_says_what_to_do(no_nltk_data):
    with pytest.raises(LookupError, match=r'nltk\.downloader .* or use tagger="textblob"'):
        CaptionWords('nltk')


def test_nltk_keeps_the_same_tags(monkeypatch):
    monkeypatch.setattr(nltk, 'word_tokenize', str.split)
    tags = dict(a='DT', cat='NN', cats='NNS', Rome='NNP', run='VB', ran='VBD', running='VBG')
    tags |= dict(seen='VBN', see='VBP', sees='VBZ', red='JJ', Alps='NNPS', can='MD')
    monkeypatch.setattr(nltk, 'pos_tag', lambda words: [(w, tags.get(w, 'RB')) for w in words])
    kept = CaptionWords('nltk')(' '.join(tags))
    assert kept == ['cat', 'cats', 'Rome', 'run', 'ran', 'running', 'seen', 'see', 'sees']


def test_unknown_tagger():
    with pytest.raises(ValueError, match="no tagger 'spacy'"):
        CaptionWords('spacy')


def test_plurals_become_singular_and_words_that_end_in_s_stay():
    words = CaptionWords(singular=True)('dogs on grass beside a bus and two women in dresses')
    assert words == ['dog', 'grass', 'bus', 'woman', 'dress']


def test_ignored_words_are_left_out_in_any_case():
    find = CaptionWords(singular=True, ignored=['photo', 'dog'])
    assert find('A Photo of two dogs and a cat') == ['cat']
