"""Packs images and captions into tar shards, with sizes.json.

python tools/dataset_converters/make_shards.py FORMAT SOURCE --out FOLDER [--images FOLDER]

FORMAT   SOURCE
folder   a folder; beside each image a .txt (captions, one a line) or a .json of the same name
csv tsv  a table with a header; --image-column and --caption-column name its columns
jsonl    an object a line with the same two
coco     COCO's captions_*.json
flickr   Flickr8k's or Flickr30k's captions: "x.jpg#0 <tab> text", "x.jpg,text" or "x.jpg| 0| text"
imagenet a folder of class folders; samples get a class number (.cls), classes.json lists them

Images of tables are paths in --images (the source's folder by default). Captions of one image are
kept together. Images that are missing are counted and named.
"""

import argparse
import csv
import json
import random
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from webdataset import ShardWriter

from groupvit_mmseg.datasets.image_text_transforms import IMAGE_EXTENSIONS
from groupvit_mmseg.datasets.shards import write_sizes

Pair = tuple[Path, list[str]]
EXAMPLES = 5


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('format', choices=[*READERS, 'imagenet'])
    parser.add_argument('source', type=Path)
    parser.add_argument('--out', type=Path, required=True, help='folder of the shards')
    parser.add_argument('--images', type=Path, help="folder of a table's images")
    parser.add_argument('--name', help="begins the shards' names; the source's name by default")
    parser.add_argument('--per-shard', type=int, default=10_000, help='samples per shard')
    parser.add_argument('--image-column', default='image')
    parser.add_argument('--caption-column', default='caption')
    parser.add_argument('--seed', type=int, default=0, help='samples are shuffled; -1 keeps order')
    args = parser.parse_args(argv)
    if not args.source.exists():
        parser.error(f'there is no {args.source}')
    args.images = args.images or (args.source if args.source.is_dir() else args.source.parent)
    return args


def images_in(folder: Path) -> list[Path]:
    """All images below a folder, sorted."""
    found = (path for path in folder.rglob('*') if path.suffix.lower()[1:] in IMAGE_EXTENSIONS)
    return sorted(found)


def read_folder(args) -> Iterator[Pair]:
    """Images with their captions beside them."""
    for image in images_in(args.source):
        text, structured = image.with_suffix('.txt'), image.with_suffix('.json')
        if text.is_file():
            yield image, text.read_text(encoding='utf-8').splitlines()
        elif structured.is_file():
            content = json.loads(structured.read_text(encoding='utf-8'))
            found = (
                content.get('captions', content.get('caption', []))
                if (isinstance(content, dict))
                else content
            )
            yield image, [found] if isinstance(found, str) else list(found)


def read_rows(args, rows: Iterable[dict]) -> Iterator[Pair]:
    """Rows of a table."""
    for number, row in enumerate(rows, 1):
        missing = {args.image_column, args.caption_column} - row.keys()
        if missing:
            raise SystemExit(
                f'{args.source}, row {number}: there is no column {sorted(missing)[0]!r} among '
                f'{sorted(map(str, row))}; name it with --image-column or --caption-column.'
            )
        yield args.images / row[args.image_column], [row[args.caption_column]]


def read_csv(args, delimiter=',') -> Iterator[Pair]:
    with args.source.open(encoding='utf-8', newline='') as stream:
        yield from read_rows(args, csv.DictReader(stream, delimiter=delimiter))


def read_tsv(args) -> Iterator[Pair]:
    return read_csv(args, delimiter='\t')


def read_jsonl(args) -> Iterator[Pair]:
    with args.source.open(encoding='utf-8') as stream:
        yield from read_rows(args, (json.loads(line) for line in stream if line.strip()))


def read_coco(args) -> Iterator[Pair]:
    content = json.loads(args.source.read_text(encoding='utf-8'))
    names = {image['id']: image['file_name'] for image in content['images']}
    for annotation in content['annotations']:
        yield args.images / names[annotation['image_id']], [annotation['caption']]


def read_flickr(args) -> Iterator[Pair]:
    line_of = re.compile(r'^(?P<image>[^,|#\t]+\.\w+)(?:#\d+\t|\|\s*\d+\s*\||,)(?P<text>.*)$')
    with args.source.open(encoding='utf-8') as stream:
        for line in stream:
            match = line_of.match(line.rstrip('\n'))
            if match:
                yield args.images / match['image'].strip(), [match['text'].strip().strip('"')]


READERS = {
    'folder': read_folder,
    'csv': read_csv,
    'tsv': read_tsv,
    'jsonl': read_jsonl,
    'coco': read_coco,
    'flickr': read_flickr,
}


def pair_samples(args) -> Iterator[tuple[Path, dict]]:
    """Every image with the members that hold its captions."""
    captions: dict[Path, list[str]] = {}
    for image, texts in READERS[args.format](args):
        captions.setdefault(image, []).extend(text.strip() for text in texts if text.strip())
    for image, texts in captions.items():
        if len(texts) == 1:
            yield image, {'txt': texts[0]}
        elif texts:
            yield image, {'json': {'captions': texts}}


def class_samples(args) -> list[tuple[Path, dict]]:
    """Every image with its class number; the classes are written beside the shards."""
    classes = sorted(path.name for path in args.source.iterdir() if path.is_dir())
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / 'classes.json').write_text(json.dumps(classes, indent=1) + '\n', encoding='utf-8')
    return [
        (image, {'cls': number})
        for number, name in enumerate(classes)
        for image in images_in(args.source / name)
    ]


def write_shards(args, samples: list[tuple[Path, dict]]) -> tuple[dict[str, int], list[Path]]:
    """Shards' sizes, and the images that are not there."""
    name = args.name or args.source.stem
    args.out.mkdir(parents=True, exist_ok=True)
    sizes, missing = {}, []
    pattern = str(args.out / f'{name}-%06d.tar')
    with ShardWriter(pattern, maxcount=args.per_shard, verbose=0, encoder=True) as writer:
        for number, (image, members) in enumerate(samples):
            if not image.is_file():
                missing.append(image)
                continue
            # A dot ends the key, a folder in it would be part of the key: number the samples.
            extension = image.suffix.lower()[1:]
            writer.write({'__key__': f'{number:09d}', extension: image.read_bytes(), **members})
            shard = Path(writer.fname).name
            sizes[shard] = sizes.get(shard, 0) + 1
    return sizes, missing


def main(argv=None) -> None:
    args = parse_args(argv)
    samples = list(class_samples(args) if args.format == 'imagenet' else pair_samples(args))
    if args.seed >= 0:
        random.Random(args.seed).shuffle(samples)
    sizes, missing = write_shards(args, samples)
    if missing:
        examples = ', '.join(map(str, missing[:EXAMPLES]))
        print(f'{len(missing):,} images are missing; the first: {examples}', file=sys.stderr)
    if not sizes:
        raise SystemExit(f'{args.source} gave no sample: check --images and the columns.')
    file = write_sizes(args.out, sizes)
    print(f'{file}: {sum(sizes.values()):,} samples in {len(sizes)} shards')


if __name__ == '__main__':
    main()
