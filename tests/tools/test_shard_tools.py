"""From tables and folders to shards, and the shard doctor."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from groupvit_mmseg.datasets.epoch_plan import ShardRange
from groupvit_mmseg.datasets.image_text_transforms import LoadImageText
from groupvit_mmseg.datasets.shard_stream import read_shard_range
from groupvit_mmseg.datasets.shards import open_source

from loading import load_file

CAPTIONS = {'a.jpg': ['a red car, parked', 'the car'], 'b.png': ['a dog runs']}


def load(tool):
    return load_file(f'tools/dataset_converters/{tool}.py')


@pytest.fixture
def images(tmp_path):
    """Two images in a folder, one of them in a folder of its own."""
    folder = tmp_path / 'images'
    (folder / 'deep').mkdir(parents=True)
    for number, name in enumerate(['a.jpg', 'deep/b.png']):
        pixels = np.full((8, 8, 3), 100 * number, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return folder


def write_folder(folder):
    (folder / 'a.txt').write_text('a red car, parked\nthe car\n')
    (folder / 'deep' / 'b.json').write_text(json.dumps({'caption': 'a dog runs'}))
    return folder


def table_of(folder, name, text):
    (folder / name).write_text(text)
    return folder / name


def write_source(form, folder):
    """The two images' captions in some format."""
    rows = [('a.jpg', 'a red car, parked'), ('a.jpg', 'the car'), ('deep/b.png', 'a dog runs')]
    if form == 'folder':
        return write_folder(folder)
    if form == 'csv':
        lines = ['image,caption', *(f'{image},"{text}"' for image, text in rows)]
        return table_of(folder, 'pairs.csv', '\n'.join(lines))
    if form == 'tsv':
        lines = ['image\tcaption', *(f'{image}\t{text}' for image, text in rows)]
        return table_of(folder, 'pairs.tsv', '\n'.join(lines))
    if form == 'jsonl':
        lines = [json.dumps(dict(image=image, caption=text)) for image, text in rows]
        return table_of(folder, 'pairs.jsonl', '\n'.join(lines) + '\n\n')
    if form == 'coco':
        content = dict(
            images=[dict(id=7, file_name='a.jpg'), dict(id=9, file_name='deep/b.png')],
            annotations=[
                dict(image_id=7 if image == 'a.jpg' else 9, caption=text) for image, text in rows
            ],
        )
        return table_of(folder, 'captions_val.json', json.dumps(content))
    lines = [f'{image}#{number}\t{text}' for number, (image, text) in enumerate(rows)]
    return table_of(folder, 'captions.token.txt', '\n'.join(lines))


def read_back(out):
    """``{first pixel: captions}`` of all shards, decoded as training does."""
    found = {}
    source = open_source('*.tar', data_root=str(out))
    for shard, size in zip(source.shards, source.sizes, strict=True):
        samples = list(read_shard_range(ShardRange(shard, 0, None), 'test'))
        assert len(samples) == size
        for sample in samples:
            results = LoadImageText().transform(sample._asdict())
            captions = json.loads(sample.members.get('json', b'null'))
            found[int(results['img'][0, 0, 0])] = (
                captions['captions'] if captions else [results['caption']]
            )
    return found


@pytest.mark.parametrize('form', ['folder', 'csv', 'tsv', 'jsonl', 'coco', 'flickr'])
def test_captions_of_every_format_reach_the_shards(form, images, tmp_path, capsys):
    source = write_source(form, images)
    out = tmp_path / 'shards'
    load('make_shards').main([form, str(source), '--out', str(out), '--per-shard', '1'])
    assert '2 samples in 2 shards' in capsys.readouterr().out
    assert read_back(out) == {0: CAPTIONS['a.jpg'], 100: CAPTIONS['b.png']}


