"""Pairs as people have them: each is in the shards, or counted with its reason and place."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from groupvit_mmseg.datasets.epoch_plan import ShardRange
from groupvit_mmseg.datasets.image_text_transforms import LoadImageText
from groupvit_mmseg.datasets.shard_stream import read_shard_range

from loading import load_file


@pytest.fixture(scope='module')
def tool():
    return load_file('tools/dataset_converters/make_shards.py')


@pytest.fixture
def photos(tmp_path):
    """Images 0.jpg to 4.jpg, each of a grey of 40 times its number."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    for number in range(5):
        save(folder / f'{number}.jpg', number)
    return folder


def save(path, number, form=None):
    Image.fromarray(np.full((8, 8, 3), 40 * number, np.uint8)).save(path, form)


@pytest.fixture
def convert(tool, tmp_path, capsys):
    """Converts a text or a path; returns the captions by image number, and what was printed."""

    def run(form, content, *options, name='pairs.txt', status=0):
        source = content
        if not isinstance(content, Path):
            source = tmp_path / name
            source.write_bytes(content if isinstance(content, bytes) else content.encode())
        images = (
            ['--images', str(tmp_path / 'photos')] if form not in ('folder', 'imagenet') else []
        )
        out = tmp_path / 'shards'
        found = tool.main([form, str(source), '--out', str(out), *images, *map(str, options)])
        printed = capsys.readouterr()
        assert found == status, printed
        assert not list(out.glob('.*'))
        check_account(printed.out)
        return read_shards(out), printed.err if status else printed.out

    return run


def check_account(printed):
    """All that was read is kept or dropped, and every reason counts."""
    for kind in ('rows', 'files', 'images'):
        for section in re.findall(rf'^{kind}: (.*)\n((?:    .*\n)*)', printed, re.M):
            read, kept, dropped = (
                int(x.replace(',', '')) for x in re.findall(r'[\d,]*\d', section[0])
            )
            assert read == kept + dropped
            assert dropped == sum(map(int, re.findall(r'^    (\d+): ', section[1], re.M)))


def read_shards(out):
    """Captions by image number, as training reads them."""
    found = {}
    for shard in sorted(out.glob('*.tar')):
        for sample in read_shard_range(ShardRange(str(shard), 0, None), 'test'):
            loaded = LoadImageText().transform(sample._asdict())
            texts = json.loads(sample.members['json']) if 'json' in sample.members else None
            number = round(int(loaded['img'][0, 0, 0]) / 40)
            found[number] = texts['captions'] if texts else [loaded['caption']]
    return found


def test_the_known_broken_line_of_flickr30k_is_used(convert, photos):
    lines = [
        'image_name| comment_number| comment',
        '0.jpg| 0| the "end"',
        '1.jpg| 4   A dog runs across the grass .',
        'nothing of the kind',
    ]
    found, printed = convert('flickr', '\n'.join(lines), name='results.csv')
    assert found == {0: ['the "end"'], 1: ['A dog runs across the grass .']}
    assert 'rows: 3 read, 2 kept, 1 dropped' in printed
    assert '1: not a line of Flickr8k or Flickr30k (results.csv, line 4)' in printed


def test_quotes_of_flickr8k_are_those_of_csv(convert, photos):
    text = 'image,caption\n0.jpg,"A ""big"" dog, running ."\n1.jpg,"one" or "two"\n2.jpg,a, b\n'
    found, _ = convert('flickr', text, name='captions.txt')
    assert found == {0: ['A "big" dog, running .'], 1: ['"one" or "two"'], 2: ['a, b']}


