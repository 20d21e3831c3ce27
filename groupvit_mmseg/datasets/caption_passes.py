"""The captions of a shard without its images, and the words in them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypedDict

from groupvit_mmseg.datasets.captions import TEXT_EXTENSIONS, captions_of_members
from groupvit_mmseg.datasets.remote_shards import open_shard
from groupvit_mmseg.datasets.shard_members import (
    Member,
    group_members,
    open_headers,
    read_content,
    read_members,
    refusal,
)
from groupvit_mmseg.datasets.shard_sizes import is_remote
from groupvit_mmseg.datasets.shard_stream import BadSample
from groupvit_mmseg.text import CaptionWords

CAPTION_MEMBERS = tuple(f'.{name}' for name in (*TEXT_EXTENSIONS, 'json'))
# Characters of a caption that are tagged, as in training.
TAGGED_CHARACTERS = 10_000


class SampleCaptions(NamedTuple):
    """The captions of a sample; none if they cannot be used."""

    key: str
    captions: list[str]


def read_captions_of_shard(shard: str, prefer: str = 'text') -> Iterator[SampleCaptions]:
    """Read the captions of a shard; of a local one the images are passed over.

    Args:
        shard (str): Path or address.
        prefer (str): The member to take where a sample has both: 'text' or 'json'. Defaults to
            'text'.

    Yields:
        SampleCaptions: Every sample.

    Raises:
        ValueError: If the shard is damaged.
    """
    try:
        for sample in group_members(_caption_members(shard)):
            try:
                yield SampleCaptions(sample.key, captions_of_members(sample.members, prefer))
            except BadSample:
                yield SampleCaptions(sample.key, [])
    except Exception as error:  # tar, decompression and addresses have errors of their own
        reason = ' '.join(str(error).split())
        raise ValueError(f'"{shard}" is damaged ({reason}): fetch or make it again.') from error


def _caption_members(shard: str) -> Iterator[Member]:
    """Read names of members, and the contents of those that may be captions."""
    if is_remote(shard):
        with open_shard(shard) as stream:
            yield from read_members(stream)
        return
    with open(shard, 'rb') as stream, open_headers(stream) as tar:
        for header in tar:
            wanted = header.name.lower().endswith(CAPTION_MEMBERS)
            if header.isreg():
                yield header.name, read_content(tar, header) if wanted else refusal(header) or b''
            tar.members = []  # type: ignore[attr-defined]  # else they pile up


class WordCounts(TypedDict):
    """Numbers of samples, captions, captions without a word, and of each word."""

    samples: int
    captions: int
    without: int
    words: dict[str, int]


def count_words(shard: str, captions: str, tagger: str) -> WordCounts:
    """Count the nouns and verbs of a shard's captions, in lower case.

    Args:
        shard (str): Path or address.
        captions (str): 'text' or 'json', see :func:`read_captions_of_shard`.
        tagger (str): 'textblob' or 'nltk'.

    Returns:
        WordCounts: The numbers.
    """
    find, words = CaptionWords(tagger), Counter[str]()
    samples = texts = without = 0
    for sample in read_captions_of_shard(shard, captions):
        samples += 1
        for text in sample.captions:
            found = find(text[:TAGGED_CHARACTERS])
            words.update(word.lower() for word in found)
            texts, without = texts + 1, without + (not found)
    return {'samples': samples, 'captions': texts, 'without': without, 'words': dict(words)}


def add_word_counts(counts: Iterable[WordCounts]) -> WordCounts:
    """Add the results of ``count_words``.

    Example:
        >>> one = {'samples': 1, 'captions': 1, 'without': 0, 'words': {'dog': 1}}
        >>> add_word_counts([one, one])
        {'samples': 2, 'captions': 2, 'without': 0, 'words': {'dog': 2}}
    """
    samples, captions, without, words = 0, 0, 0, Counter[str]()
    for count in counts:
        samples += count['samples']
        captions += count['captions']
        without += count['without']
        words.update(count['words'])
    return {'samples': samples, 'captions': captions, 'without': without, 'words': dict(words)}
