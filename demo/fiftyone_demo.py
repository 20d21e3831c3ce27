"""Loads a folder of images into FiftyOne with GroupViT's segmentations, and evaluates them.

python demo/fiftyone_demo.py PHOTOS --words "cat, dog, grass" --app
python demo/fiftyone_demo.py PHOTOS --words "cat, dog" --background "sky, wall" --truth MASKS

Each sample gets the fields ``groupvit`` (a segmentation), ``groupvit_confidence`` (a heat map),
``groupvit_classes`` (the classes that occur, with share and mean confidence) and
``groupvit_score`` (the mean confidence, to sort by). In the masks 0 is the background, 1 the first
word, and so on; MASKS holds PNG files of the images' names with the same values, and 255 for pixels
that do not count.

Needs demo/fiftyone_requirements.txt.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from groupvit_cli.sources import Source, find_sources
from groupvit_mmseg.command_line import (
    add_device_argument,
    report_error,
    tool_main,
    tool_parser,
)
from groupvit_mmseg.datasets.label_maps import decode_label_map
from groupvit_mmseg.evaluation.confusion import SegmentationScores, segmentation_scores
from groupvit_mmseg.inference import GroupViTInferencer, InferenceResult
from groupvit_mmseg.text.vocabulary import parse_class_names

if TYPE_CHECKING:
    import fiftyone

FIELD, TRUTH = 'groupvit', 'truth'


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = tool_parser(__doc__)
    parser.add_argument('photos', help='folder of images')
    parser.add_argument('--words', required=True, help='class names, such as "cat, dog, grass"')
    parser.add_argument('--model', default='groupvit-gcc-yfcc', help='name or file of weights')
    parser.add_argument('--background', help='words whose pixels are background')
    parser.add_argument('--bg-thresh', type=float, help='background threshold in [0, 1]')
    parser.add_argument('--truth', type=Path, metavar='MASKS', help='folder of masks to compare')
    parser.add_argument('--name', default='groupvit', help='name of the data set in FiftyOne')
    parser.add_argument('--overwrite', action='store_true', help='replace a data set of the name')
    parser.add_argument('--persistent', action='store_true', help='keep it after this program')
    parser.add_argument('--app', action='store_true', help='open the App, until Ctrl-C')
    parser.add_argument('--port', type=int, default=5151, help='port of the App (default: 5151)')
    add_device_argument(parser)
    return parser.parse_args(argv)


def mask_targets(inferencer: GroupViTInferencer) -> dict[int, str]:
    """Return the name of each value of the masks; 0 only if there is a background."""
    first = int(inferencer.segmentor.decode_head.with_background)
    return {index + 1 - first: name for index, name in enumerate(inferencer.class_names)}


def to_segmentation(result: InferenceResult) -> fiftyone.Segmentation:
    """Return the label map as a ``fiftyone.Segmentation``, whose value 0 is the background."""
    import fiftyone

    values = result.label_map + 1 - int(result.with_background)
    kind = np.uint8 if values.max() < 256 else np.uint16
    return fiftyone.Segmentation(mask=values.astype(kind))


def to_heatmap(result: InferenceResult) -> fiftyone.Heatmap:
    """Return the confidence of every pixel as a ``fiftyone.Heatmap``."""
    import fiftyone

    return fiftyone.Heatmap(map=result.confidence, range=[0, 1])


def to_classifications(result: InferenceResult) -> fiftyone.Classifications:
    """Return the classes that occur, each with its share and mean confidence, largest first."""
    import fiftyone

    confidence = result.confidence
    labels = {name: index for index, name in enumerate(result.class_names)}
    return fiftyone.Classifications(
        classifications=[
            fiftyone.Classification(
                label=name,
                confidence=float(confidence[result.label_map == labels[name]].mean()),
                share=share,
            )
            for name, share in result.shares.items()
        ]
    )


def to_sample(path: str, result: InferenceResult, truth: Path | None) -> fiftyone.Sample:
    """Return the sample of an image.

    Args:
        path (str): File of the image.
        result (InferenceResult): Its segmentation.
        truth (Path, optional): File of its mask.

    Raises:
        ValueError: If the mask cannot be read, or is of another size.
    """
    import fiftyone

    sample = fiftyone.Sample(filepath=str(Path(path).absolute()))
    sample[FIELD] = to_segmentation(result)
    sample[f'{FIELD}_confidence'] = to_heatmap(result)
    sample[f'{FIELD}_classes'] = to_classifications(result)
    sample[f'{FIELD}_score'] = float(result.confidence.mean())
    if truth is not None:
        sample[TRUTH] = fiftyone.Segmentation(mask=read_truth(truth, result))
    return sample


def read_truth(path: Path, result: InferenceResult) -> NDArray[np.uint8]:
    """Read the mask of an image.

    Raises:
        ValueError: If it cannot be read, or is of another size.
    """
    mask = decode_label_map(path.read_bytes(), str(path))
    if mask.shape != result.label_map.shape:
        sizes = [f'{shape[1]} x {shape[0]}' for shape in (mask.shape, result.label_map.shape)]
        raise ValueError(f'The mask {path} has {sizes[0]} pixels, its image {sizes[1]}.')
    return mask


def truth_files(folder: Path, images: Sequence[Source]) -> list[Path]:
    """Return the mask of each image, named as ``groupvit segment --format label`` names it.

    Raises:
        FileNotFoundError: If one has none.
    """
    paths = [folder / f'{image.name}.png' for image in images]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        more = f' and {len(missing) - 1} more' if len(missing) > 1 else ''
        raise FileNotFoundError(
            f'There is no mask {missing[0]}{more}: --truth needs one per image.'
        )
    return paths


def samples_of(
    inferencer: GroupViTInferencer, images: Sequence[str], truths: Sequence[Path | None]
) -> Iterator[fiftyone.Sample]:
    """Yield the samples; an image or mask that cannot be used is named and left out."""
    pairs = zip(images, truths, strict=True)
    for path, truth in track(pairs, 'segmenting', total=len(images)):
        try:
            yield to_sample(path, inferencer(path), truth)
        except (OSError, ValueError) as error:
            report_error(error)


def check_dataset(name: str, *, overwrite: bool) -> None:
    """Refuse the name of a data set that is there, before a model is loaded.

    Raises:
        ImportError: If FiftyOne is not installed.
        RuntimeError: If its database does not start.
        ValueError: If there is a data set of the name.
    """
    os.environ.setdefault('FIFTYONE_DO_NOT_TRACK', '1')
    try:
        import fiftyone
        from fiftyone.core.config import FiftyOneConfigError
    except ImportError as error:
        raise ImportError(f'{error}: run pip install -r demo/fiftyone_requirements.txt') from error
    try:
        if fiftyone.dataset_exists(name) and not overwrite:
            raise ValueError(f'FiftyOne has a data set {name}: name another, or --overwrite.')
    except FiftyOneConfigError as error:
        raise RuntimeError(
            f'The database of FiftyOne does not start: {error}. docs/integrations.md says what '
            'to do.'
        ) from error


def evaluate(dataset: fiftyone.Dataset, targets: dict[int, str]) -> SegmentationScores:
    """Compare the field ``groupvit`` with ``truth``; values without a name do not count."""
    results = dataset.evaluate_segmentations(
        FIELD, gt_field=TRUTH, eval_key=f'{FIELD}_eval', mask_targets=targets
    )
    return segmentation_scores(np.asarray(results.pixel_confusion_matrix, np.int64))


def print_scores(scores: SegmentationScores, targets: dict[int, str]) -> None:
    """Print the IoU of each class that occurs, and their mean."""
    for name, value in zip(targets.values(), scores.class_iou, strict=True):
        if value is not None:
            print(f'{name}: IoU {value:.2f}')
    print(f'mIoU {scores.miou:.2f}, pixel accuracy {scores.pixel_accuracy:.2f}')


def show(dataset: fiftyone.Dataset, port: int) -> None:
    """Open the App and wait until it is closed, or Ctrl-C."""
    import fiftyone

    session = fiftyone.launch_app(dataset, port=port, address='127.0.0.1', auto=False)
    print(f'The App is at http://127.0.0.1:{port}', flush=True)
    session.wait(-1)


@tool_main()
def main(argv: Sequence[str] | None = None) -> int:
    """Segment, store, evaluate, show; the status is 1 if images were left out."""
    args = parse_args(argv)
    sources = [each for each in find_sources([args.photos]) if each.kind == 'image']
    images = [each.path for each in sources]
    truths = truth_files(args.truth, sources) if args.truth else [None] * len(images)
    check_dataset(args.name, overwrite=args.overwrite)
    inferencer = GroupViTInferencer.from_pretrained(
        args.model,
        class_names=parse_class_names(args.words),
        background_words=parse_class_names(args.background) if args.background else None,
        bg_thresh=args.bg_thresh,
        device=args.device,
    )
    import fiftyone

    # Only now: until here nothing is replaced.
    dataset = fiftyone.Dataset(args.name, overwrite=args.overwrite, persistent=args.persistent)
    dataset.add_samples(samples_of(inferencer, images, truths), progress=False)
    print(f'{len(dataset)} of {len(images)} images are in the data set {args.name}')
    if len(dataset):
        targets = mask_targets(inferencer)
        dataset.default_mask_targets = targets
        dataset.save()
        if args.truth:
            print_scores(evaluate(dataset, targets), targets)
        if args.app:
            show(dataset, args.port)
    return int(len(dataset) < len(images))


if __name__ == '__main__':
    sys.exit(main())
