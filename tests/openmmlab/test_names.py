"""Models and released weights by name, in the functions of MMSegmentation, mmengine, MMPretrain."""

import argparse
import hashlib
import logging
import os
import threading
import warnings
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import mmpretrain
import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.infer import BaseInferencer
from mmengine.registry import MODELS, DefaultScope
from mmengine.registry import root as mmengine_registries
from mmengine.runner import CheckpointLoader, load_checkpoint
from mmpretrain.apis.model import ModelHub
from mmseg.apis import MMSegInferencer, inference_model, init_model, show_result_pyplot

from groupvit_mmseg import openmmlab_names, registry
from groupvit_mmseg.checkpoints import released
from groupvit_mmseg.checkpoints.released import RELEASE, RELEASED
from groupvit_mmseg.models import GroupViTSegmentor
from groupvit_mmseg.text.vocabulary import class_names

ROOT = Path(__file__).resolve().parents[2]
NAME = 'groupvit-gcc-yfcc'
ADDRESS = f'{RELEASE}/{RELEASED[NAME].file}'
VOC = list(class_names('pascal_voc'))
METAFILES = sorted((ROOT / 'configs').glob('*/metafile.yaml'))
ENTRIES = [
    model for path in METAFILES for model in yaml.safe_load(path.read_text('utf-8'))['Models']
]
ALIASES = {alias: model for model in ENTRIES for alias in model.get('Alias', [])}
CLASSIFIER = 'groupvit-small-p16_linear_8xb128-90e_in1k-224px'


class Trace:
    """An object whose loading makes a folder: it must never be loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (os.mkdir, (self.path,))


@pytest.fixture
def official(plugin_tool, pretrained, tmp_path):
    """A small official file, with an object whose loading runs code."""
    path = tmp_path / 'converted.pth'
    heads = ('--num-heads', 2, 2, 2, '--text-heads', 2, '--no-check')
    converter = 'tools/model_converters/plugin_to_official.py'
    assert plugin_tool(converter, pretrained, path, *heads) == 0
    content = torch.load(path, weights_only=True)
    torch.save(
        dict(content, config=argparse.Namespace(a=1), trace=Trace(tmp_path / 'executed')), path
    )
    return path


@pytest.fixture
def cached(official, tmp_path, monkeypatch):
    """The same as a released file in the cache, with its hash."""
    path = tmp_path / 'home' / RELEASED[NAME].file
    path.parent.mkdir()
    official.rename(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(released.RELEASED, NAME, RELEASED[NAME]._replace(sha256=digest[:8]))
    monkeypatch.setenv('GROUPVIT_HOME', str(path.parent))
    monkeypatch.setenv('GROUPVIT_OFFLINE', '1')
    yield path
    assert not (tmp_path / 'executed').exists()


@pytest.fixture
def served(cached, tmp_path, monkeypatch):
    """The same on a mirror on loopback, with an empty cache; gives the cache's folder."""
    home = tmp_path / 'empty'
    monkeypatch.setenv('GROUPVIT_HOME', str(home))
    monkeypatch.delenv('GROUPVIT_OFFLINE')
    handler = partial(SimpleHTTPRequestHandler, directory=cached.parent)
    monkeypatch.setattr(SimpleHTTPRequestHandler, 'log_message', lambda *_: None)
    server = ThreadingHTTPServer(('127.0.0.1', 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01}).start()
    monkeypatch.setenv('GROUPVIT_MIRROR', f'http://127.0.0.1:{server.server_port}')
    yield home
    server.shutdown()
    server.server_close()


@pytest.fixture
def repository(zero_shot, tmp_path, monkeypatch):
    """A repository whose metafile has the alias and the address, and a small config."""
    folder = tmp_path / 'repository'
    (folder / 'configs').mkdir(parents=True)
    Config.fromfile(zero_shot).dump(folder / 'configs/small.py')
    entry = dict(ALIASES[NAME], Config='configs/small.py')
    (folder / 'metafile.yaml').write_text(yaml.safe_dump({'Models': [entry]}))
    (folder / 'model-index.yml').write_text('Import: [metafile.yaml]\n')
    monkeypatch.setattr(BaseInferencer, '_get_repo_or_mim_dir', staticmethod(lambda _: str(folder)))
    return folder


@pytest.fixture
def image(voc):
    return str(voc / 'JPEGImages/p0.jpg')


@pytest.fixture
def warned(monkeypatch):
    """The warnings that mmengine logs."""
    messages = []

    def print_log(message, logger=None, level=logging.INFO):
        if level >= logging.WARNING:
            messages.append(message)

    monkeypatch.setattr('mmengine.logging.print_log', print_log)
    return messages


def pretrained_weights(pretrained):
    return torch.load(pretrained, weights_only=True)['state_dict']


def assert_loaded(model, pretrained):
    """A segmentor has the weights of the pretraining."""
    weights = pretrained_weights(pretrained)
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(value, weights[f'backbone.{key}']), key
    text = {k: v for k, v in weights.items() if k.startswith('text_encoder.')}
    assert text
    for key, value in text.items():
        assert torch.equal(model.decode_head.state_dict()[key], value), key


