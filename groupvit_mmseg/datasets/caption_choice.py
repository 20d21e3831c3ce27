"""Draws the caption of a sample, from captions of several origins by their probabilities."""

import json
import math
import random
from collections.abc import Mapping

from groupvit_mmseg.datasets.captions import (
    TEXT_EXTENSIONS,
    captions_of_members,
    captions_of_value,
    decode_text,
    sift_captions,
)
from groupvit_mmseg.datasets.shard_stream import BadSample

# Names that stand for the members of every shard; any other is that of a member or a key.
TEXT, JSON = 'text', 'json'
CaptionChoice = str | Mapping[str, float]


def check_caption_choice(choice: CaptionChoice) -> None:
    """Refuse a choice of captions that cannot be drawn from.

    Args:
        choice (str | Mapping[str, float]): See :func:`draw_caption`.

    Raises:
        ValueError: If it is another word than 'text' or 'json', names nothing, or has a share that
            is no positive number.
    """
    if isinstance(choice, str):
        if choice not in (TEXT, JSON):
            raise ValueError(
                f'`captions` is {choice!r}: use "text" or "json", or a dict of names and shares.'
            )
        return
    if not choice:
        raise ValueError('`captions` names none: give dict(name=share, ...).')
    for name, share in choice.items():
        if not (isinstance(share, int | float) and 0 < share < math.inf):
            raise ValueError(f'`captions` gives {name!r} the share {share!r}: it must be above 0.')


def draw_caption(members: Mapping[str, bytes], choice: CaptionChoice) -> str:
    """Draw the caption of a sample with Python's random numbers.

    Args:
        members (Mapping[str, bytes]): Contents by extension, without the dot.
        choice (str | Mapping[str, float]): 'text' or 'json', the member to take where there are
            both; or names with their shares, in any unit. A name is ``text`` or ``json`` for these
            members, that of a text member ``.NAME.txt``, or a key of the JSON member, which may be
            ``text`` where there is no text member. A name that a sample lacks leaves its share to
            the others.

    Returns:
        str: The caption; of several captions of a name each is as likely.

    Raises:
        BadSample: If there is no caption that can be used.

    Example:
        >>> members = {'txt': b'img_2041', 'json': b'{"llava": "a dog on a beach"}'}
        >>> random.seed(0)
        >>> [draw_caption(members, {'text': 1, 'llava': 3}) for _ in range(3)]
        ['a dog on a beach', 'img_2041', 'a dog on a beach']
    """
    if isinstance(choice, str):
        return random.choice(captions_of_members(members, choice))
    captions = {name: captions_of_name(members, name) for name in choice}
    present = [name for name in choice if captions[name]]
    if not present:
        raise BadSample(f'it has no caption called {" or ".join(choice)}')
    (name,) = random.choices(present, [choice[name] for name in present])
    return random.choice(captions[name])


def captions_of_name(members: Mapping[str, bytes], name: str) -> list[str]:
    """Read the captions of a name that can be used.

    Args:
        members (Mapping[str, bytes]): Contents by extension, without the dot.
        name (str): See :func:`draw_caption`.

    Returns:
        list[str]: Captions, stripped; none where the sample has none of the name.
    """
    try:
        return sift_captions(_written_captions(members, name))[0]
    except BadSample:  # another name may have one
        return []


def _written_captions(members: Mapping[str, bytes], name: str) -> list[str]:
    """Read the captions of a name as they are written."""
    stems = [''] if name == TEXT else [f'{name.lower()}.']
    for stem in stems:
        for extension in TEXT_EXTENSIONS:
            if f'{stem}{extension}' in members:
                return [decode_text(members[f'{stem}{extension}'])]
    if 'json' not in members:
        return []
    try:
        content = json.loads(decode_text(members['json']))
    except (ValueError, RecursionError) as error:
        raise BadSample('the JSON member is not valid') from error
    value = content.get(name) if isinstance(content, dict) else None
    if isinstance(value, str | list):
        return captions_of_value(value)
    return captions_of_value(content) if name == JSON else []
