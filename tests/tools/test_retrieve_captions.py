"""tools/analysis_tools/retrieve_captions.py on a small shard."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from PIL import Image

from loading import load_file

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'tests/data/configs/tiny_zeroshot.py'
CAPTIONS = [['a cat', 'it sleeps'], ['a bus'], ['two dogs on grass', 'dogs', 'they run']]


@pytest.fixture
def tool():
    return load_file('tools/analysis_tools/retrieve_captions.py')


def add(tar, name, content):
    header = tarfile.TarInfo(name)
    header.size = len(content)
    tar.addfile(header, io.BytesIO(content))


def picture(seed):
    """A PNG of seven by nine squares in two colours."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (9, 7, 3), dtype=np.uint8).repeat(5, 0).repeat(5, 1)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, 'PNG')
    return stream.getvalue()


@pytest.fixture
def place(tmp_path):
    with tarfile.open(tmp_path / 'a.tar', 'w') as tar:
        for index, captions in enumerate(CAPTIONS):
            add(tar, f'{index}.png', picture(index))
            add(tar, f'{index}.txt', captions[0].encode())
            add(tar, f'{index}.json', json.dumps(dict(captions=captions)).encode())
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(CONFIG).model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'weights.pth')
    return tmp_path


def run(tool, place, *options):
    given = [str(place / 'weights.pth'), f'--config={CONFIG}', '--device=cpu']
    return tool.main([*given, f'--shards={place}/*.tar', f'--out={place / "out.json"}', *options])


def test_all_captions_are_read_and_the_table_is_printed(tool, place, capsys):
    assert run(tool, place, '--batch-size', '2') == 0
    result = json.loads((place / 'out.json').read_text())
    assert (result['images'], result['captions'], result['side']) == (3, 6, 32)
    assert result['recall']['text_to_image/R@5'] == 100  # of three images
    assert '| image to text |' in capsys.readouterr().out


def test_a_text_member_is_taken_on_request(tool, place):
    assert run(tool, place, '--captions', 'text') == 0
    assert json.loads((place / 'out.json').read_text())['captions'] == 3


def test_each_image_has_its_own_captions(tool, place, monkeypatch):
    """With the colours of an image as its embedding and those of its captions', all are found."""
    means = {}

    def embed_images(segmentor, images):
        rows = torch.stack([image.float().mean((1, 2)) - 127 for image in images])
        for row in rows:
            means[len(means)] = row
        return rows

    def load(*arguments, **options):
        segmentor = original(*arguments, **options)
        owners = [index for index, texts in enumerate(CAPTIONS) for _ in texts]

        def embed_names(texts, templates):
            assert list(texts) == [text for texts in CAPTIONS for text in texts]
            return torch.stack([means[owner] for owner in owners])

        segmentor.decode_head.embed_names = embed_names
        return segmentor

    original = tool.load_segmentor
    monkeypatch.setattr(tool, 'load_segmentor', load)
    monkeypatch.setattr(tool, 'embed_images', embed_images)
    assert run(tool, place, '--batch-size', '2') == 0
    recall = json.loads((place / 'out.json').read_text())['recall']
    assert recall['image_to_text/R@1'] == recall['text_to_image/R@1'] == 100


def test_labels_are_the_first_captions_each_once(tool, place, monkeypatch, capsys):
    """Four images of two labels, embedded as the labels are but for one that is mistaken."""
    with tarfile.open(place / 'a.tar', 'w') as tar:
        for index, label in enumerate(['cat', 'bus', 'cat', 'bus']):
            add(tar, f'{index}.png', picture(index))
            texts = [f'a {label}', f'a photo of a {label}']
            add(tar, f'{index}.json', json.dumps(texts).encode())

    def load(*arguments, **options):
        segmentor = original(*arguments, **options)

        def embed_names(texts, templates):
            assert list(texts) == ['a cat', 'a bus']
            return torch.eye(2)

        segmentor.decode_head.embed_names = embed_names
        return segmentor

    original = tool.load_segmentor
    monkeypatch.setattr(tool, 'load_segmentor', load)
    monkeypatch.setattr(tool, 'embed_images', lambda *_: torch.eye(2)[[0, 1, 0, 0]])
    assert run(tool, place, '--labels') == 0
    result = json.loads((place / 'out.json').read_text())
    assert (result['images'], result['labels']) == (4, 2)
    assert result['accuracy'] == {'top-1': 75, 'top-5': 100}
    assert '4 images, 2 labels, 32 px\ntop-1 75.0, top-5 100.0' in capsys.readouterr().out


