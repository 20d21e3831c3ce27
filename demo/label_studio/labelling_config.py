"""Reads a Label Studio project's labelling config: where its labels go, and which words they mean.

A config has an image, and a control tag with labels for brush masks or polygons::

    <View>
      <Image name="photo" value="$image"/>
      <BrushLabels name="masks" toName="photo" model_background_words="sky, wall">
        <Label value="Cat"/>
        <Label value="Vehicle" predicted_values="car, bus, truck"/>
      </BrushLabels>
    </View>

The word of a label is its ``value``, or the words of ``predicted_values``. The control tag may have
``model_background_words``, words whose pixels get no label, and ``model_score_threshold``, a
background threshold in [0, 1].
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar, cast
from xml.etree import ElementTree

from groupvit_mmseg.text.class_file_yaml import ClassFile
from groupvit_mmseg.text.class_list import ClassList, ClassOptions, make_class_list
from groupvit_mmseg.text.contrast_words import with_contrast
from groupvit_mmseg.text.vocabulary import fold_word, parse_class_names

Value = TypeVar('Value')
CONTROLS = {'BrushLabels': 'brush', 'PolygonLabels': 'polygon'}
"""dict[str, str]: Control tags that take masks, and the form of a mask in each."""


class Defaults(NamedTuple):
    """Options for what a labelling config leaves open.

    Attributes:
        class_file (ClassFile, optional): Aliases and templates of labels by their names, background
            words and threshold. Defaults to None.
        background_words (tuple[str, ...]): Words whose pixels get no label. Defaults to ().
        bg_thresh (float, optional): Background threshold in [0, 1]. Defaults to None.
        form (str, optional): ``'brush'`` or ``'polygon'`` for a config that has both tags. Defaults
            to None, the first one.
    """

    class_file: ClassFile | None = None
    background_words: tuple[str, ...] = ()
    bg_thresh: float | None = None
    form: str | None = None


class Labelling(NamedTuple):
    """Where the masks of a project go.

    Attributes:
        control (str): Name of the control tag.
        image (str): Name of the image tag.
        key (str): Key of the image's address in a task's data.
        form (str): ``'brush'`` or ``'polygon'``.
        labels (tuple[str, ...]): Label of each class but the background, as annotations name it.
        classes (ClassList): What the model is asked for.
    """

    control: str
    image: str
    key: str
    form: str
    labels: tuple[str, ...]
    classes: ClassList

    @property
    def fingerprint(self) -> str:
        """Eight hexadecimal digits that change with everything that predictions depend on."""
        return hashlib.sha256(repr(self).encode()).hexdigest()[:8]


def read_labelling(config: str | None, defaults: Defaults = Defaults()) -> Labelling:  # noqa: B008
    """Read a labelling config.

    Args:
        config (str, optional): The XML text.
        defaults (Defaults): Options for what it leaves open. Defaults to none.

    Returns:
        Labelling: Its control tag, image tag and classes.

    Raises:
        ValueError: If it is no XML, or has no image with labels for masks, or the labels cannot be
            used as classes.
    """
    try:
        tree = ElementTree.fromstring(config or '')
    except ElementTree.ParseError as error:
        raise ValueError(f'The labelling config is no XML: {error}.') from error
    images = {tag.get('name', ''): tag for tag in tree.iter('Image')}
    control = choose_control(tree, images, defaults.form)
    labels = [tag for tag in control.iter('Label') if tag.get('value')]
    image = images[control.get('toName', '')]
    return Labelling(
        control=control.get('name', ''),
        image=image.get('name', ''),
        key=image.get('value', '').lstrip('$'),
        form=CONTROLS[control.tag],
        labels=tuple(tag.get('alias') or tag.get('value') or '' for tag in labels),
        classes=classes_of(control, labels, defaults),
    )


def choose_control(
    tree: ElementTree.Element, images: dict[str, ElementTree.Element], form: str | None
) -> ElementTree.Element:
    """Return the first control tag that takes masks of an image, in a form if one is named.

    Raises:
        ValueError: If there is none.
    """
    wanted = [name for name, each in CONTROLS.items() if form in (None, each)]
    for tag in tree.iter():
        if tag.tag in wanted and tag.get('toName') in images:
            return tag
    names = ' or '.join(f'<{name}>' for name in wanted)
    raise ValueError(
        f'The labelling config has no {names} whose toName is the name of an <Image>: '
        'add one, with a <Label> for each class.'
    )


def classes_of(
    control: ElementTree.Element, labels: Sequence[ElementTree.Element], defaults: Defaults
) -> ClassList:
    """Return the classes of a control tag's labels.

    Raises:
        ValueError: If there are none, or they cannot be used.
    """
    if not labels:
        raise ValueError(f'<{control.tag}> has no <Label value="...">: add one for each class.')
    words = [label_words(tag) for tag in labels]
    counts = Counter(fold_word(each[0]) for each in words)
    repeated = [word for word, count in counts.items() if count > 1]
    if repeated:
        raise ValueError(f'Two labels mean {", ".join(repeated)}: give each its own words.')
    names = tuple(each[0] for each in words)
    own = {name: tuple(rest) for name, *rest in words if rest}
    options = options_of(control, names, own, defaults)
    background = bool(options['background_words']) or options['bg_thresh'] is not None
    options['with_background'] = background
    return with_contrast(
        make_class_list(('background', *names) if background else names, **options)
    )


def label_words(tag: ElementTree.Element) -> tuple[str, ...]:
    """Return the words of a label: ``predicted_values`` if it has them, else its ``value``."""
    words = tag.get('predicted_values')
    return parse_class_names(words) if words else (tag.get('value', ''),)


def options_of(
    control: ElementTree.Element,
    names: tuple[str, ...],
    aliases: dict[str, tuple[str, ...]],
    defaults: Defaults,
) -> ClassOptions:
    """Return the options of the classes: of the control tag, the command line, the class file.

    Raises:
        ValueError: If the threshold is no number.
    """
    file: ClassOptions = {}
    if defaults.class_file is not None:
        file = cast(ClassOptions, dict(defaults.class_file))
    words = control.get('model_background_words')
    background = parse_class_names(words) if words else defaults.background_words
    threshold = threshold_of(control, defaults.bg_thresh)
    thresholds = file.get('class_thresholds')
    options = ClassOptions(
        background_words=background or file.get('background_words') or (),
        bg_thresh=file.get('bg_thresh') if threshold is None else threshold,
        aliases={**only(file.get('aliases'), names), **aliases},
        class_templates=only(file.get('class_templates'), names),
        class_thresholds=only(thresholds if isinstance(thresholds, Mapping) else None, names),
    )
    if 'templates' in file:
        options['templates'] = file['templates']
    if 'alias_pooling' in file:
        options['alias_pooling'] = file['alias_pooling']
    return options


def threshold_of(control: ElementTree.Element, default: float | None) -> float | None:
    """Return the background threshold of a control tag.

    Raises:
        ValueError: If it is no number.
    """
    text = control.get('model_score_threshold')
    try:
        return default if text is None else float(text)
    except ValueError as error:
        raise ValueError(f'model_score_threshold="{text}" is no number in [0, 1].') from error


def only(by_name: Mapping[str, Value] | None, names: tuple[str, ...]) -> dict[str, Value]:
    """Return the entries of some names."""
    return {name: value for name, value in (by_name or {}).items() if name in names}
