"""The scenes: small images of textured things on textured grounds, with captions and masks.

They are the data that everything in this project runs on without a download. All drawing is
integer arithmetic on numpy's frozen ``RandomState`` stream, so the same seed gives the same pixels
and captions on every machine. ``tools/dataset_converters/make_scenes.py`` writes them to disk.
"""

import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

Coordinates = NDArray[np.int64]
"""One coordinate of every pixel, ``(H, W)``."""
Mask = NDArray[np.bool_]
"""Whether a pixel belongs, ``(H, W)``."""
Pattern = Callable[[Coordinates, Coordinates], Mask]
"""An outline or a surface."""
Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""
Option = TypeVar('Option')


class Thing(NamedTuple):
    """The appearance of one class of things: its outline, its surface and its colours."""

    shape: Pattern
    texture: Pattern
    colours: tuple[str, ...]


class Scene(NamedTuple):
    """An image ``(H, W, 3)`` RGB, its label map ``(H, W)`` of indices into CLASSES, a caption."""

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    caption: str


# Outlines: integer coordinates, scaled so that 256 is the thing's radius.


def _ball(u: Coordinates, v: Coordinates) -> Mask:
    return u * u + v * v <= 240 * 240


def _ring(u: Coordinates, v: Coordinates) -> Mask:
    return (u * u + v * v <= 256 * 256) & (u * u + v * v >= 100 * 100)


def _box(u: Coordinates, v: Coordinates) -> Mask:
    return (abs(u) <= 205) & (abs(v) <= 205)


def _kite(u: Coordinates, v: Coordinates) -> Mask:
    return 4 * abs(u) + 3 * abs(v) <= 3 * 270


def _cross(u: Coordinates, v: Coordinates) -> Mask:
    return ((abs(u) <= 100) & (abs(v) <= 250)) | ((abs(v) <= 100) & (abs(u) <= 250))


def _tent(u: Coordinates, v: Coordinates) -> Mask:
    return (v <= 190) & (2 * abs(u) <= v + 256)


def _star(u: Coordinates, v: Coordinates) -> Mask:
    # In at least four of the five half-planes of a pentagram's edges, with round tips.
    normals = ((0, 256), (-243, 79), (-150, -207), (150, -207), (243, 79))
    inside = sum((a * u + b * v <= 115 * 256).astype(np.int64) for a, b in normals)
    return (inside >= 4) & (u * u + v * v <= 270 * 270)


def _heart(u: Coordinates, v: Coordinates) -> Mask:
    lobes = (abs(u) - 118) ** 2 + (v + 80) ** 2 <= 135 * 135
    return lobes | ((v >= -80) & (abs(u) + v <= 210) & (abs(u) <= 253))


# Surfaces: pixel coordinates to the pixels that take the second tone.


def _plain(x: Coordinates, y: Coordinates) -> Mask:
    return np.zeros_like(x, bool)


def _rows(x: Coordinates, y: Coordinates) -> Mask:
    return y // 2 % 2 == 0


def _columns(x: Coordinates, y: Coordinates) -> Mask:
    return x // 2 % 2 == 0


def _diagonals(x: Coordinates, y: Coordinates) -> Mask:
    return (x + y) // 2 % 3 == 0


