"""Masks from one image and class names."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from PIL import Image

from groupvit_mmseg.checkpoints.loading import NotFiniteError
from groupvit_mmseg.inference import (
    GroupViTInferencer,
    load_image,
    load_segmentor,
    segmentation_config,
)
from groupvit_mmseg.text.class_list import make_class_list
from groupvit_mmseg.text.contrast_words import contrast_words

CONFIGS = Path(__file__).parent / 'data' / 'configs'
ZERO_SHOT, PRETRAIN = CONFIGS / 'tiny_zeroshot.py', CONFIGS / 'tiny_pretrain.py'


@pytest.fixture
def image():
    colours = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return colours.repeat(10, 0).repeat(10, 1)


@pytest.fixture
def checkpoint(tmp_path):
    """Weights of a pretrainer, as training writes them; wide, so that segments differ."""
    model = MODELS.build(Config.fromfile(PRETRAIN).model)
    for name, parameter in model.backbone.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=3.0 if 'group_token' in name else 0.5)
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(state_dict=model.state_dict(), meta=dict(epoch=1)), path)
    return path


@pytest.mark.parametrize('config', [ZERO_SHOT, PRETRAIN])
def test_words_on_an_array(image, checkpoint, config):
    inferencer = GroupViTInferencer(config, checkpoint, class_names=['cat', 'old dog'])
    result = inferencer(image)
    assert result.class_names == ('background', 'cat', 'old dog')
    assert result.label_map.shape == result.group_map.shape == (50, 70)
    assert result.scores.shape == (3, 50, 70)
    assert result.scores.dtype == np.float32
    assert (result.scores.argmax(0) == result.label_map).all()
    assert set(np.unique(result.group_map)) <= set(range(4))


def test_a_pretraining_checkpoint_gives_what_the_segmentor_gives(image, checkpoint):
    results = [GroupViTInferencer(config, checkpoint)(image) for config in (ZERO_SHOT, PRETRAIN)]
    assert np.array_equal(results[0].scores, results[1].scores)
    assert np.ptp(results[0].scores) > 0


def test_whole_mode_labels_are_constant_on_segments(image, checkpoint):
    cfg = Config.fromfile(ZERO_SHOT)
    cfg.merge_from_dict({'model.test_cfg': dict(_delete_=True, mode='whole')})
    cfg.test_dataloader.dataset.pipeline[1] = dict(type='Resize', scale=(70, 50), keep_ratio=True)
    result = GroupViTInferencer(cfg, checkpoint)(image)
    for segment in np.unique(result.group_map):
        assert len(np.unique(result.label_map[result.group_map == segment])) == 1


def test_slide_mode_groups_are_those_of_the_whole_image(image, checkpoint):
    whole = Config.fromfile(ZERO_SHOT)
    whole.merge_from_dict({'model.test_cfg': dict(_delete_=True, mode='whole')})
    maps = [GroupViTInferencer(cfg, checkpoint)(image).group_map for cfg in (ZERO_SHOT, whole)]
    assert np.array_equal(*maps)
    assert len(np.unique(maps[0])) > 1


def test_a_file_gives_what_its_array_gives(image, checkpoint, tmp_path):
    Image.fromarray(image).save(tmp_path / 'image.png')
    inferencer = GroupViTInferencer(ZERO_SHOT, checkpoint)
    from_file, from_array = inferencer(tmp_path / 'image.png'), inferencer(image)
    assert np.array_equal(from_file.scores, from_array.scores)


def test_names_of_transforms_may_have_a_scope(image, checkpoint):
    names = ('LoadImageFromFile', 'LoadAnnotations', 'PackSegInputs')
    results = []
    for steps in ([dict(type=name) for name in names], [dict(type=f'mmseg.{n}') for n in names]):
        cfg = Config.fromfile(ZERO_SHOT)
        cfg.test_dataloader = dict(dataset=dict(pipeline=steps))
        results.append(GroupViTInferencer(cfg, checkpoint)(image).scores)
    assert np.array_equal(*results)


def test_colours_are_rgb(image, checkpoint):
    inferencer = GroupViTInferencer(ZERO_SHOT, checkpoint)
    inputs = inferencer._pipeline(dict(img=image[..., ::-1]))
    batch = inferencer.segmentor.data_preprocessor(
        dict(inputs=[inputs['inputs']], data_samples=[inputs['data_samples']]), False
    )
    red = batch['inputs'][0][0] * 58.395 + 123.675
    assert red.mean().item() == pytest.approx(image[..., 0].mean(), abs=1.5)


def test_threshold_one_leaves_only_the_best_segment(image, checkpoint):
    inferencer = GroupViTInferencer(ZERO_SHOT, checkpoint, class_names=['cat', 'dog'])
    inferencer.set_classes(bg_thresh=0.0)
    assert (inferencer(image).label_map > 0).all()
    inferencer.set_classes(bg_thresh=1.0)
    assert (inferencer(image).label_map == 0).any()
    assert inferencer.class_names == ('background', 'cat', 'dog')


def test_a_config_without_background_gets_none_unless_asked(image, checkpoint):
    cfg = Config.fromfile(ZERO_SHOT)
    cfg.model.decode_head.update(class_names=['cat', 'dog'], with_background=False, bg_thresh=None)
    inferencer = GroupViTInferencer(cfg, checkpoint)
    inferencer.set_classes(['sky', 'sea', 'sand'])
    assert inferencer(image).scores.shape[0] == 3
    inferencer.set_classes(bg_thresh=0.2)
    assert inferencer.class_names == ('background', 'sky', 'sea', 'sand')


def test_bad_thresholds_and_words_are_refused(checkpoint):
    with pytest.raises(ValueError, match=r'1\.5 is outside \[0, 1\]'):
        GroupViTInferencer(ZERO_SHOT, checkpoint, bg_thresh=1.5)
    with pytest.raises(ValueError, match='no class'):
        GroupViTInferencer(ZERO_SHOT, checkpoint, class_names=[])


def test_the_config_is_not_edited():
    cfg = Config.fromfile(PRETRAIN)
    before = cfg.pretty_text
    segmentation_config(cfg)
    GroupViTInferencer(cfg)
    assert cfg.pretty_text == before


def test_what_belongs_to_pretraining_is_left_out():
    cfg = Config.fromfile(PRETRAIN)
    cfg.optim_wrapper = dict(type='OptimWrapper')
    cfg.custom_hooks = [dict(type='EMAHook'), dict(type='EmptyCacheHook')]
    cfg.model_wrapper_cfg = dict(type='FullyShardedModel')
    converted = segmentation_config(cfg)
    assert converted.custom_hooks == [dict(type='EmptyCacheHook')]
    assert 'optim_wrapper' not in converted
    assert 'model_wrapper_cfg' not in converted
    assert 'val_cfg' not in converted
    assert converted.test_cfg.type == 'TestLoop'


def test_a_folder_named_for_the_test_reaches_the_validation_set():
    cfg = Config.fromfile(PRETRAIN)
    cfg.pop('test_dataloader', None)
    cfg.merge_from_dict({'test_dataloader.dataset.data_root': 'elsewhere'})
    converted = segmentation_config(cfg)
    expected = cfg.val_dataloader.dataset.to_dict() | dict(data_root='elsewhere')
    assert converted.test_dataloader.dataset.to_dict() == expected


def test_a_config_without_segmentor_says_so(tmp_path):
    path = tmp_path / 'my.py'
    path.write_text('')
    cfg = Config(dict(model=dict(type='GroupViTPretrainer'), val_cfg=None), filename=str(path))
    with pytest.raises(ValueError, match=r'my\.py describes no segmentation'):
        segmentation_config(cfg)


def test_bad_images_are_refused(tmp_path, image):
    with pytest.raises(FileNotFoundError, match=r'no image at .*none\.png'):
        load_image(tmp_path / 'none.png')
    (tmp_path / 'text.png').write_text('hello')
    with pytest.raises(ValueError, match=r'text\.png cannot be read as an image'):
        load_image(tmp_path / 'text.png')
    with pytest.raises(ValueError, match=r'\(50, 70\) uint8'):
        GroupViTInferencer(ZERO_SHOT)(image[..., 0])


OPTIONS = dict(
    bg_thresh=0.2,
    background_words=['sky'],
    templates=['a {}.'],
    aliases={'cat': ['kitten']},
    class_templates={'dog': ['the {}.']},
    alias_pooling='mean',
    class_thresholds={'cat': 0.5},
)


def with_options():
    """A config with every option of a class list."""
    cfg = Config.fromfile(ZERO_SHOT)
    cfg.model.decode_head.update(class_names=['background', 'cat', 'dog'], **OPTIONS)
    return cfg


@pytest.mark.parametrize('name', OPTIONS)
def test_changing_one_option_forgets_no_other(image, checkpoint, name):
    inferencer = GroupViTInferencer(with_options(), checkpoint)
    before = inferencer.segmentor.decode_head.classes
    changes = dict(OPTIONS, bg_thresh=0.3, background_words=['wall'], templates=['{}'])
    changes |= dict(aliases={'dog': ['puppy']}, class_templates={}, alias_pooling='max')
    changes |= dict(class_thresholds={'dog': 0.4})
    inferencer.set_classes(**{name: changes[name]})
    after = inferencer.segmentor.decode_head.classes
    differing = [key for key in before._fields if getattr(before, key) != getattr(after, key)]
    assert differing == [name]


def test_other_words_keep_templates_background_words_and_pooling(image, checkpoint):
    inferencer = GroupViTInferencer(with_options(), checkpoint, class_names=['cat', 'bus'])
    expected = make_class_list(
        **{**OPTIONS, 'class_templates': {}},
        class_names=['background', 'cat', 'bus'],
        with_background=True,
    )
    assert inferencer.segmentor.decode_head.classes == expected
    inferencer.set_classes('a cow, a horse', bg_thresh=None)
    assert inferencer.class_names == ('background', 'cow', 'horse')
    assert inferencer.segmentor.decode_head.bg_thresh == 0.2
    classes = make_class_list(['cat'])
    inferencer.set_classes(classes)
    assert inferencer.segmentor.decode_head.classes == classes


def test_words_matter_to_the_scores(image, checkpoint):
    scores = {}
    for name in (None, *OPTIONS):
        cfg = with_options()
        if name == 'bg_thresh':
            cfg.model.decode_head[name] = None
        elif name is not None:
            cfg.model.decode_head.pop(name)
        scores[name] = GroupViTInferencer(cfg, checkpoint)(image).scores
    for name in OPTIONS:
        assert not np.array_equal(scores[name], scores[None]), name


@pytest.mark.parametrize('mode', ['whole', 'slide'])
def test_scores_are_refined_in_every_mode(image, checkpoint, mode):
    results = []
    for steps in (0, 3):
        cfg = Config.fromfile(ZERO_SHOT)
        cfg.model.test_cfg.update(mode=mode, pamr_steps=steps, with_scores=False)
        results.append(GroupViTInferencer(cfg, checkpoint)(image))
    assert not np.array_equal(results[0].scores, results[1].scores)
    assert np.array_equal(results[0].group_map, results[1].group_map)


@pytest.mark.parametrize('mode', ['whole', 'slide'])
def test_one_word_without_a_background(image, checkpoint, mode):
    cfg = Config.fromfile(ZERO_SHOT)
    cfg.model.decode_head.update(class_names=['cat'], with_background=False, bg_thresh=None)
    cfg.model.test_cfg.mode = mode
    result = GroupViTInferencer(cfg, checkpoint)(image)
    assert result.scores.shape == (1, 50, 70)
    assert not result.label_map.any()


def test_options_that_are_not_there_are_refused(checkpoint):
    with pytest.raises(ValueError, match='no option bg_treshold'):
        GroupViTInferencer(ZERO_SHOT, checkpoint, bg_treshold=0.5)
    with pytest.raises(ValueError, match="cannot use the device 'gpu'"):
        GroupViTInferencer(ZERO_SHOT, checkpoint, device='gpu')
    with pytest.raises(ValueError, match='no option refine_step'):
        load_segmentor(ZERO_SHOT, checkpoint, refine_step=10)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_weights_of_a_diverged_training_are_refused(checkpoint, tmp_path, value):
    content = torch.load(checkpoint, weights_only=False)
    weights = content['state_dict']
    name = next(key for key in weights if key.endswith('qkv.weight'))
    weights[name].flatten()[-1] = value
    torch.save(content, tmp_path / 'a.pth')
    with pytest.raises(NotFiniteError, match=r'a\.pth has .*qkv.weight.*: its training diverged'):
        load_segmentor(ZERO_SHOT, tmp_path / 'a.pth')


def test_a_segmentor_without_words_keeps_what_is_of_no_class(checkpoint):
    cfg = with_options()
    cfg.model.test_cfg.update(window_batch_size=3, precision='bf16')
    segmentor = load_segmentor(cfg, checkpoint, pamr_steps=2)
    expected = make_class_list(['thing'], templates=['a {}.'], alias_pooling='mean')
    assert segmentor.decode_head.classes == expected
    assert segmentor.options.changed() == dict(window_batch_size=3, precision='bf16', pamr_steps=2)


@pytest.mark.parametrize('mode', ['whole', 'slide'])
def test_images_of_a_batch_are_segmented_as_alone(image, checkpoint, tmp_path, mode):
    cfg = Config.fromfile(ZERO_SHOT)
    cfg.model.test_cfg.update(mode=mode)
    Image.fromarray(image[:30]).save(tmp_path / 'image.png')
    images = [image, tmp_path / 'image.png', image[:, ::-1], image[:40, :50]]
    inferencer = GroupViTInferencer(cfg, checkpoint)
    results = inferencer.batch(images)
    for each, result in zip(images, results, strict=True):
        alone = inferencer(each)
        assert np.array_equal(result.label_map, alone.label_map)
        assert np.array_equal(result.group_map, alone.group_map)
        assert np.abs(result.scores - alone.scores).max() < 1e-5
        assert np.array_equal(result.image, alone.image)
    assert len({result.label_map.tobytes() for result in results}) == 4
    assert inferencer.batch([]) == []


def test_a_batch_shares_batches_of_windows(image, checkpoint, monkeypatch):
    cfg = Config.fromfile(ZERO_SHOT)
    cfg.model.test_cfg.update(window_batch_size=100)
    inferencer = GroupViTInferencer(cfg, checkpoint)
    sizes = []
    extract = inferencer.segmentor.extract_feat
    monkeypatch.setattr(
        inferencer.segmentor,
        'extract_feat',
        lambda crops: sizes.append(len(crops)) or extract(crops),
    )
    inputs = [inferencer.encode(each).inputs for each in (image, image[:, :40])]
    sizes.clear()
    inferencer.segmentor.segment_windows(inputs[:1])
    inferencer.segmentor.segment_windows(inputs)
    assert len(sizes) == 2
    assert sizes[1] > sizes[0]


def test_reading_refuses_what_cannot_be_segmented(image, checkpoint, tmp_path):
    inferencer = GroupViTInferencer(ZERO_SHOT, checkpoint)
    Image.fromarray(image).save(tmp_path / 'image.png')
    prepared = inferencer.prepare(tmp_path / 'image.png')
    assert np.array_equal(prepared.image, image)
    # The pipeline runs once.
    inferencer._pipeline = lambda data: pytest.fail('ran again')
    (result,) = inferencer.batch([prepared])
    assert result.label_map.shape == image.shape[:2]
    inferencer = GroupViTInferencer(ZERO_SHOT, checkpoint)
    Image.new('RGB', (30_000, 8)).save(tmp_path / 'thin.png')
    with pytest.raises(ValueError, match=r'thin\.png, resized, has 2048 x 1 pixels'):
        inferencer.prepare(tmp_path / 'thin.png')
    with pytest.raises(FileNotFoundError, match=r'none\.png'):
        inferencer.prepare(tmp_path / 'none.png')


def test_results_hold_the_image_and_the_background(image, checkpoint):
    result = GroupViTInferencer(ZERO_SHOT, checkpoint)(image)
    assert np.array_equal(result.image, image)
    assert (result.bg_thresh, result.with_background) == (0.95, True)
    cfg = Config.fromfile(ZERO_SHOT)
    cfg.model.decode_head.update(class_names=['cat', 'dog'], with_background=False, bg_thresh=None)
    result = GroupViTInferencer(cfg, checkpoint)(image)
    assert (result.bg_thresh, result.with_background) == (None, False)
    assert result.overlay().shape[2] == 3


@pytest.fixture
def without_background(checkpoint):
    """An inferencer whose config has no background."""
    cfg = Config.fromfile(ZERO_SHOT)
    cfg.model.decode_head.update(class_names=['cat', 'dog'], with_background=False, bg_thresh=None)
    return GroupViTInferencer(cfg, checkpoint)


def test_one_word_alone_is_contrasted(image, without_background):
    inferencer, head = without_background, without_background.segmentor.decode_head
    inferencer.set_classes('dog')
    assert inferencer.class_names == ('background', 'dog')
    assert len(head.background_words) == 78  # of 80: neither dog nor hot dog
    contrasted = inferencer(image)
    words = head.background_words
    inferencer.set_classes(['dog', *words])
    assert np.array_equal(contrasted.label_map == 1, inferencer(image).label_map == 0)
    inferencer.set_classes('dog')
    assert head.background_words == words
    inferencer.set_classes(aliases={'dog': ['teddy bear']})
    assert {'dog', 'bear', 'teddy bear'} & set(head.background_words) == set()
    assert len(head.background_words) == 76
    inferencer.set_classes('cat, dog')
    assert (inferencer.class_names, head.background_words) == (('cat', 'dog'), ())
    inferencer.set_classes('dog')
    inferencer.set_classes(bg_thresh=0.5)
    assert (inferencer.class_names, head.background_words) == (('background', 'dog'), ())
    assert head.bg_thresh == 0.5


def test_a_background_of_ones_own_is_kept_with_one_word(without_background):
    inferencer, head = without_background, without_background.segmentor.decode_head
    inferencer.set_classes('dog', background_words=['sky', 'grass'])
    assert head.background_words == ('sky', 'grass')
    inferencer.set_classes('cat, dog')
    assert head.background_words == ('sky', 'grass')
    inferencer.set_classes(make_class_list(['cat']))
    assert inferencer.class_names == ('cat',)


def test_plurals_are_no_contrast():
    for name, left_out in {
        'horses': 'horse',
        'bus': 'bus',
        'buses': 'bus',
        'Hot Dogs': 'dog',
    }.items():
        words = contrast_words(make_class_list([name]))
        assert left_out not in words
        assert 'cat' in words


def test_the_papers_model_without_weights():
    inferencer = GroupViTInferencer.untrained(class_names=['cat', 'dog'])
    assert inferencer.class_names == ('cat', 'dog')
    backbone = inferencer.segmentor.backbone
    paper = MODELS.build(dict(type='GroupViT')).state_dict()
    assert {k: v.shape for k, v in backbone.state_dict().items()} == {
        k: v.shape for k, v in paper.items()
    }


SLIDE = dict(mode='slide', crop_size=(48, 48), stride=(16, 16))


def test_views_are_an_option_as_any_other(image, checkpoint):
    """Of a config as of a call; groups are those of the image itself."""
    inferencer = GroupViTInferencer(ZERO_SHOT, checkpoint, class_names='cat, dog')
    image = np.ascontiguousarray(image[:48, :48])  # padding would be on one side
    before = inferencer(image)
    inferencer.set_options(tta_flip=True)
    flipped = inferencer(np.ascontiguousarray(image[:, ::-1]))
    after = inferencer(image)
    assert not np.allclose(after.scores, before.scores, atol=1e-4)
    assert np.allclose(after.scores, flipped.scores[:, :, ::-1], atol=1e-4)
    assert (after.group_map == before.group_map).all()
    classified = inferencer.classify(inferencer.encode(image))
    assert np.allclose(classified.scores, after.scores, atol=1e-5)
    assert (classified.group_map == before.group_map).all()
    inferencer.set_options(tta_flip=False, tta_scales=(2.0,))  # one view, but not the image
    assert (inferencer(image).group_map == before.group_map).all()
    classified = inferencer.classify(inferencer.encode(image))
    assert (classified.group_map == before.group_map).all()
    cfg = Config.fromfile(ZERO_SHOT)
    cfg.model.test_cfg = dict(mode='whole', tta_scales=(0.5, 1.0))
    assert GroupViTInferencer(cfg, checkpoint, class_names='cat, dog')(image).scores.shape[0] == 3


@pytest.mark.parametrize('test_cfg', [dict(mode='whole'), SLIDE])
@pytest.mark.parametrize('pamr_steps', [0, 2])
def test_an_encoded_image_is_segmented_as_the_image(image, checkpoint, test_cfg, pamr_steps):
    inferencer = GroupViTInferencer(ZERO_SHOT, checkpoint, class_names='cat, dog')
    encoded = inferencer.encode(image, test_cfg=test_cfg)
    options = {**test_cfg, 'pamr_steps': pamr_steps}
    inferencer.segmentor.test_cfg = {'with_scores': True, **options}
    expected, result = inferencer(image), inferencer.classify(encoded)
    assert np.allclose(result.scores, expected.scores, atol=1e-5)
    assert (result.group_map == expected.group_map).all()
    assert result._replace(label_map=0, scores=0, group_map=0, image=0) == expected._replace(
        label_map=0, scores=0, group_map=0, image=0
    )
    margin = np.sort(expected.scores, axis=0)
    clear = margin[-1] - margin[-2] > 1e-4
    assert clear.any()
    assert (result.label_map == expected.label_map)[clear].all()


def test_one_encoding_serves_all_classes(image, checkpoint, monkeypatch):
    inferencer = GroupViTInferencer(ZERO_SHOT, checkpoint, class_names='cat, dog', bg_thresh=0.5)
    encoded = inferencer.encode(image)
    before = inferencer.segmentor.decode_head.classes
    monkeypatch.setattr(inferencer.segmentor, 'extract_feat', None)
    embedded = inferencer.embed(make_class_list(['sky', 'sea', 'sand'], aliases={'sea': ['water']}))
    result = inferencer.classify(encoded, embedded)
    assert result.class_names == ('sky', 'sea', 'sand')
    assert inferencer.segmentor.decode_head.classes == before
    monkeypatch.undo()
    inferencer.set_classes(embedded.classes)
    assert np.allclose(result.scores, inferencer(image).scores, atol=1e-6)


def test_the_threshold_of_embedded_classes(image, checkpoint):
    inferencer = GroupViTInferencer(ZERO_SHOT, checkpoint, class_names='cat, dog')
    encoded, embedded = inferencer.encode(image), inferencer.embed(make_class_list(['cat', 'dog']))
    for threshold in (0.2, 0.7, None):
        again = embedded.with_threshold(threshold)
        assert again.class_embeds is embedded.class_embeds
        inferencer.set_classes('cat, dog', with_background=threshold is not None)
        inferencer.set_classes(again.classes)
        expected = inferencer(image)
        assert np.allclose(inferencer.classify(encoded, again).scores, expected.scores, atol=1e-6)
    with pytest.raises(ValueError, match='outside'):
        embedded.with_threshold(1.5)


def test_groups_of_an_encoded_image_by_stage(image, checkpoint):
    inferencer = GroupViTInferencer(ZERO_SHOT, checkpoint)
    encoded = inferencer.encode(image)
    maps = [encoded.group_map(stage) for stage in range(1, encoded.num_stages + 1)]
    assert (maps[-1] == encoded.group_map()).all()
    assert {each.shape for each in maps} == {image.shape[:2]}
    assert [len(np.unique(each)) for each in maps] == sorted(
        (len(np.unique(each)) for each in maps), reverse=True
    )


def test_bytes_of_an_encoded_image_do_not_hold_the_batch(image, checkpoint):
    inferencer = GroupViTInferencer(ZERO_SHOT, checkpoint)
    small = inferencer.encode(image, test_cfg=SLIDE)
    assert len(small.windows.outputs) > 1
    for output in small.windows.outputs:
        for tensor in output.tensors():
            assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    assert small.nbytes > image.nbytes + small.inputs.numel() * 4


@pytest.mark.parametrize(
    'test_cfg, sentence',
    [
        (dict(foo=1), 'test_cfg has no option foo'),
        (dict(mode='x'), "mode = 'x' is none of"),
        (dict(SLIDE, stride=(0, 0)), r'needs stride=\(HEIGHT, WIDTH\)'),
        (dict(SLIDE, stride=(64, 64)), 'is larger than crop_size'),
    ],
)
def test_windows_that_cannot_be_are_refused_before_the_encoding(
    image, checkpoint, test_cfg, sentence
):
    inferencer = GroupViTInferencer(ZERO_SHOT, checkpoint)
    with pytest.raises(ValueError, match=sentence):
        inferencer.encode(image, test_cfg=test_cfg)


@pytest.mark.parametrize('stage', [0, -1, 9])
def test_a_stage_that_is_not_there_is_one_sentence(image, checkpoint, stage):
    encoded = GroupViTInferencer(ZERO_SHOT, checkpoint).encode(image)
    with pytest.raises(ValueError, match=f'There is no grouping stage {stage}: the model has'):
        encoded.group_map(stage)


def test_the_default_of_the_precision_is_the_fastest_and_a_config_keeps_its_own():
    inferencer = GroupViTInferencer(ZERO_SHOT)
    assert inferencer.segmentor.options.precision == 'auto'
    assert inferencer.precision == 'fp32'  # of the environment; see conftest.py
    cfg = Config.fromfile(ZERO_SHOT)
    cfg.model.test_cfg.precision = 'bf16'
    inferencer = GroupViTInferencer(cfg)
    inferencer.set_options(pamr_steps=1)
    assert inferencer.precision == 'bf16'
    segmentor = MODELS.build(Config.fromfile(ZERO_SHOT).model)
    assert segmentor.precision == 'fp32'
