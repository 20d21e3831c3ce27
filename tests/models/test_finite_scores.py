"""A NaN in an image or in a weight ends a segmentation with one sentence, never with labels."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from groupvit_mmseg.inference import GroupViTInferencer
from groupvit_mmseg.models.encoded_windows import EmbeddedClasses, encode_windows

from loading import load_file

CONFIG = Path(__file__).parents[1] / 'data' / 'configs' / 'tiny_zeroshot.py'
WINDOWS = load_file(Path(__file__).with_name('test_windows.py'))
VALUES = (float('nan'), float('inf'), float('-inf'))


@pytest.mark.parametrize('value', VALUES, ids=str)
@pytest.mark.parametrize('mode', ['whole', 'slide'])
@pytest.mark.parametrize('affinity', ['cosine', 'softmax'])
def test_a_pixel_that_is_no_number_is_one_sentence(value, mode, affinity):
    head = dict(affinity='cosine') if affinity == 'cosine' else {}
    segmentor = WINDOWS.make_segmentor(head=head, mode=mode)
    good, bad = WINDOWS.images((45, 61), (45, 61))
    bad[1, 20, 30] = value
    with pytest.raises(ValueError, match=r'1 of the \d+ pixel values of an image are NaN or inf'):
        segmentor.predict([good, bad])
    with pytest.raises(ValueError, match='pixel values of an image are NaN'):
        encode_windows(segmentor, bad)
    assert len(segmentor.predict([good])) == 1


@pytest.mark.parametrize('value', VALUES, ids=str)
@pytest.mark.parametrize('part', ['backbone.patch_embed', 'text_encoder', 'image_projector'])
def test_a_weight_that_is_no_number_is_named(value, part):
    segmentor = WINDOWS.make_segmentor()
    name, weight = next((n, p) for n, p in segmentor.named_parameters() if part in n)
    weight.data.view(-1)[0] = value
    (image,) = WINDOWS.images((45, 61))
    expected = rf'The weight {name} has 1 of {weight.numel()} values that are NaN or infinite'
    with pytest.raises(ValueError, match=expected):
        segmentor.predict([image])


@pytest.mark.parametrize('views', [{}, dict(tta_flip=True)], ids=['plain', 'views'])
def test_a_scale_that_divides_by_0_is_named(views):
    segmentor = WINDOWS.make_segmentor(head=dict(affinity='cosine'), **views)
    segmentor.decode_head.logit_scale.data.fill_(float('-inf'))  # times 0, then divided by it
    (image,) = WINDOWS.images((45, 61))
    with pytest.raises(ValueError, match=r'The weight decode_head\.logit_scale has 1 of 1 values'):
        segmentor.predict([image])
    encoded, head = encode_windows(segmentor, image), segmentor.decode_head
    embedded = EmbeddedClasses(head.classes, head.encode_classes())
    with pytest.raises(ValueError, match='The weight logit_scale'):
        encoded.scored(head, embedded)


def test_a_text_weight_that_is_no_number_is_named_for_encoded_images():
    segmentor = WINDOWS.make_segmentor()
    (image,) = WINDOWS.images((45, 61))
    encoded = encode_windows(segmentor, image)
    head = segmentor.decode_head
    next(head.text_encoder.parameters()).data.view(-1)[0] = float('nan')
    embedded = EmbeddedClasses(head.classes, head.embed_classes(head.classes))
    with pytest.raises(ValueError, match='The weight text_encoder'):
        encoded.scored(head, embedded)


def test_an_overflow_without_either_names_the_precision():
    segmentor = WINDOWS.make_segmentor(mode='whole')
    (image,) = WINDOWS.images((45, 61))
    segmentor.backbone.register_forward_hook(lambda *_: None)
    encode = segmentor.backbone.encode
    segmentor.backbone.encode = lambda inputs: _overflowing(encode(inputs))
    with pytest.raises(ValueError, match='precision'):
        segmentor.predict([image])


def _overflowing(output):
    return output._replace(segments=output.segments * float('inf'))


def test_the_inferencer_takes_no_floats():
    inferencer = GroupViTInferencer(Config.fromfile(CONFIG))
    with pytest.raises(ValueError, match='uint8'):
        inferencer(torch.full((32, 32, 3), float('nan')).numpy())
