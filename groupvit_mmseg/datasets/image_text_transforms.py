"""Transforms of a shard's raw members into an image, a caption, prompts and token ids."""

import random
from collections.abc import Collection, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS
from numpy.typing import NDArray

from groupvit_mmseg.datasets.caption_choice import (
    CaptionChoice,
    check_caption_choice,
    draw_caption,
)
from groupvit_mmseg.datasets.captions import TEXT_EXTENSIONS
from groupvit_mmseg.datasets.image_decoding import MAX_TRAINING_PIXELS, decode_image
from groupvit_mmseg.datasets.image_regions import DecodedRegion
from groupvit_mmseg.datasets.shard_members import MEMBERS_RULE, describe_members
from groupvit_mmseg.datasets.shard_stream import BadSample
from groupvit_mmseg.text import CaptionWords, get_templates, tokenize

IMAGE_EXTENSIONS = ('jpg', 'jpeg', 'png', 'webp')
# Characters of a caption that are read, far more than 77 tokens: the tagger's time grows with the
# square of the length, to many minutes for a web page that was saved as a caption.
CAPTION_CHARACTERS = 10_000
_MAX_SEED = 2**31 - 1


@TRANSFORMS.register_module()
class LoadImageText(BaseTransform):
    """Decode the image and choose the caption of a raw sample.

    The image is the member ``.jpg``, ``.jpeg``, ``.png`` or ``.webp``. The caption is the member
    ``.txt`` or ``.text``, or comes from the member ``.json``: a string, a list of strings, or an
    object with one of them under ``captions``, ``caption``, ``texts`` or ``text``. Of several
    captions a random one is chosen; its first 10,000 characters are read.

    Required keys: key, members, error. Added keys: img, img_shape, ori_shape, caption, and damaged,
    the first complaint of the decoder.

    Args:
        captions (str | Mapping[str, float]): Which member to take where a sample has both: 'text'
            or 'json'; or names of captions with their shares, see
            :func:`~groupvit_mmseg.datasets.caption_choice.draw_caption`. Defaults to 'text'.
        max_pixels (int): Larger images are bad samples; their header is read before anything is
            decoded. Defaults to 50,000,000.

    Raises:
        ValueError: If ``captions`` is none of these.

    Example:
        >>> import cv2
        >>> png = cv2.imencode('.png', np.zeros((4, 6, 3), np.uint8))[1].tobytes()
        >>> members = {'png': png, 'txt': b'a black wall'}
        >>> results = LoadImageText()(dict(key='walls/0', members=members, error=None))
        >>> results['img'].shape, results['caption']
        ((4, 6, 3), 'a black wall')
    """

    def __init__(
        self, captions: CaptionChoice = 'text', *, max_pixels: int = MAX_TRAINING_PIXELS
    ) -> None:
        check_caption_choice(captions)
        self.captions = captions
        self.max_pixels = max_pixels

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Decode one raw sample; raises ``BadSample`` where it cannot be used."""
        if results['error'] is not None:
            raise BadSample(results['error'])
        members = results['members']
        _check_members(members)
        caption = draw_caption(members, self.captions)
        results['caption'] = caption[:CAPTION_CHARACTERS]
        name = next(name for name in IMAGE_EXTENSIONS if name in members)
        try:
            image = self._decode(members[name])
        except ValueError as error:
            raise BadSample(f'the image cannot be decoded ({error})') from error
        results['img'], complaints, results['ori_shape'] = image
        results['damaged'] = [f'{results["key"]}: {line}' for line in complaints[:1]]
        results['img_shape'] = results['img'].shape[:2]
        return results

    def _decode(self, data: bytes) -> DecodedRegion:
        """Decode the whole image."""
        pixels, complaints = decode_image(data, max_pixels=self.max_pixels)
        return DecodedRegion(pixels, complaints, pixels.shape[:2])


def _check_members(members: dict[str, bytes]) -> None:
    """Refuse a sample without an image or a caption; the message lists its members."""
    requirements = {
        'image member (.jpg, .jpeg, .png or .webp)': IMAGE_EXTENSIONS,
        'caption member (.txt, .text or .json)': (*TEXT_EXTENSIONS, 'json'),
    }
    for what, extensions in requirements.items():
        endings = members if 'image' in what else {name.rpartition('.')[2] for name in members}
        if not any(name in endings for name in extensions):
            raise BadSample(f'it has no {what}, only {describe_members(members)}: {MEMBERS_RULE}')


@TRANSFORMS.register_module()
class CaptionPrompts(BaseTransform):
    """Prompts from the nouns and verbs of a caption (arXiv 2202.11094, section 3.3).

    ``P`` of the words are drawn without replacement, and each is put into a random template. If the
    caption has fewer than ``P`` words, the caption itself is used for the remaining prompts, or
    with ``repeat_words`` the words once more.

    Required key: caption. Added key: prompts.

    Args:
        num_prompts (int): Prompts per caption, ``P``; 3 in the paper, 0 for none.
        templates (str | Sequence[str]): A set of ``groupvit_mmseg.text.TEMPLATE_SETS`` or
            sentences with ``{}``. Defaults to 'full', the 80 templates of ImageNet.
        tagger (str): 'textblob' (offline) or 'nltk'. Defaults to 'textblob'.
        repeat_words (bool): Whether words fill up the prompts, unless there is none. Defaults to
            False, as in the paper.
        singular (bool): Whether plurals become singular, so that both are one prompt. Defaults to
            False.
        ignored_words (Collection[str]): Words no prompt is made of, as ``ignored`` of
            :class:`.CaptionWords`. Defaults to none.

    Raises:
        ValueError: If ``num_prompts`` is negative, or the set or the tagger is unknown.

    Example:
        >>> make_prompts = CaptionPrompts(3, templates='simple')
        >>> make_prompts(dict(caption='a dog'))['prompts']
        ['a photo of a dog.', 'a dog', 'a dog']
    """

    def __init__(
        self,
        num_prompts: int = 3,
        *,
        templates: str | Sequence[str] = 'full',
        tagger: str = 'textblob',
        repeat_words: bool = False,
        singular: bool = False,
        ignored_words: Collection[str] = (),
    ) -> None:
        if num_prompts < 0:
            raise ValueError(f'`num_prompts` is {num_prompts}: it must be 0 or more.')
        self.num_prompts = num_prompts
        self.templates = get_templates(templates)
        self.repeat_words = repeat_words
        self.find_words = CaptionWords(tagger, singular=singular, ignored=ignored_words)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the prompts of one caption."""
        results['prompts'] = self._prompts(results['caption']) if self.num_prompts else []
        return results

    def _prompts(self, caption: str) -> list[str]:
        """Make ``P`` prompts."""
        words = self.find_words(caption)
        sample = random.sample(words, min(self.num_prompts, len(words)))
        if self.repeat_words and sample:
            sample = [sample[i % len(sample)] for i in range(self.num_prompts)]
        prompts = [self._fill_template(word) for word in sample]
        return prompts + [caption] * (self.num_prompts - len(prompts))

    def _fill_template(self, word: str) -> str:
        """Put the word into a random template."""
        return random.choice(self.templates).replace('{}', word)