def test_files_of_a_folder_are_used_or_counted(convert, tmp_path):
    folder = tmp_path / 'mixed'
    (folder / 'deep').mkdir(parents=True)
    for number, name in enumerate(['a.jpg', 'b.JPG', 'c.jpg', 'deep/d.jpeg', 'e.jpg']):
        save(folder / name, number, 'JPEG')
    for name in ('empty', 'null', 'alone', 'latin'):
        save(folder / f'{name}.jpg', 5)
    save(folder / '._a.jpg', 5)
    save(folder / 'moving.gif', 5)
    texts = {
        'a.txt': '\ufeffa cat\r\n\r\nthe cat\r\n',
        'b.TXT': 'upper case',
        'c.jpg.txt': 'a double ending',
        'c.txt': 'not taken',
        'deep/d.json': '{"texts": ["from JSON", null]}',
        'e.text': 'a text',
        'e.json': '"not taken"',
        'empty.txt': '\n',
        'null.json': '{"caption": null}',
        'moving.txt': 'a film',
        'lost.txt': 'no image',
        'notes.md': 'no caption',
        '._a.txt': 'macOS',
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding='utf-8', newline='')
    (folder / 'latin.txt').write_bytes(b'caf\xe9')
    found, printed = convert('folder', folder)
    assert found == {
        0: ['a cat', 'the cat'],
        1: ['upper case'],
        2: ['a double ending'],
        3: ['from JSON'],
        4: ['a text'],
    }
    for line in (
        'files: 25 read, 12 kept, 13 dropped',
        '2: a hidden file (._a.jpg; ._a.txt)',
        '1: neither an image nor captions (notes.md)',
        '1: an image without a caption file (alone.jpg)',
        '2: the caption is empty (empty.jpg; null.jpg)',
        '1: the caption is not UTF-8 text (latin.jpg)',
        '3: a caption file without a usable caption (empty.txt; latin.txt; null.json)',
        '1: a caption file without an image (lost.txt)',
        '2: another caption file of its image is taken (c.txt; e.json)',
        'images: 6 read, 5 kept, 1 dropped',
        '1: the format is GIF: convert it to JPEG, PNG or WebP (moving.gif)',
        'note: 1 captions are left out of several: one is empty (deep/d.jpeg)',
        '5 samples in 1 shards, 6 captions',
    ):
        assert line in printed


def test_images_of_one_stem_share_their_caption_and_are_counted(convert, tmp_path):
    folder = tmp_path / 'twins'
    folder.mkdir()
    save(folder / 'a.jpg', 1)
    save(folder / 'a.png', 2)
    (folder / 'a.txt').write_text('twins')
    found, printed = convert('folder', folder)
    assert found == {1: ['twins'], 2: ['twins']}
    assert 'files: 3 read, 3 kept, 0 dropped' in printed
    assert 'note: 1 caption files of several images, which share it (a.txt)' in printed


def test_lines_of_json_as_people_write_them(convert, photos):
    lines = [
        '{"image": "0.jpg", "captions": ["a", "b", null]}',
        '{"Image": "1.jpg", "Text": "c"}',
        '{"image": "2.jpg", "caption": null}',
        '{"image": null, "caption": "d"}',
        '{"picture": "3.jpg", "caption": "d"}',
        'no JSON',
        '["3.jpg", "d"]',
        '{"image": "./0.jpg", "caption": "b"}',
        '{"image": "%s", "caption": "as long as a text"}' % ('x' * 300),
        '[' * 100_000,
    ]
    found, printed = convert('jsonl', '\ufeff' + '\r\n'.join(lines) + '\r\n')
    assert found == {0: ['a', 'b'], 1: ['c']}
    for line in (
        'rows: 10 read, 4 kept, 6 dropped',
        'the caption is empty (pairs.txt, line 3)',
        'the name of the image is missing (pairs.txt, line 4)',
        'no key for the image or the caption (pairs.txt, line 5)',
        '2: not JSON (pairs.txt, line 6; pairs.txt, line 10)',
        'JSON, but no object (pairs.txt, line 7)',
        'note: 1 images are in several rows, whose captions are joined (0.jpg)',
        'note: 1 captions are dropped: their image has the same one (0.jpg)',
        '1: the image is missing (xxx',
    ):
        assert line in printed


def test_annotations_of_coco_without_image_caption_or_file(convert, photos):
    content = dict(
        images=[*({'id': i, 'file_name': f'{i}.jpg'} for i in (1, 2, 2)), dict(id=3), 'x'],
        annotations=[
            dict(image_id=1, caption='a'),
            dict(image_id=9, caption='b'),
            dict(image_id=1, caption=None),
            dict(image_id=3, caption='c'),
            dict(caption='d'),
            None,
        ],
    )
    found, printed = convert('coco', '\ufeff' + json.dumps(content), name='captions.json')
    assert found == {1: ['a']}
    for line in (
        'rows: 6 read, 1 kept, 5 dropped',
        'its image is not among "images" (captions.json, annotation 2; captions.json, annotation 5',
        'the caption is empty (captions.json, annotation 3)',
        'the name of the image is missing (captions.json, annotation 4)',
        'note: 1 images have no annotation (2.jpg)',
        'note: 1 entries of "images" have no id (captions.json, image 5)',
        'note: 1 entries of "images" have the id of another (captions.json, image 3)',
    ):
        assert line in printed
    convert('coco', '{"images": 3}', status=2)
    assert 'is not JSON' in convert('coco', '{"images":', status=2)[1]