def test_samples_that_cannot_be_read_are_named_and_left_out(tool, place, capsys):
    with tarfile.open(place / 'b.tar', 'w') as tar:
        add(tar, 'torn.png', picture(9)[:60])
        add(tar, 'torn.txt', b'a torn picture')
        add(tar, 'mute.png', picture(8))
        add(tar, 'blind.txt', b'a caption alone')
    assert run(tool, place) == 0
    assert json.loads((place / 'out.json').read_text())['images'] == 3
    error = capsys.readouterr().err
    assert all(name in error for name in ('torn', 'mute', 'blind'))


def test_the_embedding_is_that_of_the_image_in_the_order_of_its_colours(tool, place):
    segmentor = tool.load_segmentor(CONFIG, str(place / 'weights.pth'), device='cpu')
    account = tool.Account('samples')
    first = next(tool.read_pairs(str(place / 'a.tar'), 'json', account))
    pixels = np.asarray(Image.open(io.BytesIO(picture(0))))  # RGB, 45 high and 35 wide
    assert np.array_equal(first.image.permute(1, 2, 0).numpy(), pixels[..., ::-1])
    square = tool.resized(first.image, 32)
    assert square.shape == (3, 32, 32)
    embeds = tool.embed_images(segmentor, [square])
    mean, std = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375])
    normal = (square.flip(0).permute(1, 2, 0).float() - torch.tensor(mean)) / torch.tensor(std)
    pooled = segmentor.backbone.encode(normal.permute(2, 0, 1)[None]).pooled
    expected = segmentor.decode_head.image_projector(pooled)
    assert torch.allclose(embeds, expected, atol=1e-5)


def test_captions_are_read_without_a_template(tool, place, monkeypatch):
    seen = []

    def load(*arguments, **options):
        segmentor = original(*arguments, **options)
        embed = segmentor.decode_head.embed_names

        def embed_names(texts, templates):
            seen.append(tuple(templates))
            return embed(texts, templates)

        segmentor.decode_head.embed_names = embed_names
        return segmentor

    original = tool.load_segmentor
    monkeypatch.setattr(tool, 'load_segmentor', load)
    assert run(tool, place) == 0
    assert seen == [('{}',)]


def test_a_shard_that_is_named_twice_counts_once(tool, place):
    given = [f'{place}/a.tar', f'{place}/*.tar']
    assert (
        tool.main(
            [str(place / 'weights.pth'), f'--config={CONFIG}', '--device=cpu', '--shards', *given]
            + [f'--out={place / "out.json"}']
        )
        == 0
    )
    assert json.loads((place / 'out.json').read_text())['images'] == 3


@pytest.mark.parametrize('damage', ['text', 'cut', 'cut-gz', 'empty'])
def test_a_damaged_shard_is_one_sentence_that_names_it(tool, place, capsys, damage):
    content = (place / 'a.tar').read_bytes()
    packed = gzip.compress(content)
    path = place / ('b.tar.gz' if damage == 'cut-gz' else 'b.tar')
    path.write_bytes(
        {
            'text': b'no shard ' * 200,
            'cut': content[:700],
            'cut-gz': packed[: len(packed) // 2],
            'empty': b'',
        }[damage]
    )
    given = [str(place / 'weights.pth'), f'--config={CONFIG}', '--device=cpu']
    assert tool.main([*given, f'--shards={path}']) == 2
    error = capsys.readouterr().err
    assert error.count('error: ') == 1
    assert str(path) in error


def test_nothing_to_retrieve_is_one_sentence(tool, place, capsys):
    with tarfile.open(place / 'a.tar', 'w') as tar:
        add(tar, 'blind.txt', b'a caption alone')
    assert run(tool, place) == 2
    assert 'has an image and a caption.' in capsys.readouterr().err


@pytest.mark.parametrize('option', ['--size=0', '--batch-size=0'])
def test_wrong_numbers_are_one_sentence(tool, place, option, capsys):
    with pytest.raises(SystemExit):
        run(tool, place, option)
    assert 'must be at least 1' in capsys.readouterr().err
