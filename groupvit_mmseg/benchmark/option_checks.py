"""Options of an evaluation that would change nothing, or that say something else than the masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from groupvit_mmseg.benchmark.protocols import has_background
from groupvit_mmseg.benchmark.sets import Benchmark
from groupvit_mmseg.text.vocabulary import class_names

if TYPE_CHECKING:
    from groupvit_mmseg.benchmark.task import EvaluationSettings


def check_options_are_used(chosen: Sequence[Benchmark], settings: EvaluationSettings) -> None:
    """Refuse folders, class files and background options that no chosen set uses; a limit of 0.

    Raises:
        ValueError: Names the option.
    """
    if settings.limit is not None and settings.limit < 1:
        raise ValueError(f'--limit {settings.limit} leaves no image to evaluate.')
    names = [one.name for one in chosen]
    segmented = [one for one in chosen if one.name != 'imagenet']
    for what, given, known in (
        ('folder', settings.roots, names),
        ('class file', settings.class_files, [one.name for one in segmented]),
    ):
        unused = sorted(set(given) - set(known))
        if unused:
            raise ValueError(
                f'A {what} is given for {", ".join(unused)}, which is not evaluated or takes none: '
                f'the sets are {", ".join(names)}.'
            )
        for name, value in given.items():
            if not isinstance(value, str):
                raise ValueError(
                    f'The {what} of {name} is {value!r}: give one path, with ./ before a number.'
                )
    unused = sorted({'bg_thresh', 'background_words'} & set(settings.changes))
    if unused and not any(has_background(one.class_set) for one in segmented):
        raise ValueError(
            f'{" and ".join(unused)} would change nothing: no first class of {", ".join(names)} is '
            'called background.'
        )


def check_class_file(benchmark: Benchmark, classes: Mapping[str, Any] | None) -> None:
    """Refuse a class file whose label 0 means something else than that of the masks.

    Args:
        benchmark (Benchmark): The set.
        classes (Mapping[str, Any], optional): What ``read_class_file`` gives; None for no file.

    Raises:
        ValueError: If only one of the two has a background.
    """
    if classes is None:
        return
    chosen = benchmark.class_set
    of_set = has_background(chosen)
    names = class_names(chosen) if isinstance(chosen, str) else chosen
    if classes['with_background'] and not of_set:
        raise ValueError(
            f'The class file of {benchmark.name} has a background, but label 0 of the set is '
            f'{names[0]!r}: leave it out, or call that class background in the metainfo of the '
            'set.'
        )
    if of_set and not classes['with_background']:
        raise ValueError(
            f'Label 0 of {benchmark.name} is the background: begin its class file with the line '
            '"background:" (in YAML or JSON with a class called background).'
        )
