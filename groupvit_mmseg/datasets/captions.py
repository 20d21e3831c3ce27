"""The rule for captions in a text or JSON member of a sample, or in a cell of a table.

Training and the converters share it, so that a caption that a converter accepts is one that
training can use.
"""

import json
from collections.abc import Iterable, Mapping

from groupvit_mmseg.datasets.shard_stream import BadSample

TEXT_EXTENSIONS = ('txt', 'text')
CAPTION_KEYS = ('captions', 'caption', 'texts', 'text')
# The key of all captions of a row, whose columns may have any other name.
ALL_CAPTIONS = '\0'


def captions_of_members(members: Mapping[str, bytes], prefer: str = 'text') -> list[str]:
    """Read the captions of a sample from its text or JSON member.

    Args:
        members (Mapping[str, bytes]): Contents by extension, without the dot.
        prefer (str): Which member to take where there are both: 'text' or 'json'. Defaults to
            'text'.

    Returns:
        list[str]: One caption or several, stripped, none of them empty.

    Raises:
        BadSample: If there is no caption member, or it holds no caption that can be used.
    """
    texts = [name for name in TEXT_EXTENSIONS if name in members]
    if texts and (prefer == 'text' or 'json' not in members):
        captions = [decode_text(members[texts[0]])]
    elif 'json' in members:
        captions = captions_of_json(members['json'])
    else:
        raise BadSample('it has no caption member (.txt, .text or .json)')
    return usable_captions(captions)


def decode_text(data: bytes) -> str:
    """Decode UTF-8 text, with or without a byte-order mark; raises ``BadSample`` for other text."""
    try:
        return data.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise BadSample('the caption is not UTF-8 text') from error


def captions_of_json(data: bytes) -> list[str]:
    """Read all captions of a JSON member; see ``captions_of_value``.

    Args:
        data (bytes): UTF-8 text of any JSON value.

    Returns:
        list[str]: Captions as they are written, empty ones included.

    Raises:
        BadSample: If it is not JSON, or holds no captions.
    """
    text = decode_text(data)
    try:
        content = json.loads(text)
    # Besides invalid JSON: integers of thousands of digits, and lists in lists without end.
    except (ValueError, RecursionError) as error:
        raise BadSample('the JSON member is not valid') from error
    return captions_of_value(content)


def captions_of_value(content: object) -> list[str]:
    """Find the captions in a decoded value.

    Args:
        content (object): A string, a list of strings, or a mapping with one of them under
            ``captions``, ``caption``, ``texts`` or ``text``: the first of these keys with a value
            counts. A null in a list is an empty caption.

    Returns:
        list[str]: Captions as they are written, empty ones included.

    Raises:
        BadSample: If the value has another form.
    """
    if isinstance(content, Mapping):
        keys = (ALL_CAPTIONS, *CAPTION_KEYS)
        content = next((content[key] for key in keys if content.get(key)), [])
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list) or not all(isinstance(x, str | None) for x in content):
        raise BadSample(f'the JSON member has no caption under {", ".join(CAPTION_KEYS)}')
    return [text or '' for text in content]


def usable_captions(captions: Iterable[str]) -> list[str]:
    """Strip captions and leave out those that cannot be used.

    Args:
        captions (Iterable[str]): Captions as they are written.

    Returns:
        list[str]: Captions, at least one.

    Raises:
        BadSample: If none can be used; the reason is that of the first.
    """
    usable, problems = sift_captions(captions)
    if not usable:
        raise BadSample(f'the caption {problems[0] if problems else "is empty"}')
    return usable


def sift_captions(captions: Iterable[str]) -> tuple[list[str], list[str]]:
    """Split captions into those that can be used, stripped, and the problems of the others."""
    usable, problems = [], []
    for text in map(str.strip, captions):
        problem = text_problem(text) if text else 'is empty'
        if problem is None:
            usable.append(text)
        else:
            problems.append(problem)
    return usable, problems


def text_problem(text: str) -> str | None:
    """Describe why a string is no text; None if it is."""
    if '\0' in text:
        return 'holds NUL bytes (UTF-16, or a binary file?)'
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return 'is not UTF-8 text'
    return None
