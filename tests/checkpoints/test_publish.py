"""A published file holds the weights, how to use them, and a part of its hash in its name."""

import hashlib
import json
import re

import pytest
import torch
from mmengine.config import Config
from mmseg.registry import MODELS
from safetensors import safe_open

from groupvit_mmseg.atomic_files import save_checkpoint
from groupvit_mmseg.checkpoints import read_weights
from groupvit_mmseg.inference import GroupViTInferencer
from groupvit_mmseg.text.class_list import ClassList, make_class_list


@pytest.fixture
def training(tiny_config, tmp_path):
    """A config of pretraining and a checkpoint with all the state of a training."""
    config = tmp_path / 'tiny.py'
    cfg = tiny_config.copy()
    cfg.work_dir, cfg.test_dataloader = '/a/private/place', cfg.val_dataloader
    cfg.dump(config)
    model = MODELS.build(Config.fromfile(config).model)
    content = dict(
        state_dict=model.state_dict(),
        ema_state_dict=model.state_dict(),
        optimizer={'state': {0: torch.zeros(1000)}},
        message_hub={'log_scalars': {}},
        param_schedulers=[{'last_step': 3}],
        meta={'seed': 3, 'cfg': 'x = 1', 'experiment_name': 'secret'},
    )
    save_checkpoint(content, tmp_path / 'epoch_3.pth')
    return config, tmp_path / 'epoch_3.pth', model


@pytest.fixture
def publish(run_tool):
    return lambda *argv: run_tool('tools/model_converters/publish_model', *argv)


def published(folder, suffix):
    """The one file with a hash in its name."""
    (path,) = folder.glob(f'groupvit-*{suffix}')
    return path


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_published_file(publish, training, same_bits, tmp_path, capsys, suffix):
    config, checkpoint, model = training
    assert publish(config, checkpoint, tmp_path / f'groupvit{suffix}') == 0
    path = published(tmp_path, suffix)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    assert path.name == f'groupvit-{digest}{suffix}'
    assert 'left out ema_state_dict, optimizer, message_hub, param_schedulers' in (
        capsys.readouterr().out
    )
    weights = read_weights(path)
    same_bits(weights.tensors, model.state_dict())
    assert not re.search('private|secret|optim_wrapper|EMAHook', weights.config_text)
    # The published file is enough to segment.
    (tmp_path / 'mine.py').write_text(weights.config_text)
    inferencer = GroupViTInferencer(tmp_path / 'mine.py', path)
    assert inferencer.class_names == ('red', 'green', 'blue')


HEADS = {
    'a background': dict(class_names=['background', 'red'], with_background=True, bg_thresh=0.25),
    'every option': dict(
        class_names=['background', 'red', 'green'],
        with_background=True,
        background_words=['sky', 'wall'],
        templates=['a {}.', 'the {}.'],
        aliases={'red': ['scarlet', 'crimson']},
        class_templates={'green': ['a green {}.']},
        alias_pooling='mean',
    ),
}


@pytest.mark.parametrize('options', list(HEADS.values()), ids=list(HEADS))
def test_every_field_of_the_class_list_is_published(publish, training, tmp_path, options):
    config, checkpoint, _ = training
    cfg = Config.fromfile(config)
    cfg.val_cfg.segmentor.decode_head.update(options)
    cfg.dump(config)
    assert publish(config, checkpoint, tmp_path / 'groupvit.pth') == 0
    assert publish(config, checkpoint, tmp_path / 'groupvit.safetensors') == 0
    content = torch.load(published(tmp_path, '.pth'), weights_only=True)
    assert list(content) == ['state_dict', 'meta']
    with safe_open(published(tmp_path, '.safetensors'), framework='pt') as file:
        metadata = file.metadata()
    fields = {name: content['meta'][name] for name in ClassList._fields}
    assert {name: json.loads(metadata[name]) for name in fields} == fields
    assert make_class_list(**fields) == make_class_list(**options)
    assert {name: fields[name] for name in options} == options


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_outputs_are_recorded_and_checked(publish, convert, training, tmp_path, capsys, suffix):
    config, checkpoint, _ = training
    assert publish(config, checkpoint, tmp_path / f'groupvit{suffix}') == 0
    assert 'left out the record' not in capsys.readouterr().out
    path = published(tmp_path, suffix)
    record = read_weights(path).record
    assert (record['num_heads'], record['text_heads']) == ([2, 2], 1)
    assert set(record['answers']) == {'image_embeds', 'text_embeds', 'logits_per_image'}
    assert not convert('plugin_to_official', path, tmp_path / 'o.pth')
    assert f'numeric check: as recorded in the record in {path}' in capsys.readouterr().out
    # Weights that are changed afterwards no longer give these outputs.
    if suffix == '.pth':
        content = torch.load(path, weights_only=True)
        content['state_dict']['backbone.norm.weight'] += 0.1
        save_checkpoint(content, path)
        assert convert('plugin_to_official', path, tmp_path / 'p.pth') == 2
        assert 'records outputs of the model when it was written' in capsys.readouterr().err


def test_misfits_are_one_sentence(publish, training, tmp_path, capsys):
    config, checkpoint, model = training
    state_dict = model.state_dict()
    del state_dict['backbone.norm.weight']
    save_checkpoint({'state_dict': state_dict}, checkpoint)
    before = sorted(tmp_path.iterdir())
    assert publish(config, checkpoint, tmp_path / 'groupvit.pth') == 2
    errors = capsys.readouterr().err
    assert '1 missing: backbone.norm.weight' in errors
    assert len(errors.splitlines()) == 1
    assert publish(config, checkpoint, tmp_path / 'groupvit.onnx') == 2
    assert publish(tmp_path / 'no.py', checkpoint, tmp_path / 'groupvit.pth') == 2
    assert sorted(tmp_path.iterdir()) == before