# Registration.


def test_every_registry_of_mmengine_has_one_of_the_scope():
    parents = {k: v for k, v in vars(mmengine_registries).items() if k.isupper()}
    assert len(parents) >= 22
    for name, parent in parents.items():
        with parent.switch_scope_and_registry('groupvit_mmseg') as child:
            assert child is getattr(registry, name)
            assert child.scope == 'groupvit_mmseg'


def test_the_scope_finds_ours_mmsegs_and_mmengines_without_a_warning(warned):
    for registry_, name in (
        (registry.MODELS, 'GroupViTSegmentor'),
        (registry.MODELS, 'EncoderDecoder'),
        (registry.TRANSFORMS, 'PackSegInputs'),
        (registry.TRANSFORMS, 'CaptionPrompts'),
        (registry.VISUALIZERS, 'SegLocalVisualizer'),
        (registry.DATASETS, 'PascalVOCDataset'),
        (registry.DATA_SAMPLERS, 'DefaultSampler'),
        (registry.FUNCTIONS, 'default_collate'),
        (registry.HOOKS, 'CheckpointHook'),
        (registry.METRICS, 'IoUMetric'),
        (registry.OPTIMIZERS, 'AdamW'),
    ):
        with DefaultScope.overwrite_default_scope('groupvit_mmseg'):
            assert registry_.get(name).__name__ == name
    assert warned == []
    with mmengine_registries.MODELS.switch_scope_and_registry('no_such_scope'):
        assert any('Failed to search registry with scope' in message for message in warned)


def test_the_import_adds_the_scope_and_a_second_call_changes_nothing():
    assert MODULE2PACKAGE['groupvit_mmseg'] == 'groupvit-mmseg'
    schemes, models = dict(CheckpointLoader._schemes), dict(ModelHub._models_dict)
    openmmlab_names.register_names()
    assert schemes == CheckpointLoader._schemes
    assert models == ModelHub._models_dict


def test_a_prefix_of_another_package_stays_theirs(monkeypatch):
    theirs = {'hf://': print, '': print}
    monkeypatch.setattr(CheckpointLoader, '_schemes', theirs)
    openmmlab_names.register_names()
    assert CheckpointLoader._get_checkpoint_loader('hf://a/b') is print
    ours = openmmlab_names.load_from_groupvit
    assert CheckpointLoader._get_checkpoint_loader(NAME) is ours


@pytest.mark.parametrize(
    'source,ours',
    [
        (NAME, True),
        ('nvidia/groupvit-gcc-redcaps', True),
        ('hf://owner/name', True),
        (ADDRESS, True),
        (RELEASED[NAME].file, True),
        (f'checkpoints/{RELEASED[NAME].file}', True),
        ('work_dirs/groupvit-gcc-yfcc/epoch_1.pth', False),
        ('https://github.com/xvjiarui/other/a.pth', False),
        ('group_vit_of_mine.pth', False),
    ],
)
def test_mmengine_reads_released_weights_by_our_loader_and_nothing_else(source, ours):
    loader = CheckpointLoader._get_checkpoint_loader(source)
    assert (loader is openmmlab_names.load_from_groupvit) == ours


# Metafiles.


@pytest.mark.parametrize('name', sorted(ALIASES))
def test_an_alias_is_a_segmentor_with_its_released_weights(name):
    inferencer = BaseInferencer.__new__(MMSegInferencer)
    inferencer.scope = 'groupvit_mmseg'
    cfg, weights = inferencer._load_model_from_metafile(name)
    assert cfg.model.type == 'GroupViTSegmentor'
    assert cfg.visualizer.type == 'SegLocalVisualizer'
    assert cfg.model.decode_head.class_names == 'pascal_voc'
    expected = released.find_released(name)
    assert weights == f'{RELEASE}/{expected.file}'
    assert openmmlab_names.released_name(weights) == expected.name


def test_every_released_name_is_an_alias_and_no_other_config_has_weights():
    assert set(RELEASED) <= set(ALIASES)
    with_weights = [model['Name'] for model in ENTRIES if 'Weights' in model]
    assert with_weights == [m['Name'] for m in ENTRIES if 'Alias' in m]


def test_models_are_listed():
    listed = MMSegInferencer.list_models('groupvit_mmseg')
    assert {model['Name'] for model in ENTRIES} | set(ALIASES) == set(listed)
    assert MMSegInferencer.list_models('groupvit_mmseg', 'groupvit-gcc-y') == [NAME]


def test_mmseg_itself_does_not_know_the_name():
    with pytest.raises(ValueError, match=f'Cannot find model: {NAME} in mmseg'):
        MMSegInferencer(NAME)


# Use.


