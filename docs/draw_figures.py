"""Draw the figures of docs/tour.md: the model, and the path of the data through the code.

python docs/draw_figures.py

Boxes name the file that holds them, below ``groupvit_mmseg/``; a test checks that the files exist.
"""

from pathlib import Path
from typing import NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

FOLDER = Path(__file__).resolve().parent / 'images'
INK, GREY = '#1f2933', '#7b8794'
DATA, CODE, TEXT, LEARN = '#fff4d6', '#e3effb', '#e6f6ec', '#fbe6e6'


class Box(NamedTuple):
    """A box of a figure.

    Attributes:
        name (str): What arrows call it.
        x (float): Its centre, in columns.
        y (float): Its centre, in rows, counted downwards.
        title (str): What it is.
        detail (str): A file, or the shape of what leaves it.
        colour (str): What kind of thing it is.
        width (float): In columns.
    """

    name: str
    x: float
    y: float
    title: str
    detail: str
    colour: str = CODE
    width: float = 1.76


MODEL = (
    Box('image', 0, 0, 'image', '(B, 3, H, W)', DATA),
    Box('patches', 2, 0, 'patch embedding', 'models/groupvit.py'),
    Box('stage1', 4, 0, 'stage 1: 6 blocks\n+ 64 group tokens', 'models/stages.py'),
    Box('group1', 6, 0, 'grouping block\ninto 64 segments', 'models/grouping.py'),
    Box('stage2', 8, 0, 'stage 2: 3 blocks\n+ 8 group tokens', 'models/stages.py'),
    Box('group2', 10, 0, 'grouping block\ninto 8 segments', 'models/grouping.py'),
    Box('stage3', 12, 0, 'stage 3: 3 blocks', '(B, 8, C)'),
    Box('caption', 0, 3.2, 'caption', 'or a class name', DATA),
    Box('tokens', 2, 3.2, 'byte-pair tokens', 'text/tokenizer.py', TEXT),
    Box('text', 4, 3.2, 'text transformer', 'models/text_encoder.py', TEXT),
    Box('text_projector', 6, 3.2, 'projector', 'models/projector.py', TEXT),
    Box('projector', 12, 1.6, 'projector', 'models/projector.py'),
    Box(
        'losses',
        9,
        2.2,
        'training: contrastive losses\nmean of the segments x caption',
        'models/losses.py',
        LEARN,
        3.0,
    ),
    Box(
        'head',
        9,
        3.6,
        'segmentation: each segment\nx each class name',
        'models/zero_shot_head.py',
        LEARN,
        3.0,
    ),
    Box(
        'map',
        9,
        5.0,
        'each pixel takes the class of its segment',
        'assignments of both grouping blocks: models/outputs.py',
        LEARN,
        4.6,
    ),
)
MODEL_ARROWS = (
    ('image', 'patches'), ('patches', 'stage1'), ('stage1', 'group1'), ('group1', 'stage2'),
    ('stage2', 'group2'), ('group2', 'stage3'), ('caption', 'tokens'), ('tokens', 'text'),
    ('text', 'text_projector'), ('stage3', 'projector'), ('projector', 'losses'),
    ('projector', 'head'), ('text_projector', 'losses'), ('text_projector', 'head'),
    ('head', 'map'),
)  # fmt: skip

