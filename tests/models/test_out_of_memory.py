"""Memory that runs out: smaller batches and chunks with the same results, then one sentence."""

from pathlib import Path

import pytest
import torch

from groupvit_mmseg import out_of_memory
from groupvit_mmseg.models.encoded_windows import encode_windows
from groupvit_mmseg.models.open_vocabulary_model import OpenVocabularyModel
from groupvit_mmseg.models.open_vocabulary_segmentor import OpenVocabularySegmentor

from loading import load_file

HERE = Path(__file__).resolve().parent
WINDOWS = load_file(HERE / 'test_windows.py')
ERRORS = [
    torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 1 TiB'),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."),
    MemoryError(),
]


@pytest.fixture(autouse=True)
def _no_notes_yet():
    out_of_memory._note.cache_clear()


def refuse(segmentor, error, largest, attribute='encode'):
    """Let a segmentor's backbone raise an error for more than ``largest`` windows."""
    sizes, encode = [], getattr(segmentor.backbone, attribute)

    def limited(crops):
        if len(crops) > largest:
            raise error
        sizes.append(len(crops))
        return encode(crops)

    setattr(segmentor.backbone, attribute, limited)
    return sizes


@pytest.mark.parametrize('error', ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize('largest', [1, 3, 8])
def test_windows_are_halved_and_give_the_same_labels(error, largest):
    segmentor = WINDOWS.make_segmentor()
    (image,) = WINDOWS.images((77, 93))
    (whole,) = segmentor.predict([image])
    encoded = encode_windows(segmentor, image)
    sizes = refuse(segmentor, error, largest)
    (parts,) = segmentor.predict([image])
    assert max(sizes) == max(n for n in (1, 2, 4, 8) if n <= largest)
    assert torch.equal(whole.pred_sem_seg.data, parts.pred_sem_seg.data)
    torch.testing.assert_close(whole.seg_logits.data, parts.seg_logits.data)
    again = encode_windows(segmentor, image)
    assert all(map(torch.equal, encoded.group_maps, again.group_maps))


@pytest.mark.parametrize('error', ERRORS, ids=lambda error: type(error).__name__)
def test_one_window_that_is_too_much_is_one_sentence(error):
    segmentor = WINDOWS.make_segmentor()
    refuse(segmentor, error, 0)
    with pytest.raises(RuntimeError, match=r'^Out of memory on cpu: an image of 77 x 93 pixels'):
        segmentor.predict(list(WINDOWS.images((45, 61), (77, 93))))


def test_other_errors_keep_their_type():
    segmentor = WINDOWS.make_segmentor()
    sizes = refuse(segmentor, RuntimeError('mat1 and mat2 shapes cannot be multiplied'), 2)
    with pytest.raises(RuntimeError, match='mat1'):
        segmentor.predict(list(WINDOWS.images((77, 93))))
    assert sizes == []


def test_labels_are_chosen_a_class_at_a_time(monkeypatch):
    segmentor = WINDOWS.make_segmentor(with_scores=False, with_confidence=True)
    (image,) = WINDOWS.images((45, 61))
    (whole,) = segmentor.predict([image])
    pixel_scores, channels = WINDOWS.WindowedImage.pixel_scores, []

    def limited(self, some=None):
        if some is None or len(some) > 1:
            raise ERRORS[0]
        channels.extend(some)
        return pixel_scores(self, some)

    monkeypatch.setattr(WINDOWS.WindowedImage, 'pixel_scores', limited)
    (parts,) = segmentor.predict([image])
    assert len(set(channels)) > 1
    for name in ('pred_sem_seg', 'seg_confidence'):
        assert torch.equal(whole.get(name).data, parts.get(name).data)


def test_other_models_are_halved_too():
    class Model(OpenVocabularyModel):
        largest, sizes = 8, ()

        def embed_prompts(self, prompts):
            return torch.arange(float(len(prompts)))

        def forward(self, images, prompt_embeds):
            if len(images) > self.largest:
                raise ERRORS[0]
            self.sizes += (len(images),)
            return images.mean(1, keepdim=True) * prompt_embeds[None, :, None, None]

    model = Model()
    slide = dict(mode='slide', crop_size=(32, 32), stride=(16, 16))
    segmentor = OpenVocabularySegmentor(model, test_cfg=slide)
    segmentor.set_classes(['cat', 'dog'])
    (image,) = WINDOWS.images((77, 93))
    (whole,) = segmentor.predict([image])
    model.largest, model.sizes = 2, ()
    (parts,) = segmentor.predict([image])
    assert max(model.sizes) == 2
    assert torch.equal(whole.pred_sem_seg.data, parts.pred_sem_seg.data)
    model.largest = 0
    with pytest.raises(RuntimeError, match=r'^Out of memory on cpu'):
        segmentor.predict([image])


def limit(segmentor, error, largest):
    """Let a segmentor's backbone refuse more than some windows; return the sizes that it saw."""
    seen, encode = [], segmentor.backbone.encode

    def limited(crops):
        seen.append(len(crops))
        if len(crops) > largest:
            raise error
        return encode(crops)

    segmentor.backbone.encode = limited
    return seen


@pytest.mark.parametrize('error', ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize('call', ['predict', 'encode_windows'])
def test_the_second_image_causes_no_error(error, call):
    segmentor = WINDOWS.make_segmentor()
    calls = {
        'predict': lambda image: segmentor.predict([image]),
        'encode_windows': lambda image: encode_windows(segmentor, image),
    }
    seen = limit(segmentor, error, 2)
    calls[call](next(iter(WINDOWS.images((77, 93)))))
    assert max(seen) > 2
    assert list(segmentor.fitting.values()) == [2]
    seen.clear()
    for image in WINDOWS.images((93, 77), (45, 61)):
        calls[call](image)
    assert max(seen) == 2


def test_what_fitted_is_kept_by_segmentor_and_size_of_windows():
    first, second = WINDOWS.make_segmentor(), WINDOWS.make_segmentor()
    (image,) = WINDOWS.images((77, 93))
    limit(first, ERRORS[0], 1)
    first.predict([image])
    seen = limit(second, ERRORS[0], 8)
    second.predict([image])
    assert max(seen) > 1
    assert second.fitting == {}
    seen = limit(first, ERRORS[0], 8)
    first.test_cfg = {**first.test_cfg, 'crop_size': (16, 16), 'stride': (16, 16)}
    first.predict([image])
    assert max(seen) > 1


def test_other_models_remember_too(monkeypatch):
    class Model(OpenVocabularyModel):
        seen = ()

        def embed_prompts(self, prompts):
            return torch.arange(float(len(prompts)))

        def forward(self, images, prompt_embeds):
            self.seen += (len(images),)
            if len(images) > 2:
                raise ERRORS[0]
            return images.mean(1, keepdim=True) * prompt_embeds[None, :, None, None]

    model = Model()
    slide = dict(mode='slide', crop_size=(32, 32), stride=(16, 16))
    segmentor = OpenVocabularySegmentor(model, test_cfg=slide)
    segmentor.set_classes(['cat', 'dog'])
    images = list(WINDOWS.images((77, 93), (77, 93)))
    segmentor.predict(images[:1])
    assert max(model.seen) > 2
    model.seen = ()
    segmentor.predict(images[1:])
    assert max(model.seen) == 2
