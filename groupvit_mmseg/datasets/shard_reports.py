"""Reads, decodes and tags every sample of a shard, and reports contents and faults."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groupvit_mmseg.datasets.epoch_plan import ShardRange
from groupvit_mmseg.datasets.image_text_transforms import IMAGE_EXTENSIONS, LoadImageText
from groupvit_mmseg.datasets.shard_members import MEMBERS_RULE, ShardCount, count_members
from groupvit_mmseg.datasets.shard_stream import describe_error, read_shard_range
from groupvit_mmseg.text import CaptionWords, tokenize

CONTEXT_LENGTH, EXAMPLES = 77, 5


class Report(NamedTuple):
    """Contents and faults of one shard.

    Attributes:
        size (int): Samples.
        bad (list[str]): ``key: reason`` of the first unreadable samples.
        num_bad (int): All of them.
        num_incomplete (int): Those without an image or a caption member.
        complaints (list[str]): ``key: complaint`` of the first images that a decoder complained of.
        num_damaged (int): All of them.
        problem (str): Fault of the tar itself; empty if it has none.
        hidden (int): Hidden files, which are skipped.
        ended (bool): Whether the tar has its end mark.
        images (NDArray[np.uint64]): A hash of each image's bytes.
        lengths (NDArray[np.int64]): Captions by number of tokens, ``(78,)``.
        without_words (int): Captions without a noun or verb.
    """

    size: int
    bad: list[str]
    num_bad: int
    num_incomplete: int
    complaints: list[str]
    num_damaged: int
    problem: str
    hidden: int
    ended: bool
    images: NDArray[np.uint64]
    lengths: NDArray[np.int64]
    without_words: int

    def as_json(self) -> dict[str, object]:
        """Return the report as the file of a part has it."""
        images = base64.b64encode(self.images.astype('<u8').tobytes()).decode()
        return {**self._asdict(), 'images': images, 'lengths': self.lengths.tolist()}

    @classmethod
    def of_json(cls, content: Mapping[str, object]) -> 'Report':
        """Read what ``as_json`` wrote."""
        images = np.frombuffer(base64.b64decode(str(content['images'])), '<u8')
        lengths = np.array(content['lengths'], dtype=np.int64)
        values = {**content, 'images': images, 'lengths': lengths}
        return cls._make(values[name] for name in cls._fields)


def examine(shard: str, captions: str = 'text') -> Report:
    """Read, decode and tag every sample of a shard."""
    load, words = LoadImageText(captions=captions), CaptionWords()
    size, incomplete, without_words, problem = 0, 0, 0, ''
    bad: list[str] = []
    complaints: list[str] = []
    images: list[int] = []
    texts: list[str] = []
    for sample in read_shard_range(ShardRange(shard, 0, None), Path(shard).name):
        if sample.error is not None and not sample.members:
            problem = sample.error
            bad.append(f'{sample.key}: {sample.error}')
            continue
        size += 1
        for extension in IMAGE_EXTENSIONS:
            if extension in sample.members:
                digest = hashlib.blake2b(sample.members[extension], digest_size=8).digest()
                images.append(int.from_bytes(digest, 'little'))
        try:
            loaded = load.transform(sample._asdict())
            without_words += not words(loaded['caption'])
            texts.append(loaded['caption'])
            complaints += loaded['damaged']
        except Exception as error:  # as in training: whatever a decoder or a parser raises
            reason = describe_error(error)
            incomplete += MEMBERS_RULE in reason
            bad.append(f'{sample.key}: {reason}')
    count = count_headers(shard)
    return Report(
        size=size,
        bad=bad[:EXAMPLES],
        num_bad=len(bad),
        num_incomplete=incomplete,
        complaints=complaints[:EXAMPLES],
        num_damaged=len(complaints),
        problem=problem,
        hidden=count.hidden,
        ended=count.ended,
        images=np.array(images, dtype=np.uint64),
        lengths=token_lengths(texts),
        without_words=without_words,
    )


def count_headers(shard: str) -> ShardCount:
    """Count the headers of a shard; zeros for one elsewhere or a broken one."""
    try:
        return count_members(shard)
    except Exception:  # not on this machine, or broken, which is reported already
        return ShardCount(samples=0, files=0, hidden=0, repeated=())


def token_lengths(texts: list[str]) -> NDArray[np.int64]:
    """Count captions by number of tokens, start and end included."""
    if not texts:
        return np.zeros(CONTEXT_LENGTH + 1, dtype=np.int64)
    ends = tokenize(texts, CONTEXT_LENGTH).argmax(-1) + 1
    return np.bincount(ends.numpy(), minlength=CONTEXT_LENGTH + 1)


def examine_as_json(shard: str, captions: str) -> dict[str, object]:
    """Examine one shard; the result is that of a part."""
    return examine(shard, captions).as_json()
