"""Every parser of files from outside: how it is called, valid files to mutate, its errors.

A parser writes its input into ``folder`` where it reads a path, so that a file that appears
anywhere else is a fault.
"""

import contextlib
import io
import json
import random
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from pickle import UnpicklingError
from typing import NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from PIL import Image
from safetensors.torch import save as save_safetensors

from groupvit_mmseg.benchmark.journal import Journal
from groupvit_mmseg.benchmark.journal import read_results as read_journal
from groupvit_mmseg.checkpoints.config_text import from_config_text
from groupvit_mmseg.checkpoints.loading import read_checkpoint
from groupvit_mmseg.checkpoints.weight_files import read_weights
from groupvit_mmseg.config_files import merge_options
from groupvit_mmseg.datasets.account import Account
from groupvit_mmseg.datasets.caption_annotations import read_coco, read_flickr
from groupvit_mmseg.datasets.caption_tables import Columns, read_delimited, read_json_lines
from groupvit_mmseg.datasets.captions import captions_of_members
from groupvit_mmseg.datasets.coco_masks import mask_makers
from groupvit_mmseg.datasets.epoch_plan import ShardRange
from groupvit_mmseg.datasets.image_decoding import decode_image
from groupvit_mmseg.datasets.image_headers import image_member
from groupvit_mmseg.datasets.label_maps import decode_label_map
from groupvit_mmseg.datasets.parquet_tables import ParquetTable
from groupvit_mmseg.datasets.shard_members import count_members
from groupvit_mmseg.datasets.shard_sizes import read_table
from groupvit_mmseg.datasets.shard_stream import read_shard_range
from groupvit_mmseg.key_values import parse_value
from groupvit_mmseg.text import CaptionWords, tokenize
from groupvit_mmseg.text.class_file import read_class_file
from groupvit_mmseg.text.vocabulary import class_names
from groupvit_web.evaluation_results import read_results as read_page_results
from groupvit_web.limits import Limits
from groupvit_web.training_log import TrainingLog
from groupvit_web.uploads import read_picture

PIXELS = 1_000_000
"""int: Configured limit of every image parser in these tests."""


class Parser(NamedTuple):
    """A parser.

    Attributes:
        run (Callable[[bytes, Path], object]): Parses an input; may write below the folder.
        seeds (Callable[[], Sequence[bytes]]): Makes valid inputs.
        errors (tuple[type[Exception], ...]): What it may raise.
        mib (int): Limit of the memory that one input may take.
    """

    run: Callable[[bytes, Path], object]
    seeds: Callable[[], Sequence[bytes]]
    errors: tuple[type[Exception], ...] = (ValueError, OSError)
    mib: int = 64


def as_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes, Path], object]:
    """Return a parser that writes the input to a file and reads that."""

    def run(data: bytes, folder: Path) -> None:
        path = folder / name
        path.write_bytes(data)
        read(path)

    return run


# Shards.


