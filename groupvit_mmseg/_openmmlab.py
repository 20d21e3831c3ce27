"""Import of the OpenMMLab packages: one clear error if one is missing, no noise otherwise."""

import contextlib
import importlib
import io
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, version
from unittest import mock

MODULES = (
    'mmseg.models',
    'mmseg.datasets',
    'mmseg.evaluation',
    'mmseg.engine',
    'mmpretrain.datasets',
    'mmpretrain.models',
)
INSTALL = 'run: pip install "groupvit-mmseg[onedl]"'
PACKAGES = ('mmengine', 'mmcv', 'mmseg', 'mmpretrain')
# Installed packages that provide the same modules.
BUILDS = (
    ('mmengine', 'onedl-mmengine'),
    ('mmcv', 'onedl-mmcv', 'mmcv-lite'),
    ('mmsegmentation', 'onedl-mmsegmentation'),
    ('mmpretrain', 'onedl-mmpretrain'),
)
# Of the build of OpenCV with windows, which the OpenMMLab packages require.
MISSING_LIBRARY = re.compile(r'lib(GL|EGL|SM|Xext|Xrender|X11|xcb|glib-2|gthread-2)\b.*\.so')
# A text of the message, and the sentence that replaces it.
KNOWN_FAILURES = (
    (
        'torchvision::nms',
        'The installed torchvision does not belong to the installed torch; run: '
        'pip install --upgrade torch torchvision',
    ),
    (
        'is used but incompatible',  # mmseg and mmpretrain about mmcv and mmengine
        '{error}: the installed OpenMMLab packages do not fit each other; install one build whole, '
        'as docs/faq.md says',
    ),
    (
        'pkg_resources',
        'The OpenMMLab packages need pkg_resources, which setuptools dropped; run: '
        'pip install "setuptools<81"',
    ),
)
# Warnings of libraries about their own parts; none concerns a part that the plugin uses.
UNAVOIDABLE_WARNINGS = (
    (r'Fail to import ``MultiScaleDeformableAttention``', UserWarning),
    (r'``MultiScaleDeformableAttention`` has been moved', ImportWarning),
    (r'`torch\.jit\.\w+` is deprecated', DeprecationWarning),
    (r"'maxsplit' is passed as positional argument", DeprecationWarning),  # mmengine, 3.13
)
# One that mmengine causes in torch 2.4 and 2.5, which show it whatever the filters are.
STUBBORN_WARNING = '`TorchScript` support for functional optimizers is deprecated'
UNAVOIDABLE_LINES = ('Could not import OneDL',)


def import_openmmlab() -> None:
    """Import the packages that the plugin builds on, from any installed OpenMMLab build.

    Raises:
        ImportError: If a package is missing, or packages do not fit each other; the message has the
            command to run.

    Warns:
        UserWarning: If two builds of a package are installed, although the import succeeds.
    """
    try:
        with _without_noise(), _without_multimodal():
            for name in MODULES:
                importlib.import_module(name)
    except (AssertionError, ImportError, RuntimeError) as error:
        sentence = _explanation(error)
        if sentence is None:
            raise
        raise ImportError(sentence) from error
    mixed = mixed_builds()
    if mixed is not None:
        warnings.warn(mixed, UserWarning, stacklevel=3)


def mixed_builds() -> str | None:
    """Return what to do if packages are installed over each other; None if none are."""
    mixed = [names for names in map(_installed, BUILDS) if len(names) > 1]
    if not mixed:
        return None
    every = ' '.join(name for names in map(_installed, BUILDS) for name in names)
    return (
        f'{" and ".join(mixed[0])} are both installed, and each overwrites files of the other; '
        f'run: pip uninstall --yes {every} && pip install "groupvit-mmseg[onedl]"'
    )


def _installed(names: tuple[str, ...]) -> list[str]:
    """Return those packages that are installed."""
    return [name for name in names if _version(name) is not None]


def _version(name: str) -> str | None:
    """Return the version of a package, None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _explanation(error: Exception) -> str | None:
    """Return a sentence with the remedy for an import that fails in a known way, else None."""
    name = getattr(error, 'name', None) or ''
    mixed = mixed_builds()
    if mixed is not None:
        return mixed
    if name == 'mmcv._ext':
        return (
            'The installed mmcv has no compiled operators, which this build of MMSegmentation '
            'needs; uninstall mmcv, mmcv-lite, mmengine, mmsegmentation and mmpretrain, then '
            f'{INSTALL}'
        )
    if isinstance(error, ModuleNotFoundError) and name.partition('.')[0] in PACKAGES:
        package = name.partition('.')[0]
        return (
            f'groupvit_mmseg needs an OpenMMLab build and {package!r} is not installed; {INSTALL}'
        )
    if isinstance(error, ImportError) and MISSING_LIBRARY.match(str(error)):
        return missing_library(error)
    for text, sentence in KNOWN_FAILURES:
        if text in str(error):
            return sentence.format(error=str(error).rstrip('.'))
    return None


def missing_library(error: ImportError) -> str:
    """Return what to do where OpenCV's build with windows misses a library, as in containers.

    Example:
        >>> missing_library(ImportError('libGL.so.1: cannot open shared object file'))[:43]
        'OpenCV needs libGL.so.1, which this system '
    """
    return (
        f'OpenCV needs {str(error).partition(":")[0]}, which this system has not; run: '
        'pip uninstall --yes opencv-python && '
        'pip install --force-reinstall --no-deps opencv-python-headless'
    )


@contextlib.contextmanager
def _without_noise() -> Iterator[None]:
    """Silence the messages listed above, and no others, while the packages are imported."""
    captured = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(captured):
            for message, category in UNAVOIDABLE_WARNINGS:
                warnings.filterwarnings('ignore', message=message, category=category)
            warnings.showwarning = _without_stubborn(warnings.showwarning)
            yield
    finally:
        for line in captured.getvalue().splitlines():
            if line not in UNAVOIDABLE_LINES:
                print(line, file=sys.stdout)


def _without_stubborn(show: Callable[..., None]) -> Callable[..., None]:
    """Return a function that shows warnings as before, but for the one named above."""

    def show_others(message: Warning | str, *details: object, **options: object) -> None:
        if not str(message).startswith(STUBBORN_WARNING):
            show(message, *details, **options)

    return show_others


@contextlib.contextmanager
def _without_multimodal() -> Iterator[None]:
    """Keep MMPretrain from importing its multimodal models if transformers is too new for them.

    It imports them if pycocotools is installed, and with transformers 5 its whole import fails.
    """
    original = Distribution.from_name

    def from_name(name: str) -> Distribution:
        if name == 'pycocotools' and _has_transformers_5():
            raise PackageNotFoundError(name)
        return original(name)

    with mock.patch.object(Distribution, 'from_name', from_name):
        yield


def _has_transformers_5() -> bool:
    """Return whether the installed transformers lacks names that MMPretrain imports."""
    return int((_version('transformers') or '0').partition('.')[0]) >= 5
