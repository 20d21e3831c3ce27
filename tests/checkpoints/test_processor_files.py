"""The folder for transformers is whole: it segments a picture without this plugin."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.utils.tokenizer import basic_clean, whitespace_clean

from groupvit_mmseg.conversion.processor_files import FILES, tokenizer_files
from groupvit_mmseg.inference import GroupViTInferencer
from groupvit_mmseg.text import tokenize

WORDS = ('cat', 'old dog', 'grass', 'sky', 'red car')
TEXTS = [
    'a photo of a cat',
    'A Photo OF a CAT.',
    '',
    ' ',
    "don't they're I'm we'll he'd cat's",
    'hello...world!!! (a) [b] {c} @#$%^&*',
    'a_b-c/d e+f=g',
    '123 4567 3.14 1,000',
    'ÄÖÜ straße Ångström café naïve',
    'Привет мир, مرحبا بالعالم, हिन्दी',
    '東京タワー と 猫',
    '🐱🐶 cats 👍🏽 👨‍👩‍👧‍👦',
    '½ ² ① ٣٤',
    'tab\there\nnew   spaces ',
    'x' * 400,
    'word ' * 200,
]
# What our texts are cleaned of and transformers' are not, by ftfy and as HTML entities.
UNCLEAN = ['don\u2019t \u201cquote\u201d', 'a&amp;b', '\ufb01ne', '\uff26ULL', 'Ã©', '\x00a']


@pytest.fixture(scope='module')
def clip_tokenizer(tmp_path_factory):
    transformers = pytest.importorskip('transformers', reason='it reads the files')
    folder = tmp_path_factory.mktemp('tokenizer')
    for name, content in tokenizer_files(77).items():
        (folder / name).write_bytes(content)
    (folder / 'config.json').write_text('{"model_type": "groupvit"}')
    return transformers.AutoTokenizer.from_pretrained(folder)


def our_ids(text):
    """Token ids up to the end token."""
    ids = tokenize(text)[0].tolist()
    return ids[: ids.index(49407) + 1]


def test_token_ids_are_ours(clip_tokenizer):
    assert len(clip_tokenizer) == 49408
    for text in TEXTS:
        assert clip_tokenizer(text, truncation=True).input_ids == our_ids(text), text


def test_token_ids_of_cleaned_texts_are_ours(clip_tokenizer):
    for text in UNCLEAN:
        clean = whitespace_clean(basic_clean(text))
        assert clip_tokenizer(text, truncation=True).input_ids != our_ids(text), text
        assert clip_tokenizer(clean, truncation=True).input_ids == our_ids(text), text


def test_token_ids_of_random_texts_are_ours(clip_tokenizer):
    random = np.random.default_rng(0)
    blocks = [(32, 127), (32, 127), (0xC0, 0x250), (0x370, 0x530), (0x3040, 0x30FF)]
    for _ in range(200):
        ranges = [blocks[i] for i in random.integers(0, len(blocks), random.integers(1, 30))]
        text = ''.join(chr(random.integers(*limits)) for limits in ranges)
        clean = whitespace_clean(basic_clean(text)).lower()
        assert clip_tokenizer(clean, truncation=True).input_ids == our_ids(text), text


@pytest.fixture(scope='module')
def whole(run_tool, write_trained, tmp_path_factory):
    """A folder of a model with CLIP's vocabulary, and the plugin's files of the same model."""
    pytest.importorskip('transformers', reason='it reads the folder')
    text = dict(vocab_size=49408, context_length=16)
    place, tools = tmp_path_factory.mktemp('whole'), 'tools/model_converters'
    changes = dict(text_encoder=text, backbone=dict(assign_scale=500.0), seed=2)
    source, _ = write_trained(place / 'trained.pth', **changes)
    content = torch.load(source, weights_only=True)
    for key, value in content['state_dict'].items():  # biases are what all segments share
        if key.endswith('bias') or ('norm' in key and key.endswith('weight')):
            value.fill_(key.endswith('weight'))
    torch.save(content, source)
    assert not run_tool(f'{tools}/plugin_to_hf', source, place / 'hf')
    assert not run_tool(f'{tools}/hf_to_plugin', place / 'hf', place / 'p.pth')
    return place / 'hf', place / 'p.pth'


def label_map(plugin, picture):
    """What our inferencer answers of a whole picture, not resized."""
    cfg = Config.fromfile(plugin.with_suffix('.py'))
    cfg.model.test_cfg = dict(mode='whole')
    head = dict(class_names=WORDS, with_background=False, bg_thresh=None)
    cfg.model.decode_head.update(head)
    cfg.test_dataloader.dataset.pipeline = [
        step for step in cfg.test_dataloader.dataset.pipeline if step['type'] != 'Resize'
    ]
    return torch.from_numpy(GroupViTInferencer(cfg, plugin)(picture).label_map)


def test_transformers_alone_segments_as_we_do(whole):
    from transformers import AutoProcessor, GroupViTModel

    folder, plugin = whole
    picture = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    picture = picture.repeat(8, 0).repeat(8, 1)  # of the native size: nothing is resized
    processor = AutoProcessor.from_pretrained(folder)
    texts = [f'a photo of a {word}.' for word in WORDS]
    inputs = processor(text=texts, images=picture, padding=True, return_tensors='pt')
    model = GroupViTModel.from_pretrained(folder).eval()
    with torch.no_grad():
        output = model(**inputs, output_segmentation=True)
    labels = output.segmentation_logits[0].argmax(dim=0)
    ours = label_map(plugin, picture)
    pixels = torch.from_numpy(picture).permute(2, 0, 1).float()
    mean, std = (torch.tensor(v)[:, None, None] for v in ([120.0, 110, 100], [60.0, 50, 40]))
    assert torch.allclose(inputs.pixel_values[0], (pixels - mean) / std, atol=1e-5)

    # Our rule on its outputs: the best segment of a pixel, then the best text of that segment.
    probs, logits = upsampled_probs(output, labels.shape), segment_logits(model, output)
    (best, second), (segment, _) = probs.topk(2, dim=0)
    top, texts_of = logits.topk(2, dim=1)
    margin = (top[:, 0] - top[:, 1])[segment]
    clear = (best - second > 1e-4) & (margin > 1e-4)
    assert clear.float().mean() > 0.95
    assert len(ours[clear].unique()) == 3
    assert torch.equal(texts_of[segment, 0][clear], ours[clear])
    # Its own rule mixes the segments of a pixel by their probabilities: the labels are the same
    # wherever the best segment outweighs the others.
    sure = best * margin > (1 - best) * (logits.amax() - logits.amin()) + 1e-4
    assert sure.float().mean() > 0.15
    assert torch.equal(labels[sure], ours[sure])
    assert (labels == ours).float().mean() > 0.7  # the others lie between patches


def upsampled_probs(output, shape):
    """Probability of every segment at every pixel, ``(S, H, W)``, of one grouping stage."""
    (probs,) = output.vision_model_output.attentions
    grid = probs.unflatten(-1, (4, 4))
    return torch.nn.functional.interpolate(grid, size=tuple(shape), mode='bilinear')[0]


def segment_logits(model, output):
    """Cosine similarity of every segment to every text, ``(S, K)``."""
    with torch.no_grad():
        segments = model.visual_projection(output.vision_model_output.last_hidden_state[0])
    return torch.nn.functional.normalize(segments, dim=-1) @ output.text_embeds.T


def test_pictures_of_any_size_become_the_native_one(whole):
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(whole[0])
    picture = np.zeros((50, 90, 3), dtype=np.uint8)
    assert processor(images=picture, return_tensors='pt').pixel_values.shape == (1, 3, 32, 32)
    assert processor.tokenizer.model_max_length == 16


def test_oblong_models_get_whole_pictures(convert, trained, tmp_path):
    transformers = pytest.importorskip('transformers', reason='it reads the folder')
    source, _ = trained(backbone=dict(img_size=(32, 48)))
    assert not convert('plugin_to_hf', source, tmp_path / 'hf')
    read = transformers.AutoImageProcessor.from_pretrained(tmp_path / 'hf')
    pixels = read(np.zeros((50, 90, 3), dtype=np.uint8), return_tensors='pt').pixel_values
    assert pixels.shape == (1, 3, 32, 48)


def test_what_cannot_be_written_is_said(convert, trained, tmp_path, capsys):
    source, _ = trained(text_encoder=dict(vocab_size=100))
    assert not convert('plugin_to_hf', source, tmp_path / 'hf')
    assert "no tokenizer files: a vocabulary of 100 is not CLIP's of 49408" in (
        capsys.readouterr().out
    )
    assert not (tmp_path / 'hf/vocab.json').exists()
    assert (tmp_path / 'hf/preprocessor_config.json').exists()
    grey = dict(mean=[120], std=[60], bgr_to_rgb=False)
    source, _ = trained(backbone=dict(in_channels=1), data_preprocessor=grey)
    assert not convert('plugin_to_hf', source, tmp_path / 'grey')
    assert 'no preprocessor_config.json: ' in capsys.readouterr().out


@pytest.mark.parametrize('name', FILES)
def test_nothing_of_another_processor_is_replaced_or_mixed(refuse, trained, tmp_path, capsys, name):
    source, _ = trained()
    (tmp_path / 'hf').mkdir()
    (tmp_path / 'hf' / name).write_text('mine')
    errors = refuse('plugin_to_hf', source, tmp_path / 'hf' / 'a.bin', capsys=capsys)
    assert f'{name} already: name another DST or --overwrite' in errors
    assert (tmp_path / 'hf' / name).read_text() == 'mine'


def test_files_say_what_the_released_ones_say(convert, trained, tmp_path):
    source, _ = trained(data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395] * 3))
    assert not convert('plugin_to_hf', source, tmp_path / 'hf')
    config = json.loads((tmp_path / 'hf/preprocessor_config.json').read_text())
    assert config['image_mean'] == [0.485, 0.456, 0.406]
    assert config['image_std'] == [0.229] * 3
    assert config['size'] == {'shortest_edge': 32}
    assert config['crop_size'] == {'height': 32, 'width': 32}
    assert config['resample'] == 3  # bicubic