def test_images_are_kept_as_training_reads_them(convert, photos):
    save(photos / 'png.jpg', 1, 'PNG')
    save(photos / 'jpeg', 2, 'JPEG')
    (photos / 'page.jpg').write_bytes(b'<html>')
    (photos / 'zero.jpg').write_bytes(b'')
    save(photos / 'film.jpg', 3, 'GIF')
    Image.effect_noise((64, 64), 50).save(photos / 'torn.jpg')
    (photos / 'torn.jpg').write_bytes((photos / 'torn.jpg').read_bytes()[:-200])
    Image.new('1', (8000, 7000)).save(photos / 'large.png')
    names = ['png.jpg', 'jpeg', 'page.jpg', 'zero.jpg', 'film.jpg', 'large.png', 'gone.jpg', '.']
    table = 'image,caption\n' + ''.join(f'{name},a\n' for name in [*names, 'torn.jpg'])
    found, printed = convert('csv', table, '--check')
    assert found == {1: ['a'], 2: ['a']}
    for line in (
        'rows: 9 read, 9 kept, 0 dropped',
        'images: 9 read, 2 kept, 7 dropped',
        'not an image, or its header is damaged (page.jpg, pairs.txt, line 4)',
        'the file is empty (zero.jpg, pairs.txt, line 5)',
        'the format is GIF: convert it to JPEG, PNG or WebP (film.jpg, pairs.txt, line 6)',
        'more than 50,000,000 pixels, the limit of training (large.png, pairs.txt, line 7)',
        'the image is missing (',
        'damaged: training cannot decode it (torn.jpg, pairs.txt, line 10)',
        'are png, whatever their name says (png.jpg, pairs.txt, line 2)',
    ):
        assert line in printed


def test_a_table_without_a_usable_row_leaves_nothing(convert, photos, tmp_path):
    _, printed = convert('csv', 'image,caption\ngone.jpg,a\n', status=2)
    assert 'error: ' in printed
    assert 'gave no sample' in printed
    assert not any((tmp_path / 'shards').iterdir())
    _, printed = convert('csv', 'image,caption\n0.jpg,a\n', '--image-column', 'x', status=2)
    assert "there is no column 'x'" in printed


def test_classes_of_other_folders_and_files_are_counted(convert, tool, tmp_path):
    root = tmp_path / 'imagenet'
    for name in ('n1', 'n2', '.cache'):
        (root / name).mkdir(parents=True)
    save(root / 'n1' / 'a.jpg', 0)
    save(root / 'loose.jpg', 0)
    (root / 'n1' / 'list.txt').write_text('x')
    assert tool.main(['imagenet', str(root), '--out', str(tmp_path / 'shards')]) == 0
    shards = tmp_path / 'shards'
    assert json.loads((shards / 'classes.json').read_text()) == ['n1', 'n2']
    (sample,) = read_shard_range(ShardRange(str(shards / 'imagenet-000000.tar'), 0, None), 'x')
    assert sample.members['cls'] == b'0'
    # Other classes beside those shards would change what their numbers mean.
    os.rename(root / 'n1', root / 'n3')
    arguments = ['imagenet', str(root), '--out', str(shards), '--name', 'more']
    assert tool.main(arguments) == 2
    assert tool.main([*arguments, '--overwrite']) == 2
    assert json.loads((shards / 'classes.json').read_text()) == ['n1', 'n2']


def test_names_of_sources_become_names_of_shards(convert, photos, tmp_path):
    convert('csv', 'image,caption\n0.jpg,a\n', name='100% [v1].csv')
    assert [path.name for path in (tmp_path / 'shards').glob('*.tar')] == ['100---v1--000000.tar']
    assert 'no name for shards' in convert('csv', 'image,caption\n', '--name', '../x', status=2)[1]
