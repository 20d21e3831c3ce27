"""Mutated copies of valid files: a function of a seed, so that a number names an input."""

import random
from collections.abc import Sequence

# Numbers at which lengths, counts and sizes change their meaning.
EDGES = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000)
EDGES += (0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**40, 2**63 - 1, 2**63, 2**64 - 1)
# Words of text formats, and what text is broken by.
WORDS = (
    *(b'"', b'\\', b'{', b'}', b'[', b']', b'(', b')', b':', b',', b'=', b'.', b'..', b'/', b'\0'),
    *(b'\n', b'\r\n', b'\t', b' ', b'#', b'-', b'*a', b'&a ', b'!!python/object', b'<<: ', b'|'),
    *(b'null', b'true', b'NaN', b'-Infinity', b'1e999', b'-1', b'9' * 30, b'9' * 5000, b'0.5'),
    *(b'\xff\xfe', b'\xef\xbb\xbf', b'\xed\xa0\x80', b'\\ud800', b'\xe2\x80\xae', b'>=', b'|'),
    *(b'[' * 2000, b'{"a":' * 2000, b'(' * 300, b'../' * 20, b'a' * 5000, b'\x1f\x8b\x08'),
)


def mutated(seeds: Sequence[bytes], number: int) -> bytes:
    """Return input ``number``: one of the seeds after one to eight changes.

    Args:
        seeds (Sequence[bytes]): Valid files, at least one.
        number (int): Determines everything.
    """
    rng = random.Random(number)
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4, 8))):
        rng.choice(CHANGES)(data, rng, seeds)
    return bytes(data[:200_000])


def _flip(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    """Flip one bit."""
    if data:
        data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _byte(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    """Replace one byte."""
    if data:
        data[_place(data, rng)] = rng.choice((0, 0xFF, 0x80, rng.randrange(256)))


def _number(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    """Write a binary number of up to eight bytes over the data."""
    width, order = rng.choice((1, 2, 4, 8)), rng.choice(('little', 'big'))
    start = _place(data, rng)
    value = (rng.choice(EDGES) + rng.choice((-1, 0, 0, 1))) % 256**width
    data[start : start + width] = value.to_bytes(width, order)


def _digits(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    """Write a number in decimal or octal digits over the data, as tar headers and texts have it."""
    start = _place(data, rng)
    digits = rng.choice((b'%d', b'%o')) % rng.choice(EDGES)
    data[start : start + rng.choice((1, len(digits)))] = digits


def _word(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    """Insert a word, or write it over the data."""
    start, word = _place(data, rng), rng.choice(WORDS)
    data[start : start + rng.choice((0, 1, len(word)))] = word


def _cut(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    """Remove a stretch, or the end."""
    start = _place(data, rng)
    del data[start : rng.choice((start + rng.randrange(1, 64), len(data)))]


def _repeat(data: bytearray, rng: random.Random, _: Sequence[bytes]) -> None:
    """Repeat a stretch."""
    start = _place(data, rng)
    part = data[start : start + rng.choice((1, 8, 64, 512, 4096))]
    data[start:start] = part * rng.choice((1, 2, 30))


def _splice(data: bytearray, rng: random.Random, seeds: Sequence[bytes]) -> None:
    """Copy a stretch of another seed into the data."""
    other = rng.choice(seeds)
    start, place = _place(other, rng), _place(data, rng)
    part = other[start : start + rng.choice((4, 16, 128, 1024))]
    data[place : place + rng.choice((0, len(part)))] = part


CHANGES = (_flip, _byte, _byte, _number, _number, _digits, _word, _word, _cut, _repeat, _splice)


def _place(data: Sequence[int], rng: random.Random) -> int:
    """Return a place, half of the time near the beginning, where headers are."""
    if not data:
        return 0
    return rng.randrange(min(len(data), 128) if rng.random() < 0.5 else len(data))
