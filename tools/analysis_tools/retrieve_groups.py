"""Shows which images and words excite each segment of a model.

python tools/analysis_tools/retrieve_groups.py CHECKPOINT --images FOLDER --out DIR [--words WORDS]

Writes groups.png, a row per segment with the images that excite it most (the rest of each image is
faded), and groups.json with the words it is nearest to.
"""

import argparse
import pickle
import sys
from pathlib import Path

import groupvit_mmseg  # noqa: F401  (first: it says in one sentence what is missing)

# isort: split
import numpy as np
import torch
import torch.nn.functional as F

from groupvit_mmseg.benchmark.report import describe_checkpoint, write_json
from groupvit_mmseg.evaluation.retrieval import SegmentSight, segment_concepts
from groupvit_mmseg.inference import load_image, load_segmentor
from groupvit_mmseg.output_paths import check_output
from groupvit_mmseg.text.class_choice import read_class_choice
from groupvit_mmseg.visualization import panel, save_figure

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
MODEL = CONFIGS / 'groupvit/groupvit_vit-small-p16_zeroshot_voc12-448.py'
ENDINGS = ('.jpg', '.jpeg', '.png')
ERRORS = (ImportError, OSError, KeyError, RuntimeError, ValueError, pickle.UnpicklingError)


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('checkpoint', help='of a pretrainer or a segmentor')
    parser.add_argument('--images', type=Path, required=True, help='folder with pictures')
    parser.add_argument('--words', default='coco_object', help='a set, a class file, or words')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR')
    parser.add_argument('--config', type=Path, default=MODEL, help='of the model')
    parser.add_argument('--size', type=int, default=224, help='pixels that a picture is resized to')
    parser.add_argument('--top', type=int, default=5, help='images and words per segment')
    parser.add_argument('--limit', type=int, help='pictures to look at')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    return parser.parse_args(argv)


def list_images(folder, limit):
    if not folder.is_dir():
        raise FileNotFoundError(f'There is no folder {folder}.')
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
    if limit is not None and limit < 1:
        raise ValueError(f'--limit {limit} leaves no picture to look at.')
    return paths[:limit]


def read_words(text):
    """All words of the classes, but not those of a background."""
    chosen = read_class_choice(text)
    names = chosen['class_names'][int(chosen.get('with_background', False)) :]
    aliases = chosen.get('aliases', {})
    return tuple(word for name in names for word in (name, *aliases.get(name, ())))


@torch.inference_mode()
def look(segmentor, path, size):
    """The segments of one picture, resized to a square; and the segment of each pixel."""
    image = torch.from_numpy(np.array(load_image(path))[..., ::-1].copy()).permute(2, 0, 1)
    image = F.interpolate(image[None].float(), (size, size), mode='bilinear', antialias=True)[0]
    data = segmentor.data_preprocessor(dict(inputs=[image]), False)
    output = segmentor.extract_feat(data['inputs'])
    head = segmentor.decode_head
    embeds = F.normalize(head.image_projector(output.segments)[0], dim=-1).cpu()
    group_map = head.group_map(output)[0].cpu()
    shares = torch.bincount(group_map.flatten(), minlength=len(embeds)) / group_map.numel()
    return SegmentSight(embeds, shares), group_map.numpy()


def picture(path, group_map, segment):
    """The picture with everything but a segment faded."""
    image = (
        F.interpolate(
            torch.from_numpy(np.array(load_image(path))).permute(2, 0, 1)[None].float(),
            group_map.shape,
            mode='bilinear',
            antialias=True,
        )[0]
        .permute(1, 2, 0)
        .numpy()
    )
    weight = np.where(group_map == segment, 1.0, 0.2)[..., None]
    return (image * weight + 255 * (1 - weight)).round().clip(0, 255).astype(np.uint8)


def draw(concepts, paths, maps, args):
    """A row per segment."""
    blank = np.full((args.size, args.size, 3), 255, np.uint8)
    rows = [
        [picture(paths[i], maps[i], concept.segment) for i in concept.images]
        + [blank] * (args.top - len(concept.images))
        for concept in concepts
    ]
    save_figure(panel(rows, [str(i + 1) for i in range(args.top)]), args.out / 'groups.png')


def main(argv=None):
    args = parse_args(argv)
    try:
        words, paths = read_words(args.words), list_images(args.images, args.limit)
        for name in ('groups.png', 'groups.json'):
            check_output(args.out / name, reads=[args.checkpoint, args.config, *paths])
        segmentor = load_segmentor(args.config, args.checkpoint, device=args.device)
        seen = [look(segmentor, path, args.size) for path in paths]
        embeds = segmentor.decode_head.embed_names(words).cpu()
        concepts = segment_concepts(
            [sight for sight, _ in seen], embeds, words, top_images=args.top, top_words=args.top
        )
    except ERRORS as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    draw(concepts, paths, [group_map for _, group_map in seen], args)
    content = [
        concept._asdict() | dict(images=[paths[i].name for i in concept.images])
        for concept in concepts
    ]
    weights = describe_checkpoint(args.checkpoint)
    write_json(dict(segments=content, checkpoint=weights), args.out / 'groups.json')
    for concept in concepts:
        named = ', '.join(f'{word} {cosine:.2f}' for word, cosine in concept.words)
        print(f'segment {concept.segment}: {concept.share:6.1%} of the pixels; {named}')
    print(f'wrote {args.out / "groups.json"} and {args.out / "groups.png"}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
