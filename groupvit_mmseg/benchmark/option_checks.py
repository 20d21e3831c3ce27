"""Checks for options of an evaluation that have no effect or contradict the masks."""

from __future__ import annotations

from collections.abc import Sequence

from groupvit_mmseg.benchmark.evaluation_protocol import has_background
from groupvit_mmseg.benchmark.evaluation_settings import EvaluationSettings
from groupvit_mmseg.benchmark.sets import Benchmark
from groupvit_mmseg.text.class_file_yaml import ClassFile
from groupvit_mmseg.text.vocabulary import class_names


def check_options_are_used(sets: Sequence[Benchmark], settings: EvaluationSettings) -> None:
    """Refuse folders, class files and background options that no set uses, and a limit of 0.

    Raises:
        ValueError: Names the option.
    """
    if settings.limit is not None and settings.limit < 1:
        raise ValueError(f'--limit {settings.limit} leaves no image to evaluate.')
    names = [benchmark.name for benchmark in sets]
    segmented = [benchmark for benchmark in sets if benchmark.name != 'imagenet']
    for kind, paths, users in (
        ('folder', settings.roots, names),
        ('class file', settings.class_files, [benchmark.name for benchmark in segmented]),
    ):
        unused = sorted(set(paths) - set(users))
        if unused:
            raise ValueError(
                f'A {kind} is given for {", ".join(unused)}, which is not evaluated or takes none: '
                f'the sets are {", ".join(names)}.'
            )
        for name, value in paths.items():
            if not isinstance(value, str):
                raise ValueError(
                    f'The {kind} of {name} is {value!r}: give one path, with ./ before a number.'
                )
    unused = sorted({'bg_thresh', 'background_words'} & set(settings.changes))
    if unused and not any(has_background(benchmark.class_set) for benchmark in segmented):
        raise ValueError(
            f'{" and ".join(unused)} would change nothing: no first class of {", ".join(names)} is '
            'called background.'
        )


def check_class_file(benchmark: Benchmark, classes: ClassFile | None) -> None:
    """Refuse a class file with a background for a set without one, and the other way round.

    Args:
        benchmark (Benchmark): The set.
        classes (ClassFile, optional): Content of the class file; None for no file.

    Raises:
        ValueError: If only one of the two has a background.
    """
    if classes is None:
        return
    class_set = benchmark.class_set
    set_has_background = has_background(class_set)
    names = class_names(class_set) if isinstance(class_set, str) else class_set
    if classes['with_background'] and not set_has_background:
        raise ValueError(
            f'The class file of {benchmark.name} has a background, but label 0 of the set is '
            f'{names[0]!r}: leave it out, or call that class background in the metainfo of the '
            'set.'
        )
    if set_has_background and not classes['with_background']:
        raise ValueError(
            f'Label 0 of {benchmark.name} is the background: begin its class file with the line '
            '"background:" (in YAML or JSON with a class called background).'
        )