@TRANSFORMS.register_module()
class PackImageText(BaseTransform):
    """Tokenise the texts and pack all into tensors, which ``collate_image_text`` batches.

    Required keys: key, img, caption, and prompts where there are any. Returned keys: inputs
    ``(3, H, W)``, token_ids ``(1 + P, L)``, caption, prompts, key, damaged, seed.

    Args:
        context_length (int): Text tokens ``L``. Defaults to 77.
    """

    def __init__(self, context_length: int = 77) -> None:
        self.context_length = context_length

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Pack one sample; raises ``BadSample`` for pixels of another type than uint8."""
        prompts = results.get('prompts', [])
        _check_pixels(results['img'])
        height, width, channels = results['img'].shape
        planes = np.empty((channels, height, width), np.uint8)
        cv2.split(results['img'], list(planes))  # a fifth of the time of NumPy's transposition
        return {
            'inputs': torch.from_numpy(planes),
            'token_ids': tokenize([results['caption'], *prompts], self.context_length),
            'caption': results['caption'],
            'prompts': prompts,
            'key': results['key'],
            'damaged': results.get('damaged', []),
            'seed': int(np.random.randint(_MAX_SEED)),
        }


def _check_pixels(image: NDArray) -> None:
    """Refuse pixels of another type than uint8, to which OpenCV would not convert them."""
    if image.dtype == np.uint8:
        return
    bad = image.size - int(np.isfinite(image).sum())
    raise BadSample(
        f'a transform has made its pixels {image.dtype}'
        + (f', {bad} of them NaN or infinite' if bad else '')
        + ': convert them to uint8 in [0, 255]'
    )
