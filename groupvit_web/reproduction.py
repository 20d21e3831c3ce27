"""Programs that compute what is on the screen: a Python program and a command."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

from groupvit_mmseg.text.class_list import ClassList, foreground_names
from groupvit_mmseg.text.templates import TEMPLATE_SETS
from groupvit_web.drawing import colours_of
from groupvit_web.model import PageModel
from groupvit_web.request import SegmentationRequest

CLASS_FILE = 'classes.json'
_DEFAULT_OPACITY = SegmentationRequest._field_defaults['opacity']


def python_program(
    model: PageModel, image: str, request: SegmentationRequest, classes: ClassList
) -> str:
    """Return a Python program that segments an image as the page does.

    Args:
        model (PageModel): The model.
        image (str): Path of the image in the program.
        request (SegmentationRequest): Words and options.
        classes (ClassList): Its classes.
    """
    lines = [
        *_imports(request, classes),
        '',
        f'inferencer = GroupViTInferencer.from_pretrained({model.source!r}{_config(model)})',
        f'inferencer.set_options({_keywords(options_of(model, request))})',
        'classes = make_class_list(',
        *(f'    {name}={value!r},' for name, value in _fields(classes)),
        ')',
        'inferencer.set_classes(classes)',
        f'result = inferencer({image!r})',
        'print(result.shares)',
        _saved(request, classes),
        "result.save('labels.png', 'labels')",
    ]
    return '\n'.join(lines) + '\n'


def command(model: PageModel, image: str, request: SegmentationRequest, classes: ClassList) -> str:
    """Return the ``groupvit segment`` command that segments an image as the page does.

    Where options cannot say everything, the text writes a class file first, for a POSIX shell.

    Args:
        model (PageModel): The model.
        image (str): Path of the image in the command.
        request (SegmentationRequest): Words and options.
        classes (ClassList): Its classes.
    """
    parts = ['groupvit', 'segment', image, '--model', model.source]
    if model.config is not None:
        parts += ['--config', str(model.config)]
    words = _word_options(model, request, classes)
    parts += ['--classes', CLASS_FILE] if words is None else words
    for name, value in options_of(model, request).items():
        parts += [f'--{name.replace("_", "-")}', str(value)]
    parts += ['--format', 'png,label,json,coco', '--out', 'masks']
    text = ' '.join(map(shlex.quote, parts)) + '\n'
    if words is not None:
        return text
    return f"cat > {CLASS_FILE} <<'END'\n{class_file(model, classes)}END\n{text}"


def class_file(model: PageModel, classes: ClassList) -> str:
    """Return the text of a class file (JSON) that says everything about classes."""
    entries: list[str | dict[str, object]] = [
        {'name': name, 'words': list(classes.aliases[name])} if name in classes.aliases else name
        for name in classes.foreground
    ]
    content: dict[str, object] = {
        'classes': [*(['background'] if classes.with_background else []), *entries],
        'templates': list(classes.templates),
        'alias_pooling': classes.alias_pooling,
    }
    if classes.background_words:
        content['background_words'] = list(classes.background_words)
    if classes.with_background:
        # A threshold of 0 makes nothing background: without it, that of the config would stay.
        inherited = 0.0 if model.config is not None else None
        threshold = inherited if classes.bg_thresh is None else classes.bg_thresh
        if threshold is not None:
            content['bg_thresh'] = threshold
    return json.dumps(content, indent=2, ensure_ascii=False) + '\n'


def options_of(model: PageModel, request: SegmentationRequest) -> dict[str, object]:
    """Return mode, PAMR and precision of a request, as ``set_options`` takes them."""
    options = model.test_cfg(request.mode, request.pamr_steps)
    return {name: options.get(name, 'whole') for name in ('mode', 'pamr_steps', 'precision')}


def _word_options(
    model: PageModel, request: SegmentationRequest, classes: ClassList
) -> list[str] | None:
    """Return the options of words; None if they need a class file."""
    names = ', '.join(classes.foreground)
    sets = [name for name, sentences in TEMPLATE_SETS.items() if sentences == classes.templates]
    plain = not (classes.aliases or classes.class_templates) and model.config is None
    if not (plain and sets and foreground_names(names) == classes.foreground):
        return None
    options = [f'--words={names}', '--templates', sets[0]]
    if classes.bg_thresh is not None:
        options += ['--bg-thresh', repr(classes.bg_thresh)]
    # A word alone gets its background words from the command as well.
    if request.background_words:
        options.append(f'--background={", ".join(classes.background_words)}')
    return options


def _config(model: PageModel) -> str:
    """Return the argument for the config, if there is one."""
    return f', config={str(model.config)!r}' if model.config is not None else ''


def _keywords(options: dict[str, object]) -> str:
    """Return keyword arguments as Python writes them."""
    return ', '.join(f'{name}={value!r}' for name, value in options.items())


def _fields(classes: ClassList) -> Iterator[tuple[str, object]]:
    """Yield the fields of a class list that differ from their default."""
    for name, value in classes._asdict().items():
        if name == 'class_names' or value != ClassList._field_defaults[name]:
            yield name, list(value) if isinstance(value, tuple) else value


def _chosen_colours(request: SegmentationRequest, classes: ClassList) -> bool:
    """Return whether a visitor chose the colour of a class."""
    return any(name in classes.foreground for name in request.colours)


def _imports(request: SegmentationRequest, classes: ClassList) -> list[str]:
    """Return the imports of the program."""
    lines = []
    if _chosen_colours(request, classes):
        lines.append('import numpy as np')
    if lines or request.opacity != _DEFAULT_OPACITY:
        lines += ['from PIL import Image', '']
    return [
        *lines,
        'from groupvit_mmseg.inference import GroupViTInferencer',
        'from groupvit_mmseg.text.class_list import make_class_list',
    ]


def _saved(request: SegmentationRequest, classes: ClassList) -> str:
    """Return the line that saves the overlay, with colours and opacity if they were changed."""
    has_colours = _chosen_colours(request, classes)
    if not has_colours and request.opacity == _DEFAULT_OPACITY:
        return "result.save('overlay.png')"
    arguments = [f'opacity={request.opacity!r}']
    if has_colours:
        colours = colours_of(classes, request.colours).tolist()
        arguments.append(f'colours=np.array({colours}, np.uint8)')
    return f"Image.fromarray(result.overlay({', '.join(arguments)})).save('overlay.png')"
