"""The rule for captions that training and the converters share."""

import json

import pytest

from groupvit_mmseg.datasets.captions import captions_of_members, captions_of_value
from groupvit_mmseg.datasets.image_text_transforms import LoadImageText
from groupvit_mmseg.datasets.shard_stream import BadSample

USABLE = {
    'plain': ({'txt': b' a dog \n'}, ['a dog']),
    'a byte-order mark': ({'txt': '\ufeffa dog'.encode()}, ['a dog']),
    'a mark in JSON': ({'json': '\ufeff"a dog"'.encode()}, ['a dog']),
    'a list': ({'json': b'["a dog", "a cat"]'}, ['a dog', 'a cat']),
    'nulls and blanks in a list': ({'json': b'[null, "a dog", "  "]'}, ['a dog']),
    'the first key that holds something': ({'json': b'{"caption": null, "text": "a"}'}, ['a']),
    'one of several is not text': ({'json': b'["a\\u0000b", "a dog", "\\ud800"]'}, ['a dog']),
    'accents': ({'text': 'un café'.encode()}, ['un café']),
}
BAD = {
    'UTF-16': ({'txt': 'a dog'.encode('utf-16')}, 'is not UTF-8 text'),
    'UTF-16 without a mark': ({'txt': 'a dog'.encode('utf-16-le')}, 'holds NUL bytes'),
    'Latin-1': ({'txt': 'café'.encode('latin-1')}, 'is not UTF-8 text'),
    'half of a surrogate pair': ({'json': b'"a \\ud800 dog"'}, 'is not UTF-8 text'),
    'no JSON': ({'json': b'{"caption": '}, 'JSON member is not valid'),
    'a number of 5,000 digits': ({'json': b'9' * 5000}, 'JSON member is not valid'),
    'lists without end': ({'json': b'[' * 100_000}, 'JSON member is not valid'),
    'a number': ({'json': b'{"caption": 7}'}, 'no caption under'),
    'a list of numbers': ({'json': b'["a", 7]'}, 'no caption under'),
    'nulls': ({'json': b'[null, ""]'}, 'is empty'),
    'nothing': ({'json': b'{}'}, 'is empty'),
}


@pytest.mark.parametrize('name', USABLE)
def test_captions_that_can_be_used(name):
    members, expected = USABLE[name]
    assert captions_of_members(members) == expected


@pytest.mark.parametrize('name', BAD)
def test_others_are_bad_samples_with_a_reason(name):
    members, reason = BAD[name]
    with pytest.raises(BadSample, match=reason):
        captions_of_members(members)


def test_training_reads_captions_by_this_rule(encode_image):
    members = {'png': encode_image('.png'), 'json': json.dumps([None, '\0', 'a dog']).encode()}
    loaded = LoadImageText().transform(dict(key='x', error=None, members=members))
    assert loaded['caption'] == 'a dog'
    members['json'] = b'[' * 100_000
    with pytest.raises(BadSample, match='not valid'):
        LoadImageText().transform(dict(key='x', error=None, members=members))


def test_the_preferred_member_is_taken():
    members = {'txt': b'a dog', 'json': b'"a cat"'}
    assert captions_of_members(members) == ['a dog']
    assert captions_of_members(members, 'json') == ['a cat']
    with pytest.raises(BadSample, match='no caption member'):
        captions_of_members({'jpg': b''})


def test_training_reads_the_beginning_of_a_web_page_saved_as_a_caption(encode_image):
    page = 'a dog &#;' * 100_000  # tagging all of it takes half an hour
    members = dict(jpg=encode_image(), txt=page.encode())
    loaded = LoadImageText().transform(dict(key='x', members=members, error=None))
    assert loaded['caption'] == page[:10_000]


def test_a_caption_of_200_kb_is_whole():
    text = 'a dog ' * 33_000
    assert captions_of_value({'text': text}) == [text]
