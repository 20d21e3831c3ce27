"""What the page's events call: models by name, examples, limits, and requests read from controls.

Everything that a browser sends is checked here; wrong input is a :class:`.PageError`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from groupvit_mmseg.text.templates import TEMPLATE_SETS
from groupvit_web.chips import Chip, read_chips
from groupvit_web.errors import PageError
from groupvit_web.example_pictures import ExamplePicture
from groupvit_web.limits import Limits
from groupvit_web.model import PageModel
from groupvit_web.request import plain_word
from groupvit_web.segmentation import PageSegmenter, SegmentationRequest
from groupvit_web.uploads import Picture, read_picture

WINDOW_MODES = {'Whole picture': 'whole', 'Sliding windows': 'slide'}
"""dict[str, str]: Ways to pass a picture through the model, by their names on the page."""
PAMR_STEPS = 10
"""int: Steps of the refinement, if it is switched on."""


class RequestValues(NamedTuple):
    """What the controls contain, as the browser sent it; see :class:`.Controls`."""

    model: object
    words: object
    background: object
    templates: object
    threshold: object
    opacity: object
    windows: object
    refine: object


class Task(NamedTuple):
    """A request that has been checked.

    Attributes:
        segmenter (PageSegmenter): The model.
        picture (Picture): The picture.
        request (SegmentationRequest): Words and options.
    """

    segmenter: PageSegmenter
    picture: Picture
    request: SegmentationRequest


class Backend:
    """Models, examples and limits of a page.

    Args:
        models (Sequence[PageModel]): The models to choose from.
        examples (Sequence[ExamplePicture]): Pictures to begin with.
        limits (Limits): What visitors may send.
    """

    def __init__(
        self, models: Sequence[PageModel], examples: Sequence[ExamplePicture], limits: Limits
    ) -> None:
        self.examples, self.limits = examples, limits
        self.segmenters = {model.name: PageSegmenter(model, limits) for model in models}

    def segmenter(self, name: object) -> PageSegmenter:
        """Return the model of a name.

        Raises:
            PageError: If there is none.
        """
        if not isinstance(name, str) or name not in self.segmenters:
            raise PageError(f'There is no model {name}: choose {", ".join(self.segmenters)}.')
        return self.segmenters[name]

    def upload(self, path: object) -> Picture:
        """Read a file that was uploaded.

        Raises:
            PageError: If it is no picture that can be used.
        """
        if not isinstance(path, str):
            raise PageError('No file arrived: choose the picture again.')
        return read_picture(Path(path), limits=self.limits)

    def example(self, index: object) -> Picture:
        """Read the example of a number.

        Raises:
            PageError: If there is none.
        """
        if not isinstance(index, int) or not 0 <= index < len(self.examples):
            raise PageError('There is no such example: reload the page.')
        return self.examples[index].open()

    def task(self, values: RequestValues, picture: Picture) -> Task:
        """Check what the controls contain.

        Args:
            values (RequestValues): The controls.
            picture (Picture): The visitor's picture.

        Raises:
            PageError: If a value cannot be used.
        """
        threshold = _number(values.threshold, 'threshold')
        background = read_chips(values.background)
        request = SegmentationRequest(
            **_words(read_chips(values.words)),
            background_words=tuple(word for chip in background for word in _words_of(chip)),
            templates=_choice(values.templates, dict.fromkeys(TEMPLATE_SETS), 'templates'),
            bg_thresh=threshold or None,
            opacity=_number(values.opacity, 'opacity'),
            mode=WINDOW_MODES[_choice(values.windows, WINDOW_MODES, 'passes')],
            pamr_steps=PAMR_STEPS if values.refine else 0,
        )
        return Task(self.segmenter(values.model), picture, request)

    def other_task(self, task: Task, model: object, words: object) -> Task:
        """Return the right side of a comparison.

        Args:
            task (Task): The left side.
            model (object): Name of the model on the right.
            words (object): Words on the right; none for those on the left.

        Raises:
            PageError: If the right side is as the left one, or a value cannot be used.
        """
        chips = read_chips(words)
        request = task.request._replace(**_words(chips)) if chips else task.request
        other = task._replace(segmenter=self.segmenter(model), request=request)
        if (other.segmenter, other.request) == (task.segmenter, task.request):
            raise PageError('Both sides would be the same: choose another model or other words.')
        return other


def _words(chips: Sequence[Chip]) -> dict:
    """Return the fields of a request that come from the list of words."""
    words = [_words_of(chip) for chip in chips]
    return {
        'words': tuple(word for word, *_ in words),
        'aliases': {word: tuple(aliases) for word, *aliases in words if aliases},
        'colours': {word: chip.colour for (word, *_), chip in zip(words, chips, strict=True)},
    }


def _words_of(chip: Chip) -> tuple[str, ...]:
    """Return the word of a chip and its aliases."""
    return tuple(map(plain_word, (chip.word, *chip.aliases)))


def _choice(value: object, choices: Mapping[str, object], name: str) -> str:
    """Check a value of a list."""
    if not isinstance(value, str) or value not in choices:
        raise PageError(f'There is no choice {value} of {name}: choose {", ".join(choices)}.')
    return value


def _number(value: object, name: str) -> float:
    """Check a number in [0, 1]."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise PageError(f'The {name} must be a number in [0, 1], not {value}.')
    return float(value)


def pixel_position(row: object, column: object) -> tuple[int, int]:
    """Check the position of a pixel.

    Raises:
        PageError: If it is none.
    """
    if not isinstance(row, int | float) or not isinstance(column, int | float):
        raise PageError('Give a row and a column as whole numbers.')
    return int(row), int(column)