def tar_of(members: dict[str, bytes], mode: str = 'w', kind: int = tarfile.PAX_FORMAT) -> bytes:
    """Make a tar."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode, format=kind) as tar:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def read_shard(path: Path) -> None:
    """Read a shard as training does, and count it as the tools do."""
    for raw in read_shard_range(ShardRange(str(path), 0, None), 'source'):
        if raw.error is None and any(name in raw.members for name in ('txt', 'json')):
            try:
                captions_of_members(raw.members)
            except ValueError:
                continue
    count_members(path)


def shards() -> list[bytes]:
    """Tars of every format and compression."""
    members = {f'd/{i:03d}.{end}': b'a dog' for i in range(3) for end in ('jpg', 'txt', 'json')}
    odd = {'../x.txt': b'a', '/etc/x.txt': b'a', 'é' * 60 + '.txt': b'a', 'b/' * 90 + 'c.txt': b''}
    kinds = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
    plain = [tar_of(members, kind=kind) for kind in kinds]
    return [*plain, *(tar_of({**members, **odd}, mode) for mode in ('w', 'w:gz', 'w:bz2', 'w:xz'))]


# Images.


def image_files() -> list[bytes]:
    """Small images of every container and of many kinds."""
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 255, (9, 13, 3), np.uint8))
    exif = Image.Exif()
    exif[274] = 6
    forms: list[tuple[Image.Image, str, dict]] = [
        (colour, 'JPEG', dict(exif=exif.tobytes(), icc_profile=b'icc' * 50)),
        (colour, 'JPEG', dict(progressive=True)),
        (colour.convert('CMYK'), 'JPEG', {}),
        *((colour.convert(mode), 'PNG', {}) for mode in ('RGB', 'RGBA', 'LA', 'P', '1', 'I;16')),
        (colour, 'PNG', dict(exif=exif.tobytes(), icc_profile=b'icc' * 50)),
        *((colour, 'WEBP', dict(lossless=lossless)) for lossless in (False, True)),
        (colour.convert('RGBA'), 'WEBP', dict(exif=exif.tobytes())),
        *((colour, form, dict(save_all=True, append_images=[colour])) for form in ('GIF', 'WEBP')),
        *((colour.convert(mode), 'BMP', {}) for mode in ('RGB', 'P', '1')),
        *((colour, 'TIFF', dict(compression=c)) for c in ('raw', 'tiff_lzw', 'tiff_deflate')),
        *((colour.convert(mode), 'TIFF', {}) for mode in ('I;16', 'F', 'RGBA')),
        *((colour.convert(mode), 'PPM', {}) for mode in ('RGB', 'L', 'I;16')),
    ]
    return [_encoded(*form) for form in forms]


def _encoded(image: Image.Image, form: str, options: dict) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def decode(data: bytes, _: Path) -> None:
    """Decode as training does, and look at the header as the converters do."""
    with contextlib.suppress(ValueError):
        image_member(data, max_pixels=PIXELS)
    decode_image(data, max_pixels=PIXELS)


def upload(data: bytes, _: Path) -> None:
    """Take a picture as the page does."""
    read_picture(data, name='x', limits=Limits(pixels=PIXELS))


def label_map(data: bytes, _: Path) -> None:
    """Decode a mask."""
    decode_label_map(data, 'mask.png', max_pixels=PIXELS)


# Texts.

CAPTIONS = [b'a dog runs', b'{"caption": "a dog"}', b'["a dog", "a cat"]', '"\u00e9"'.encode()]


def caption(data: bytes, _: Path) -> None:
    """Read a caption member of both kinds, find its words, tokenise it."""
    for member in ('txt', 'json'):
        try:
            texts = captions_of_members({member: data})
        except ValueError:
            continue
        text = texts[0][:10_000]
        _find_words()(text)
        tokenize([text], 77)


@cache
def _find_words() -> CaptionWords:
    return CaptionWords('textblob')


CLASSES_TEXT = [b'# animals\nbackground: sky, wall\ncat, kitten >= 0.6\ndog | a {}.; the {}.\n']
CLASSES_YAML = [
    b'classes:\n  - background\n  - name: dog\n    words: [puppy]\n    threshold: 0.6\n'
    b'    templates: ["a {}."]\n  - C# book\nbackground_words: [sky]\nbg_thresh: 0.9\n',
    b'- cat\n- {name: dog, words: [puppy]}\n',
]
CLASSES_JSON = [b'{"classes": ["background", {"name": "dog", "words": ["puppy"]}], "bg_thresh": 1}']

OPTIONS = [
    b'optim_wrapper.optimizer.lr=1e-3\0names=[traffic light,(1, 2)]\0a.0.b=None',
    b'train_dataloader.dataset.sources.0.shards=x-{000..331}.tar\0work_dir=a=b',
]


def options(data: bytes, _: Path) -> None:
    """Apply settings of ``--cfg-options`` to a config."""
    cfg = Config(dict(a=[dict(b=1)], optim_wrapper=dict(optimizer=dict(lr=1)), work_dir='x'))
    changes = {}
    for text in data.decode('utf-8', 'replace').split('\0'):
        key, _sign, value = text.partition('=')
        changes[key] = parse_value(value)
    merge_options(cfg, changes)


CONFIGS = [
    b"norm = dict(type='ImgDataPreprocessor', mean=[1., 2., 3.], std=[1.0] * 3, bgr_to_rgb=True)\n"
    b"model = dict(type='X', backbone=dict(type='GroupViT', depths=(6, 3), num_heads=(6, 6)))\n",
]


def config_text(data: bytes, _: Path) -> None:
    """Read the settings in the text of a config."""
    from_config_text(data.decode('latin-1'), 'x')


CAPTION_FILES = {
    'coco.json': [
        json.dumps(
            dict(
                images=[dict(id=1, file_name='a.jpg'), dict(id=2, file_name='b.jpg')],
                annotations=[dict(image_id=1, caption='a dog'), dict(image_id='1', caption=None)],
            )
        ).encode()
    ],
    'flickr.txt': [b'x.jpg#0\ta dog\nx.jpg,"a, dog"\nx.jpg| 0| a dog\n'],
    'table.csv': [b'image,caption\nx.jpg,"a ""dog"", big\nand old"\ny.jpg,a cat,\n'],
    'lines.jsonl': [b'{"image": "x.jpg", "caption": ["a dog", null]}\n{"image": 1}\n'],
}


def table(path: Path) -> None:
    """Read a table of captions of any kind."""
    account = Account('pairs')
    readers = {
        'coco.json': partial(read_coco, path, account),
        'flickr.txt': partial(read_flickr, path, account),
        'table.csv': partial(read_delimited, path, ',', Columns(), account),
        'lines.jsonl': partial(read_json_lines, path, Columns(), account),
    }
    for _ in readers[path.name]():
        pass


def parquet(path: Path) -> None:
    """Read a Parquet table of captions."""
    for _ in ParquetTable(path, Columns()).rows(Account('pairs')):
        pass


def parquet_files() -> list[bytes]:
    """A table, compressed and not."""
    import pyarrow
    import pyarrow.parquet

    rows = pyarrow.table({'image': ['a.jpg', 'b.jpg'], 'caption': ['a dog', 'a cat']})
    streams = [io.BytesIO() for _ in range(3)]
    for stream, compression in zip(streams, ('none', 'gzip', 'zstd'), strict=True):
        pyarrow.parquet.write_table(rows, stream, compression=compression)
    return [stream.getvalue() for stream in streams]


# Annotations with masks.


def instances() -> list[bytes]:
    """An instances file with polygons, run lengths and a crowd."""
    things = class_names('coco_object')[1:]
    corners = [1, 1, 8, 1, 8, 8]
    shapes = [[corners], [corners, corners], dict(size=[10, 12], counts=[20, 60, 40])]
    content = dict(
        images=[dict(id=1, file_name='a.jpg', height=10, width=12)],
        annotations=[
            dict(image_id=1, category_id=c + 1, segmentation=s, area=9, iscrowd=c % 2, id=c)
            for c, s in enumerate(shapes)
        ],
        categories=[dict(id=i, name=name) for i, name in enumerate(things, 1)],
    )
    return [json.dumps(content).encode()]


def draw_masks(path: Path) -> None:
    """Read an instances file and draw all masks."""
    for make in mask_makers(path).values():
        make()


# Checkpoints.


def checkpoints() -> list[bytes]:
    """Files of ``torch.save`` in both formats, of mmengine's runner and of the official code."""
    from argparse import Namespace

    from mmengine.logging import HistoryBuffer

    weights = {'img_encoder.norm.weight': torch.ones(3), 'logit_scale': torch.tensor(1.0)}
    shared = torch.arange(6.0)
    contents: list[dict] = [
        dict(state_dict=weights, meta=dict(cfg='model = dict()', epoch=1)),
        dict(model=weights, config=Namespace(a=[1, 2]), epoch=3),
        dict(state_dict=dict(a=shared[:3], b=shared.view(2, 3).T), message_hub=dict(x=[1, 'y'])),
        dict(state_dict=weights, h=HistoryBuffer([1.0], [1]), n=np.float64(1), a=np.ones(2)),
    ]
    files = []
    for content in contents:
        for new in (True, False):
            stream = io.BytesIO()
            torch.save(content, stream, _use_new_zipfile_serialization=new)
            files.append(stream.getvalue())
    return files