def test_flickr30k_tables_are_read_too(images, tmp_path):
    lines = 'image_name| comment_number| comment\na.jpg| 0| a red car, parked\na.jpg| 1| the car\n'
    source = table_of(images, 'results.csv', lines)
    load('make_shards').main(['flickr', str(source), '--out', str(tmp_path / 'shards')])
    assert read_back(tmp_path / 'shards') == {0: CAPTIONS['a.jpg']}


def test_class_folders_keep_their_class(images, tmp_path):
    classes = tmp_path / 'imagenet'
    for name, image in (('n02', 'a.jpg'), ('n01', 'deep/b.png')):
        (classes / name).mkdir(parents=True)
        (images / image).rename(classes / name / Path(image).name)
    load('make_shards').main(['imagenet', str(classes), '--out', str(tmp_path / 'shards')])
    assert json.loads((tmp_path / 'shards' / 'classes.json').read_text()) == ['n01', 'n02']
    samples = read_shard_range(
        ShardRange(str(tmp_path / 'shards' / 'imagenet-000000.tar'), 0, None), 'x'
    )
    found = {next(iter(set(s.members) - {'cls'})): s.members['cls'] for s in samples}
    assert found == {'png': b'0', 'jpg': b'1'}


def test_missing_images_and_columns_are_named(images, tmp_path, capsys):
    source = table_of(images, 'x.csv', 'image,caption\na.jpg,a car\ngone.jpg,a ghost\n')
    assert load('make_shards').main(['csv', str(source), '--out', str(tmp_path / 'shards')]) == 0
    printed = capsys.readouterr().out
    assert '1: the image is missing (gone.jpg, x.csv, line 3)' in printed
    assert '1 samples in 1 shards' in printed
    arguments = ['csv', str(source), '--out', str(tmp_path / 'y'), '--caption-column', 'text']
    assert load('make_shards').main(arguments) == 2
    assert "there is no column 'text'" in capsys.readouterr().err


def jpeg(shade):
    stream = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), shade, dtype=np.uint8)).save(stream, 'JPEG')
    return stream.getvalue()


def test_the_doctor_finds_what_is_wrong(tmp_path, capsys, monkeypatch):
    def add(tar, name, data):
        info = tarfile.TarInfo(name)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))

    with tarfile.open(tmp_path / 'x-0.tar', 'w') as tar:
        for number, (image, text) in enumerate(
            [
                (jpeg(10), b'a dog runs'),
                (jpeg(10), b'a cat'),
                (b'no image', b'a car'),
                (jpeg(30), b'the of and'),
                (jpeg(40), b'word ' * 100),
            ]
        ):
            add(tar, f'{number}.jpg', image)
            add(tar, f'{number}.txt', text)
    with tarfile.open(tmp_path / 'x-1.tar', 'w') as tar:
        for number in (8, 9):
            add(tar, f'{number}.jpg', jpeg(10 * number))
            add(tar, f'{number}.txt', b'a tree')
        add(tar, '10.jpg', bytes(5000))
    torn = tmp_path / 'x-1.tar'
    torn.write_bytes(torn.read_bytes()[:6000])  # inside of 10.jpg
    doctor = load('check_shards')
    arguments = ['--ranks', '1', '--workers', '4', '--batch-size', '2', '--processes', '1']
    assert doctor.main([str(tmp_path / '*.tar'), *arguments]) == 1
    printed = capsys.readouterr().out
    assert 'samples          6 in 2 shards of 1 to 5' in printed
    assert 'unusable         2' in printed
    assert 'x-0.tar/2: ' in printed
    assert 'x-1.tar breaks off: fetch or make it again' in printed
    assert 'equal images     1 beyond' in printed
    assert 'cut at 77        up to 1' in printed
    assert 'without words    1 (20.0%)' in printed
    assert 'an epoch         3 steps of 1 x 2; 0 samples are left out' in printed
    assert '2 shards for 4 workers' in printed
    assert json.loads((tmp_path / 'sizes.json').read_text()) == {'x-0.tar': 5, 'x-1.tar': 1}