def _checks(x: Coordinates, y: Coordinates) -> Mask:
    return (x // 2 + y // 2) % 2 == 0


def _dots(x: Coordinates, y: Coordinates) -> Mask:
    return (x % 4 < 2) & (y % 4 < 2)


def _lattice(x: Coordinates, y: Coordinates) -> Mask:
    return (x % 4 == 0) | (y % 4 == 0)


def _zigzag(x: Coordinates, y: Coordinates) -> Mask:
    return (y + abs(x % 8 - 4)) // 2 % 2 == 0


def _blades(x: Coordinates, y: Coordinates) -> Mask:
    return (x * 7 + y // 5 * 3) % 5 < 2


def _waves(x: Coordinates, y: Coordinates) -> Mask:
    return (y * 2 + abs(x % 16 - 8)) // 3 % 4 == 0


COLOURS = {
    'red': (205, 40, 40),
    'orange': (240, 115, 20),
    'yellow': (250, 225, 30),
    'pink': (240, 130, 180),
    'purple': (130, 50, 160),
    'black': (40, 38, 42),
    'brown': (120, 75, 40),
    'teal': (30, 165, 160),
}
THINGS = {
    'ball': Thing(_ball, _plain, ('orange',)),
    'ring': Thing(_ring, _dots, ('red',)),
    'box': Thing(_box, _lattice, ('brown',)),
    'kite': Thing(_kite, _checks, ('purple',)),
    'cross': Thing(_cross, _rows, ('black',)),
    'tent': Thing(_tent, _columns, ('teal',)),
    'star': Thing(_star, _zigzag, ('yellow',)),
    'heart': Thing(_heart, _diagonals, ('pink',)),
}
GROUNDS = {
    'sand': (_plain, (200, 186, 160), 16),
    'grass': (_blades, (85, 150, 60), 10),
    'water': (_waves, (60, 115, 180), 5),
    'snow': (_plain, (236, 242, 250), 4),
}
CLASSES = (*THINGS, *GROUNDS)
PALETTE = (*(COLOURS[t.colours[0]] for t in THINGS.values()), *(g[1] for g in GROUNDS.values()))
TURNS = tuple(
    (round(256 * np.cos(t)), round(256 * np.sin(t))) for t in np.linspace(-0.35, 0.35, 15)
)


def draw_scene(seed: int, size: int = 40, max_things: int = 3) -> Scene:
    """Draw one scene; a function of its arguments.

    Args:
        seed (int): Seed of this one scene, in ``[0, 2**32)``.
        size (int): Side of the square image, pixels. Defaults to 40.
        max_things (int): Most things in an image, all of different classes. Defaults to 3.

    Returns:
        Scene: Image, label map and caption.

    Example:
        >>> scene = draw_scene(seed=5)
        >>> scene.image.shape, scene.caption
        ((40, 40, 3), 'a pink heart on snow')
    """
    rng = np.random.RandomState(seed)
    y, x = np.mgrid[:size, :size].astype(np.int64)
    ground = _choose(rng, tuple(GROUNDS))
    texture, colour, noise = GROUNDS[ground]
    image = _surface(rng, texture, colour, noise, x, y)
    labels = np.full((size, size), CLASSES.index(ground), np.uint8)
    phrases = []
    names = [
        list(THINGS)[i] for i in rng.permutation(len(THINGS))[: rng.randint(1, max_things + 1)]
    ]
    for name, (cx, cy, radius) in zip(names, _circles(rng, len(names), size), strict=True):
        mask = _outline(rng, THINGS[name].shape, x - cx, y - cy, radius)
        colour_name = _choose(rng, THINGS[name].colours)
        surface = _surface(rng, THINGS[name].texture, COLOURS[colour_name], 6, x, y)
        image[mask] = surface[mask]
        labels[mask] = CLASSES.index(name)
        phrases.append(_phrase(rng, name, colour_name))
    return Scene(image, labels, _caption(rng, phrases, ground))


def _choose(rng: RandomState, options: Sequence[Option]) -> Option:
    """Choose one of the options."""
    return options[rng.randint(len(options))]


def _circles(rng: RandomState, count: int, size: int) -> list[tuple[int, int, int]]:
    """Draw centres and radii of ``count`` things that stay inside and hardly touch."""
    while True:
        circles: list[tuple[int, int, int]] = []
        for _ in range(20 * count):
            radius = rng.randint(size * 9 // 40, size * 12 // 40 + 1)
            cx, cy = (rng.randint(radius, size - radius + 1) for _ in range(2))
            if all((cx - a) ** 2 + (cy - b) ** 2 >= (radius + r) ** 2 for a, b, r in circles):
                circles.append((cx, cy, radius))
            if len(circles) == count:
                return circles


def _outline(
    rng: RandomState, shape: Pattern, dx: Coordinates, dy: Coordinates, radius: int
) -> Mask:
    """Draw the pixels of a shape, turned a little, around the origin of ``dx, dy``."""
    cos, sin = _choose(rng, TURNS)
    return shape((cos * dx + sin * dy) // radius, (cos * dy - sin * dx) // radius)


def _surface(
    rng: RandomState, texture: Pattern, colour: Colour, noise: int, x: Coordinates, y: Coordinates
) -> NDArray[np.uint8]:
    """Paint ``(H, W, 3)`` in a jittered colour, its second tone and pixel noise."""
    base = np.array(colour) + rng.randint(-12, 13, 3)
    second = base + 60 if base.sum() < 330 else base - 60
    marks = texture(x + rng.randint(64), y + rng.randint(64))
    painted = (
        np.where(marks[..., None], second, base)
        + rng.randint(-noise, noise + 1, x.shape)[..., None]
    )
    return painted.clip(0, 255).astype(np.uint8)


def _phrase(rng: RandomState, name: str, colour: str) -> str:
    """Name a thing, in two of three cases with its colour."""
    words = f'{colour} {name}' if rng.randint(3) else name
    return f'{"an" if words[0] in "aeiou" else "a"} {words}'


def _caption(rng: RandomState, phrases: list[str], ground: str) -> str:
    """Write a caption with the phrases of the things and the ground."""
    if len(phrases) == 2:
        things = _choose(rng, (' and ', ' next to ', ' beside ')).join(phrases)
    else:
        things = ' and '.join(filter(None, (', '.join(phrases[:-1]), phrases[-1])))
    pattern = _choose(
        rng, ('{} on {}', '{} on the {}', '{} on some {}', '{1} with {0}', '{1} under {0}')
    )
    return pattern.format(things, ground)


def scene_seed(seed: int, split: str, index: int) -> int:
    """Give every scene of every split its own seed."""
    return zlib.crc32(f'{seed}/{split}/{index}'.encode())