def test_inferencer_by_name(cached, repository, pretrained, image, tmp_path, warned, quiet):
    inferencer = MMSegInferencer(NAME, scope='groupvit_mmseg', device='cpu', **quiet)
    assert isinstance(inferencer.model, GroupViTSegmentor)
    assert_loaded(inferencer.model, pretrained)
    assert inferencer.model.dataset_meta['classes'] == VOC
    result = inferencer(image, return_vis=True, out_dir=str(tmp_path / 'out'))
    assert result['predictions'].shape == (36, 40)
    assert result['visualization'].shape == (36, 40, 3)
    assert len(list((tmp_path / 'out').rglob('*.*'))) == 2
    assert warned == []


@pytest.mark.parametrize('source', [NAME, 'nvidia/groupvit-gcc-yfcc', ADDRESS, 'file'])
def test_mmengines_loader_takes_every_source(cached, zero_shot, pretrained, source):
    source = str(cached) if source == 'file' else source
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)  # of MMSegmentation: classes are not saved
        model = init_model(str(zero_shot), source, device='cpu')
    assert_loaded(model, pretrained)
    assert model.dataset_meta['classes'] == VOC


def test_model_result_and_picture_by_name(cached, zero_shot, pretrained, image):
    by_name = init_model(str(zero_shot), NAME, device='cpu')
    by_file = init_model(str(zero_shot), str(pretrained), device='cpu')
    result = inference_model(by_name, image)
    reference = inference_model(by_file, image)
    assert torch.equal(result.pred_sem_seg.data, reference.pred_sem_seg.data)
    assert show_result_pyplot(by_name, image, result, show=False).shape == (36, 40, 3)


def test_mmengines_load_checkpoint_by_name_is_strict_if_told_so(cached, zero_shot, pretrained):
    model = MODELS.build(Config.fromfile(zero_shot).model)
    checkpoint = load_checkpoint(model, NAME, map_location='cpu', strict=True)
    assert checkpoint['meta']['dataset_meta'] == {}
    assert_loaded(model, pretrained)


def test_an_unknown_name_is_one_sentence(cached, zero_shot):
    with pytest.raises(FileNotFoundError, match='groupvit-gcc-yfcc'):
        init_model(str(zero_shot), 'groupvit-gcc-yfc', device='cpu')


def open_by(function, zero_shot, quiet):
    """The model that a function of OpenMMLab opens by the name."""
    if function == 'MMSegInferencer':
        options = dict(scope='groupvit_mmseg', device='cpu', **quiet)
        return MMSegInferencer(NAME, **options).model
    if function == 'init_model':
        return init_model(str(zero_shot), NAME, device='cpu')
    if function == 'load_checkpoint':
        model = MODELS.build(Config.fromfile(zero_shot).model)
        load_checkpoint(model, NAME, map_location='cpu')
        return model
    return mmpretrain.get_model(small_classifier(), pretrained=NAME)


@pytest.mark.parametrize(
    'function', ['MMSegInferencer', 'init_model', 'load_checkpoint', 'get_model']
)
def test_a_name_is_downloaded_once(function, served, repository, zero_shot, pretrained, quiet):
    """From a server on loopback; then from the cache, with the server's address gone."""
    weights = pretrained_weights(pretrained)
    for _ in range(2):
        model = open_by(function, zero_shot, quiet)
        for key, value in model.backbone.state_dict().items():
            assert torch.equal(value, weights[f'backbone.{key}']), key
        assert (served / RELEASED[NAME].file).is_file()
        os.environ['GROUPVIT_MIRROR'] = 'http://127.0.0.1:9'


# MMPretrain.


def test_mmpretrain_lists_and_builds_the_classifiers():
    assert CLASSIFIER in mmpretrain.list_models('groupvit*')
    with torch.device('meta'):
        model = mmpretrain.get_model(CLASSIFIER)
    assert type(model).__name__ == 'ImageClassifier'
    assert type(model.backbone).__name__ == 'GroupViT'
    assert not any(name.startswith('groupvit_') for name in mmpretrain.list_models('*groupvit*'))


def small_classifier():
    cfg = Config.fromfile(ROOT / f'configs/classification/{CLASSIFIER}.py')
    cfg.model.backbone.update(
        img_size=32, patch_size=8, embed_dims=16, depths=(1, 1, 1), num_heads=(2, 2, 2),
        num_group_tokens=(6, 4, 0), num_output_groups=(6, 4),
    )  # fmt: skip
    cfg.model.head.update(in_channels=16, num_classes=3)
    return cfg


def test_features_of_a_classifier_with_released_weights(cached, pretrained):
    model = mmpretrain.get_model(small_classifier(), pretrained=NAME)
    weights = pretrained_weights(pretrained)
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(value, weights[f'backbone.{key}']), key
    (features,) = model.extract_feat(torch.rand(2, 3, 32, 32))
    assert features.shape == (2, 16)
    assert len(model._dataset_meta['classes']) == 1000  # the test set's, not those of the weights


def test_a_copy_without_metafiles_registers_no_classifiers(monkeypatch):
    monkeypatch.setattr(openmmlab_names, 'CLASSIFICATION', 'configs/none/metafile.yaml')
    assert openmmlab_names.model_index_folder() is None
    openmmlab_names.register_classifiers()