FLOW = (
    Box('shards', 0, 0, 'tar shards', 'image + captions', DATA),
    Box('stream', 2.2, 0, 'plan of an epoch', 'datasets/epoch_plan.py'),
    Box('dataset', 4.4, 0, 'samples; invalid\nones are replaced', 'datasets/image_text.py'),
    Box(
        'transforms',
        6.6,
        0,
        'decode, augment,\nprompts of words',
        'datasets/image_text_transforms.py',
        width=2.02,
    ),
    Box('pretrainer', 8.8, 0, 'both towers, losses', 'models/pretrainer.py', LEARN),
    Box('runner', 11, 0, 'loop, hooks,\ncheckpoints', 'engine/runner/runner.py', LEARN),
    Box('picture', 0, 2.4, 'image', 'any size', DATA),
    Box('windows', 2.2, 2.4, 'sliding windows', 'models/windows.py'),
    Box('segmentor', 4.4, 2.4, 'segments and\nassignments', 'models/segmentor.py'),
    Box('zero_shot', 6.6, 2.4, 'classes of the\nsegments', 'models/zero_shot_head.py'),
    Box('labels', 8.8, 2.4, 'label map', '(H, W)', DATA),
    Box('metrics', 11, 2.4, 'mIoU', 'evaluation/metrics.py'),
    Box('names', 2.2, 4.2, 'class names', 'words, templates', DATA),
    Box('class_list', 4.4, 4.2, 'class list', 'text/class_list.py', TEXT),
    Box('class_embeds', 6.6, 4.2, 'class embeddings', 'models/text_encoder.py', TEXT),
)
FLOW_ARROWS = (
    ('shards', 'stream'), ('stream', 'dataset'), ('dataset', 'transforms'),
    ('transforms', 'pretrainer'), ('pretrainer', 'runner'), ('picture', 'windows'),
    ('windows', 'segmentor'), ('segmentor', 'zero_shot'), ('zero_shot', 'labels'),
    ('labels', 'metrics'), ('names', 'class_list'), ('class_list', 'class_embeds'),
    ('class_embeds', 'zero_shot'), ('runner', 'segmentor', 'checkpoint'),
)  # fmt: skip


def draw_box(axes: Axes, box: Box, height: float) -> None:
    """Draw a rounded rectangle with a title and a line in grey."""
    corner = (box.x - box.width / 2, box.y - height / 2)
    style = 'round,pad=0.02,rounding_size=0.12'
    axes.add_patch(
        FancyBboxPatch(corner, box.width, height, boxstyle=style, fc=box.colour, ec=INK, lw=0.8)
    )
    axes.text(box.x, box.y - 0.08, box.title, ha='center', va='center', fontsize=9.5, color=INK)
    axes.text(
        box.x, box.y + height * 0.36, box.detail, ha='center', va='center', fontsize=7, color=GREY
    )


def draw_arrow(axes: Axes, first: Box, last: Box, height: float, label: str = '') -> None:
    """Draw an arrow from border to border, with an optional label beside it."""
    across = abs(last.x - first.x) > (first.width + last.width) / 2 - 0.1 and not label
    if across:
        side = 1 if last.x > first.x else -1
        start, end = first.x + side * first.width / 2, last.x - side * last.width / 2
        begin, finish = (start, first.y), (end, last.y)
    else:
        side = 1 if last.y > first.y else -1
        begin, finish = (first.x, first.y + side * height / 2), (last.x, last.y - side * height / 2)
    arrow = dict(arrowstyle='-|>', color=INK, lw=0.9, shrinkA=2, shrinkB=2)
    axes.annotate('', finish, begin, arrowprops=arrow)
    if label:
        middle = ((begin[0] + finish[0]) / 2, (begin[1] + finish[1]) / 2 - 0.15)
        axes.text(*middle, label, ha='right', fontsize=7, color=GREY)


def draw(boxes: tuple[Box, ...], arrows: tuple[tuple[str, ...], ...], path: Path) -> None:
    """Draw one figure as an SVG file that is the same in every run."""
    height = 1.05
    named = {box.name: box for box in boxes}
    right, bottom = max(box.x for box in boxes) + 1, max(box.y for box in boxes) + 0.8
    with rc_context({'svg.hashsalt': path.stem, 'font.family': 'DejaVu Sans'}):
        figure = Figure(figsize=(0.85 * (right + 1), 0.85 * (bottom + 0.8)))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(-1, right), ylim=(bottom, -0.8))
        axes.axis('off')
        for first, last, *label in arrows:
            draw_arrow(axes, named[first], named[last], height, *label)
        for box in boxes:
            draw_box(axes, box, height)
        figure.savefig(path, metadata={'Date': None}, facecolor='white')


def main() -> None:
    """Draw both figures."""
    FOLDER.mkdir(exist_ok=True)
    draw(MODEL, MODEL_ARROWS, FOLDER / 'model.svg')
    draw(FLOW, FLOW_ARROWS, FOLDER / 'data_flow.svg')


if __name__ == '__main__':
    main()