@cache
def pickled_entries() -> tuple[tuple[dict[str, bytes], str], ...]:
    """Entries of the zip files, and the name of the pickle among them."""
    found = []
    for data in checkpoints()[::2]:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        found.append((entries, next(name for name in entries if name.endswith('data.pkl'))))
    return tuple(found)


def pickles() -> list[bytes]:
    """The pickles of the zip files."""
    return [entries[name] for entries, name in pickled_entries()]


def load_pickle(data: bytes, folder: Path) -> None:
    """Read a checkpoint whose pickle is the input; the storages are those of a valid file."""
    entries, name = pickled_entries()[random.Random(len(data)).randrange(len(pickled_entries()))]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w') as archive:
        for other, content in {**entries, name: data}.items():
            archive.writestr(other, content)
    load(folder, 'x.pth', stream.getvalue())


def load(folder: Path, name: str, data: bytes) -> None:
    """Read a file of weights in both ways."""
    path = folder / name
    path.write_bytes(data)
    failures = []
    for read in (read_checkpoint, read_weights):
        try:
            read(path)
        except Parsers['checkpoint'].errors as error:
            failures.append(error)
    if failures:
        raise failures[0]


def safetensors_files() -> list[bytes]:
    """Safetensors with and without settings."""
    weights = {'logit_scale': torch.tensor(1.0), 'x.weight': torch.ones(2, 3)}
    return [save_safetensors(weights), save_safetensors(weights, {'cfg': 'a', 'settings': '{}'})]


