"""Files for ``transformers``' ``AutoProcessor``: the preprocessing of images and texts."""

import json
from collections.abc import Mapping
from typing import NamedTuple

from mmseg.utils import tokenizer as clip_bpe

from groupvit_mmseg.checkpoints.architecture import Structure
from groupvit_mmseg.checkpoints.hub import IMAGE_PROCESSOR
from groupvit_mmseg.checkpoints.settings_readers import CLIP_VOCABULARY

START, END = '<|startoftext|>', '<|endoftext|>'
TOKENIZER_FILES = ('vocab.json', 'merges.txt', 'tokenizer_config.json', 'special_tokens_map.json')
FILES = (IMAGE_PROCESSOR, *TOKENIZER_FILES, 'tokenizer.json')
"""tuple: Files that must not exist yet; a ``tokenizer.json`` would be read instead of ours."""

BICUBIC = 3  # PIL's number


class ProcessorFiles(NamedTuple):
    """Files of a processor.

    Attributes:
        files (dict[str, bytes]): Content by name.
        remarks (list[str]): Files that are not written, and the reason.
    """

    files: dict[str, bytes]
    remarks: list[str]


def processor_files(structure: Structure) -> ProcessorFiles:
    """Return the files that ``AutoProcessor.from_pretrained`` reads, for CLIP's processor.

    Args:
        structure (Structure): Of the model.
    """
    files: dict[str, bytes] = {}
    remarks = []
    if structure.backbone['in_channels'] == 3:
        files[IMAGE_PROCESSOR] = _json(image_processor_config(structure))
    else:
        remarks.append(f"no {IMAGE_PROCESSOR}: CLIP's processor takes images of 3 channels")
    vocab_size = structure.text_encoder['vocab_size']
    if vocab_size >= CLIP_VOCABULARY:
        files |= tokenizer_files(structure.text_encoder['context_length'])
    else:
        remarks.append(
            f"no tokenizer files: a vocabulary of {vocab_size} is not CLIP's of {CLIP_VOCABULARY}; "
            'pass token ids, as AutoTokenizer would build a tokenizer that does not fit'
        )
    return ProcessorFiles(files, remarks)


def image_processor_config(structure: Structure) -> dict[str, object]:
    """Return the content of ``preprocessor_config.json``: bicubic resize to the native size.

    A model for square images gets the central square of an image, as the released ones; a model
    for other images gets the whole image, resized to its shape.
    """
    height, width = structure.image_shape
    size = {'height': height, 'width': width}
    is_square = height == width
    mean, std, _ = structure.normalization
    return dict(
        image_processor_type='CLIPImageProcessor',
        processor_class='CLIPProcessor',
        do_convert_rgb=True,
        do_resize=True,
        size={'shortest_edge': height} if is_square else size,
        resample=BICUBIC,
        do_center_crop=is_square,
        crop_size=size,
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        image_mean=[round(value / 255, 8) for value in mean],
        image_std=[round(value / 255, 8) for value in std],
    )


def tokenizer_files(context_length: int) -> dict[str, bytes]:
    """Return CLIP's vocabulary as MMSegmentation ships it, in the files of ``CLIPTokenizer``.

    Args:
        context_length (int): Longest text in tokens.
    """
    bpe = clip_bpe._tokenizer
    special: dict[int, str] = dict(zip(bpe.all_special_ids, (START, END), strict=True))
    encoder: dict[str, int] = bpe.encoder
    vocabulary = {special.get(index, token): index for token, index in encoder.items()}
    merges = ['#version: 0.2', *(' '.join(pair) for pair in bpe.bpe_ranks)]
    # As in CLIP, tokens after the first end token are not read.
    roles = dict(bos_token=START, eos_token=END, unk_token=END, pad_token=END)
    config = dict(
        tokenizer_class='CLIPTokenizer',
        processor_class='CLIPProcessor',
        model_max_length=context_length,
        do_lower_case=True,
        errors='replace',
        add_prefix_space=False,
        **roles,
    )
    contents = (_json(vocabulary), '\n'.join([*merges, '']).encode(), _json(config), _json(roles))
    return dict(zip(TOKENIZER_FILES, contents, strict=True))


def _json(content: Mapping[str, object]) -> bytes:
    """Return a JSON file in UTF-8."""
    return (json.dumps(content, indent=2, ensure_ascii=False) + '\n').encode()
