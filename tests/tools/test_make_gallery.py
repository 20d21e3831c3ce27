"""The gallery: its page, its pictures, its choice of images, and one sentence for bad input."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from PIL import Image

from groupvit_mmseg.benchmark.gallery_figures import draw_heat, encode_figure, example_sheet
from groupvit_mmseg.benchmark.gallery_page import Assessment, caption, choose_images, escape
from groupvit_mmseg.inference import GroupViTInferencer

from loading import load_file

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'tests/data/configs/tiny_zeroshot.py'


@pytest.fixture(scope='module')
def tool():
    return load_file('tools/analysis_tools/make_gallery.py')


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """Random weights, five images, masks of four of them."""
    folder = tmp_path_factory.mktemp('gallery')
    for name in ('images', 'masks'):
        (folder / name).mkdir()
    rng = np.random.default_rng(0)
    for index in range(5):
        pixels = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8).repeat(9, 0).repeat(9, 1)
        Image.fromarray(pixels).save(folder / f'images/p_{index}.png')
        labels = rng.integers(0, 2, (5, 6), dtype=np.uint8).repeat(9, 0).repeat(9, 1)
        if index:
            Image.fromarray(labels).save(folder / f'masks/p_{index}.png')
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(CONFIG).model)
    torch.save(dict(state_dict=model.state_dict()), folder / 'weights.pth')
    return folder


def run(tool, place, out, *options):
    weights = [str(place / 'weights.pth'), f'--config={CONFIG}', '--device=cpu']
    return tool.main([*weights, f'--out={out}', *options])


def test_a_folder_with_masks(tool, place, tmp_path, capsys):
    out = tmp_path / 'page.md'
    options = [f'--images={place / "images"}', f'--masks={place / "masks"}', '--words=cat,bus']
    assert run(tool, place, out, *options, '--count=1') == 0
    text = out.read_text()
    for title in ('How it was made', 'Images at random', 'Failures', 'Best images'):
        assert f'\n## {title}\n' in text
        assert f'](#{title.lower().replace(" ", "-")})' in text
    assert f'--images={place / "images"}' in text
    assert '| SHA-256 of the weights |' in text
    assert text.count('mean IoU ') == 3 + 2 + 1  # captions, sentences on the choice, the mean
    mious = [float(value) for value in re.findall(r'mean IoU ([\d.]+) %;', text)]
    assert mious[1] <= mious[0] <= mious[2]  # worst, random, best
    pictures = re.findall(r'\]\((images/page/\w+\.(?:jpg|png))\)', text)
    assert [Path(name).stem for name in pictures] == ['random_1', 'worst_1', 'best_1']
    for name in pictures:
        width, height = Image.open(tmp_path / name).size
        assert width > 2 * 320
        assert height > 3 * 320  # image, truth, two stages, words, a score or two, confidence
    assert '3 pictures' in capsys.readouterr().out


def test_a_smaller_page_removes_the_pictures_of_the_larger_one(tool, place, tmp_path):
    options = [f'--images={place / "images"}', '--words=cat,bus']
    out, folder = tmp_path / 'page.md', tmp_path / 'images/page'
    folder.mkdir(parents=True)
    for name in ('worst_9.jpg', 'mine_1.jpg'):
        (folder / name).write_bytes(b'')
    run(tool, place, out, *options, '--count=1', '--limit=2')
    names = {path.stem for path in folder.iterdir()}
    assert names == {'mine_1', 'worst_1', 'best_1'}
    text = out.read_text()
    assert 'lowest mean margin of 2 images' in text
    assert 'mean IoU' not in text
    assert '## Images at random' not in text  # none is left


def test_scenes_have_masks_and_words(tool, place, tmp_path):
    out = tmp_path / 'page.md'
    assert run(tool, place, out, '--images=scenes', '--count=1', '--limit=2') == 0
    text = out.read_text()
    assert re.search(r'\*\*scene [01]\*\*: mean IoU', text)
    assert '| words | ball, ring, box,' in text


@pytest.mark.parametrize(
    'options,sentence',
    [
        (['--images=scenes', '--out=page.txt'], 'let it end in .md'),
        (['--images=scenes', '--count=0'], '--count 0 must be at least 1'),
        (['--images=absent', '--words=cat'], 'There is no folder absent'),
        (['--images=masks', '--words=cat', '--masks=absent'], 'There is no folder absent'),
        (['--images=images'], '--words is missing'),
        (['--images=scenes', '--masks=masks'], 'leave it out'),
        (['--images=empty', '--words=cat'], 'has no image'),
        (['--images=images', '--words=cat', '--out=other.md'], 'was not written by this tool'),
        (['--images=images', '--masks=bad', '--words=cat,bus'], 'has the label 7'),
        (['--images=images', '--masks=small', '--words=cat,bus'], 'they must be equal'),
    ],
)
def test_bad_input_is_one_sentence(tool, place, tmp_path, monkeypatch, capsys, options, sentence):
    for name in ('images', 'masks'):
        (tmp_path / name).symlink_to(place / name)
    for name in ('empty', 'bad', 'small'):
        (tmp_path / name).mkdir()
    Image.fromarray(np.full((45, 54), 7, np.uint8)).save(tmp_path / 'bad/p_0.png')
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(tmp_path / 'small/p_0.png')
    (tmp_path / 'other.md').write_text('# Mine\n')
    monkeypatch.chdir(tmp_path)
    assert run(tool, place, 'page.md', *options) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count('\n') == 1
    assert not (tmp_path / 'page.md').exists()
    assert (tmp_path / 'other.md').read_text() == '# Mine\n'


def assessment(name, margin, pairs=None):
    return Assessment(name, {'cat': 1.0}, 0.5, margin, pairs)


def test_each_image_is_in_one_section():
    images = [assessment(str(i), margin=i / 10) for i in range(7)]
    sections = choose_images(images, 2, count=2)
    assert sections['worst'].indices == [0, 1]
    assert sections['best'].indices == [6, 5]
    assert set(sections['random'].indices) < {2, 3, 4}
    few = choose_images(images[:1], 2, count=2)
    assert [few[name].indices for name in ('random', 'worst', 'best')] == [[], [0], []]


def test_a_pixel_of_an_absent_class_does_not_weigh_as_much_as_a_thing():
    each = assessment('a', 0.5, [[0, 0, 98], [0, 1, 1], [0, 2, 1]])
    assert each.miou(4) == pytest.approx(98.0)
    missed = assessment('a', 0.5, [[0, 0, 98], [1, 0, 2]])
    assert missed.miou(4) == pytest.approx(49.0)


def test_a_share_that_is_not_nothing_is_not_zero():
    each = Assessment('a', {'cat': 0.998, 'dog': 0.002}, 0.5, 0.1, [[0, 0, 998], [0, 1, 2]])
    text = caption(each, ['cat', 'dog'])
    assert 'less than 1 % of the pixels are cat and labelled dog' in text
    assert 'dog less than 1 %' in text


def test_images_without_a_mask_are_left_out_where_others_have_one():
    images = [assessment('a', 0.0), assessment('b', 0.9, [[0, 0, 4]]), assessment('c', 0.5, [])]
    sections = choose_images(images, 2, count=3)
    assert sections['worst'].indices == [1]
    assert 'of 1 images' in sections['worst'].text


def test_a_caption_names_the_largest_error():
    pairs = [[0, 0, 50], [0, 1, 10], [1, 0, 40]]
    text = caption(assessment('a_b', 0.25, pairs), ['cat', 'b*s'])
    assert text.startswith(
        '**a\\_b**: mean IoU 25.0 %; 40 % of the pixels are b\\*s and labelled cat'
    )
    assert 'every pixel is right' in caption(assessment('a', 0.1, [[0, 0, 4]]), ['cat', 'bus'])
    assert escape('<a|b>') == '\\<a\\|b\\>'


def test_heat_is_dark_at_zero_and_bright_at_the_largest():
    image = np.zeros((40, 60, 3), np.uint8)
    values = np.zeros((4, 6))
    values[:, 3:] = 0.001
    heat = draw_heat(image, values).astype(int)
    assert heat.shape[1] == 60
    assert heat.shape[0] > 40
    assert heat[10, 50].sum() > 2 * heat[10, 10].sum()
    assert np.array_equal(
        draw_heat(image, 0 * values)[:40, :30], draw_heat(image, values)[:40, :30]
    )


def test_a_sheet_shows_every_stage_and_fills_both_columns(place):
    inferencer = GroupViTInferencer.from_pretrained(
        place / 'weights.pth', config=CONFIG, class_names='cat, bus'
    )
    encoded = inferencer.encode(place / 'images/p_0.png')
    assert encoded.num_stages == 2
    result = inferencer.classify(encoded)
    sheet = example_sheet(encoded, result)
    assert sheet.dtype == np.uint8
    assert 2 * 320 < sheet.shape[1] < 2 * 460
    taller = example_sheet(encoded, result, result.label_map)
    assert taller.shape[0] > sheet.shape[0]
    large = np.zeros((700, 1000, 3), np.uint8)
    encoded = inferencer.encode(large)
    assert example_sheet(encoded, inferencer.classify(encoded)).shape[1] < 1000


def test_the_smaller_format_is_chosen():
    noise = np.random.default_rng(0).integers(0, 256, (80, 80, 3), dtype=np.uint8)
    assert encode_figure(noise)[1] == '.jpg'
    flat = np.zeros((80, 80, 3), np.uint8)
    content, suffix = encode_figure(flat)
    assert suffix == '.png'
    assert content.startswith(b'\x89PNG')