# Results.


def journal_files() -> list[bytes]:
    """A journal."""
    lines = [dict(set='pets', weights='0'), dict(index=0, image='a', pairs=[[0, 0, 3], [1, 0, 2]])]
    lines.append(lines[1] | dict(index=1))
    return [''.join(json.dumps(line) + '\n' for line in lines).encode()]


def journal(path: Path) -> None:
    """Read a journal, go on with it, and read it again."""
    again = Journal(path.parent, name='pets', settings=dict(set='pets', weights='0'))
    again.results()
    with again.writer(0) as writer:
        writer.add(7, image='x', pairs=[[0, 0, 1]])
    assert 7 in read_journal(path.parent, 'pets')


RESULTS = [
    json.dumps(
        dict(
            set='voc',
            metrics=dict(mIoU=50.0),
            class_iou=dict(cat=50.0, dog=None),
            protocol=dict(name='official', fields=dict(short_side=448)),
            images=dict(evaluated=3, files=3, digest='x'),
            checkpoint=dict(file='x.pth', sha256='0'),
        )
    ).encode()
]
LOGS = [b'{"lr": 1e-3, "loss": 2.5, "epoch": 1, "iter": 1, "step": 1}\n{"mIoU": 5.0, "step": 1}\n']


def results(path: Path) -> None:
    """Read a folder of results as the page does."""
    read_page_results(path.parent)


def training_log(path: Path) -> None:
    """Read the log of a training as the page does."""
    run = path.parent / '20260102_030405' / 'vis_data'
    run.mkdir(parents=True, exist_ok=True)
    path.replace(run / 'scalars.json')
    TrainingLog(path.parent).update()


Parsers: dict[str, Parser] = {
    'shard': Parser(as_file('x.tar', read_shard), shards, (OSError, tarfile.TarError, EOFError)),
    'image': Parser(decode, image_files, (ValueError,)),
    'upload': Parser(upload, image_files, (ValueError,)),
    'label map': Parser(label_map, image_files, (ValueError,)),
    'caption': Parser(caption, lambda: CAPTIONS, ()),
    'class file, text': Parser(as_file('x.txt', read_class_file), lambda: CLASSES_TEXT),
    'class file, YAML': Parser(as_file('x.yaml', read_class_file), lambda: CLASSES_YAML),
    'class file, JSON': Parser(as_file('x.json', read_class_file), lambda: CLASSES_JSON),
    'cfg-options': Parser(options, lambda: OPTIONS, (ValueError,)),
    'config text': Parser(config_text, lambda: CONFIGS),
    'sizes.json': Parser(as_file('sizes.json', read_table), lambda: [b'{"a.tar": 3, "b.tar": 9}']),
    **{
        f'captions, {name}': Parser(as_file(name, table), partial(CAPTION_FILES.__getitem__, name))
        for name in CAPTION_FILES
    },
    'captions, Parquet': Parser(as_file('x.parquet', parquet), parquet_files),
    'instances': Parser(as_file('instances.json', draw_masks), instances),
    'checkpoint': Parser(
        lambda data, folder: load(folder, 'x.pth', data),
        checkpoints,
        (ValueError, OSError, UnpicklingError),
    ),
    'pickle': Parser(load_pickle, pickles, (ValueError, OSError, UnpicklingError)),
    'safetensors': Parser(
        lambda data, folder: load(folder, 'x.safetensors', data),
        safetensors_files,
        (ValueError, OSError, UnpicklingError),
    ),
    'journal': Parser(as_file('pets.0.jsonl', journal), journal_files),
    'results of the page': Parser(as_file('voc.json', results), lambda: RESULTS),
    'training log of the page': Parser(as_file('x.json', training_log), lambda: LOGS),
}
