"""Text without models: tokens, prompt templates, class vocabularies, caption words."""

from groupvit_mmseg.text.caption_words import WORD_TAGS, CaptionWords
from groupvit_mmseg.text.templates import TEMPLATE_SETS, get_templates
from groupvit_mmseg.text.tokenizer import tokenize
from groupvit_mmseg.text.vocabulary import CLASS_NAMES, class_names, parse_class_names

__all__ = [
    'CLASS_NAMES',
    'TEMPLATE_SETS',
    'WORD_TAGS',
    'CaptionWords',
    'class_names',
    'get_templates',
    'parse_class_names',
    'tokenize',
]
