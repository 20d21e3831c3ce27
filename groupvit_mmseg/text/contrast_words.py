"""Words of the background for a single class, which has nothing to be compared with."""

from groupvit_mmseg.text.class_list import ClassList
from groupvit_mmseg.text.vocabulary import class_names

# Labels are the best of several classes, so a class alone is the label of every pixel. Names of
# common things as words of the background take the pixels that are not of the class: on the scenes,
# 77.8 IoU where it is present (34.5 without them, 78.7 with the names of everything else in the
# scene), and .1 % of the pixels where it is absent. A threshold would have to be calibrated.
CONTRAST_SET = 'coco_object'


def contrast_words(classes: ClassList) -> tuple[str, ...]:
    """Return the names of the 80 COCO objects that share no word with a class or its aliases.

    A plural is the same word. Other words of the same meaning are not recognised: "person" remains
    for "man", unless it is an alias of that class.

    Args:
        classes (ClassList): Of one class.

    Example:
        >>> from groupvit_mmseg.text.class_list import make_class_list
        >>> words = contrast_words(make_class_list(['dogs'], aliases={'dogs': ['puppy']}))
        >>> 'cat' in words, 'dog' in words, 'hot dog' in words
        (True, False, False)
    """
    label = int(classes.with_background)
    own = {form for one in classes.prompts if one.label == label for form in _forms(one.word)}
    names = class_names(CONTRAST_SET)[1:]
    return tuple(name for name in names if not own & _forms(name))


def with_contrast(classes: ClassList) -> ClassList:
    """Add a background of contrast words to a single class without background words.

    A background threshold is dropped: the only class has the score 1 everywhere, which no threshold
    divides. A threshold of the class is kept.

    Args:
        classes (ClassList): Any list; others are returned as they are.

    Example:
        >>> from groupvit_mmseg.text.class_list import make_class_list
        >>> with_contrast(make_class_list(['cat'])).class_names
        ('background', 'cat')
        >>> with_contrast(make_class_list(['cat', 'dog'])).class_names
        ('cat', 'dog')
    """
    if classes.background_words or len(classes.foreground) != 1:
        return classes
    words = contrast_words(classes)
    return classes.looking_for(bg_thresh=None, background_words=words)


def without_contrast(classes: ClassList) -> tuple[ClassList, tuple[str, ...]]:
    """Undo :func:`with_contrast`.

    Args:
        classes (ClassList): Any list; others are returned as they are.

    Returns:
        tuple[ClassList, tuple[str, ...]]: The list, and the words of its background that followed
        the contrast words: negative words of the class.
    """
    if len(classes.foreground) != 1 or classes.bg_thresh is not None:
        return classes, ()
    words = contrast_words(classes)
    if classes.background_words[: len(words)] != words:
        return classes, ()
    return classes.looking_for(background_words=()), classes.background_words[len(words) :]


def _forms(name: str) -> set[str]:
    """Return the words of a name, each also without the endings of a plural."""
    words = name.casefold().split()
    endings = {word.removesuffix(ending) for word in words for ending in ('s', 'es')}
    return {*words, *endings}
