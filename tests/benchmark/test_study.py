"""Study files: what they may contain, and the configs of their runs."""

import json
from itertools import takewhile

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

from groupvit_mmseg.benchmark.study import chosen, find_study, read_study
from groupvit_mmseg.benchmark.study_configs import move_data, run_config, set_epochs, settings_of
from groupvit_mmseg.benchmark.study_evaluation import (
    METRIC_TYPES,
    build_metrics,
    changed,
    check_metrics,
)
from groupvit_mmseg.benchmark.study_queue import StudyOptions, make_runs, prepare
from groupvit_mmseg.benchmark.study_types import Run
from groupvit_mmseg.config_files import read_config, shipped_file
from groupvit_mmseg.text import tokenize

STUDIES = sorted(find_study('assignment').parent.glob('*.py'))
SCENES = shipped_file('configs/groupvit/groupvit_tiny-p4_1xb64-coslr-6e_scenes-40px.py')
VARIANTS = [(path, name) for path in STUDIES for name in read_study(path).variants]


def test_lists_are_not_empty():
    assert len(STUDIES) >= 8
    assert len(VARIANTS) > 30


@pytest.mark.parametrize('path', STUDIES, ids=lambda path: path.stem)
def test_head_has_command_time_and_state(path):
    head = ''.join(takewhile(lambda line: line.startswith('#'), path.open()))
    assert f'#   python tools/study.py {path.stem}\n' in head
    assert '# Time: ' in head
    assert '# Numbers: ' in head
    study = read_study(path)
    assert study.question.endswith('?')
    assert len(study.seeds) >= 3
    check_metrics(study.metrics, study.evaluations)


@pytest.mark.parametrize('path, name', VARIANTS, ids=lambda value: getattr(value, 'stem', value))
def test_every_variant_builds_and_has_a_loss(path, name):
    study = read_study(path)
    cfg = run_config(study, name, seed=0)
    steps = cfg.train_dataloader.dataset.pipeline
    (prompts,) = [step.num_prompts for step in steps if step.type == 'CaptionPrompts']
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(cfg.model)
        segmentor = MODELS.build(cfg.val_cfg.segmentor).eval()
        for changes in study.evaluations.values():
            MODELS.build(changed(cfg, changes).val_cfg.segmentor)
    texts = tokenize(['a ball on sand', 'a box', 'snow', 'a kite'] * (1 + prompts), 32)
    losses = model(torch.randn(4, 3, 40, 40), texts.view(4, 1 + prompts, -1), mode='loss')
    total = sum(loss for key, loss in losses.items() if key.startswith('loss'))
    total.backward()
    assert total.isfinite()
    assert any(key.startswith('loss_multi_label') for key in losses) == (prompts > 0)
    segmentor.load_state_dict(model.state_dict())  # towers of the same settings
    if study.source(name) == name:
        assert cfg.model.backbone == cfg.val_cfg.segmentor.backbone
        assert cfg.model.text_encoder == cfg.val_cfg.segmentor.decode_head.text_encoder


@pytest.mark.parametrize('path, name', VARIANTS, ids=lambda value: getattr(value, 'stem', value))
def test_variants_of_a_study_differ(path, name):
    study = read_study(path)
    settings = {}
    for other, variant in study.variants.items():
        start = settings.get(variant.starts_from)
        settings[other] = settings_of(study, run_config(study, other, seed=0), start)
    assert [settings[name]] == [value for value in settings.values() if value == settings[name]]
    same_training = settings[study.source(name)].training == settings[name].training
    assert same_training


def test_scenes_of_studies_are_the_shipped_ones_without_skipped_attention():
    """The settings of the numbers in docs/results.md."""
    study = read_study(find_study('assignment'))
    measured, shipped = read_config(study.variants['hard'].config), read_config(SCENES)
    for cfg, rate in [(measured, None), (shipped, 0.5)]:
        for part in (cfg, cfg.model, cfg.val_cfg.segmentor):
            assert part.backbone.pop('attn_drop_path') == rate
    assert measured.to_dict() == shipped.to_dict()


def test_objectives_on_photographs():
    study = read_study(find_study('photographs'))
    models = {
        name: run_config(study, name, seed=0).model
        for name in ('groupvit', 'ungrouped', 'cosines', 'paper')
    }
    levels = [model.loss_multi_label.get('level', 'pooled') for model in models.values()]
    assert levels == ['pooled', 'pooled', 'patches', 'pooled']
    pools = [model.image_projector.pool_projected for model in models.values()]
    assert pools == [True, True, False, False]
    assert [model.loss_grouping is not None for model in models.values()] == [True, *[False] * 3]
    assert not models['paper'].loss_multi_label.match_equal_prompts


def test_skipped_attention_alone_tells_two_variants_on_photographs_apart():
    study = read_study(find_study('photographs'))
    plain, skipped = (run_config(study, name, seed=0) for name in ('groupvit', 'skipped'))
    for model in (skipped.model, skipped.val_cfg.segmentor):
        assert model.backbone.pop('attn_drop_path') == 0.5
    assert skipped.model == plain.model
    assert skipped.val_cfg == plain.val_cfg


def write(tmp_path, **fields):
    content = dict(
        title='T', question='Q?', config=str(SCENES), variants={'a': {}}, metrics=['mIoU']
    )
    lines = [f'{key} = {value!r}' for key, value in {**content, **fields}.items() if value]
    (tmp_path / 'own.py').write_text('\n'.join(lines))
    return tmp_path / 'own.py'


@pytest.mark.parametrize(
    'fields, sentence',
    [
        (dict(question=None), 'correct question'),
        (dict(typo=1), 'correct typo'),
        (dict(variants=None), 'variants'),
        (dict(baseline='b'), 'no variant b'),
        (dict(variants={'a': {'weights_of': 'b'}}), 'which is no training before it'),
        (dict(variants={'a': {'starts_from': 'b'}}), 'weights of b, which is no training before'),
        (
            dict(variants={'a': {}, 'b': {'weights_of': 'a', 'starts_from': 'a'}}),
            'not its training',
        ),
        (
            dict(variants={'a': {}, 'b': {'weights_of': 'a', 'model.backbone.depths': [2]}}),
            'val_cfg and val_dataloader alone, not model.backbone.depths',
        ),
    ],
)
def test_wrong_studies_are_refused(tmp_path, fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_study(write(tmp_path, **fields))


def test_a_variable_of_the_config_is_no_option(tmp_path):
    study = read_study(write(tmp_path, variants={'a': {'lr': 1.0}}))
    with pytest.raises(ValueError, match='sets lr, which no run reads'):
        run_config(study, 'a', seed=0)


def test_options_reach_model_and_segmentor(tmp_path):
    variants = {'a': {'model.text_encoder.num_layers': 2, 'max_epochs': 6}}
    cfg = run_config(read_study(write(tmp_path, variants=variants)), 'a', seed=7)
    assert cfg.val_cfg.segmentor.decode_head.text_encoder.num_layers == 2
    assert cfg.randomness.seed == 7
    assert (cfg.train_cfg.max_epochs, cfg.train_cfg.val_interval) == (6, 2)
    assert (cfg.param_scheduler[1].end, cfg.param_scheduler[1].T_max) == (6, 5)


def test_one_epoch_keeps_the_warm_up_alone():
    cfg = read_config(SCENES)
    set_epochs(cfg, 1)
    assert [part.type for part in cfg.param_scheduler] == ['LinearLR']
    assert cfg.train_cfg.val_interval == 1
    del cfg.train_cfg.max_epochs
    with pytest.raises(ValueError, match='trains for iterations, not epochs'):
        set_epochs(cfg, 1)


def test_settings_depend_on_seed_and_evaluation_and_not_on_folders(tmp_path):
    study = read_study(write(tmp_path))
    cfg = run_config(study, 'a', seed=0)
    settings = settings_of(study, cfg)
    assert settings_of(study, run_config(study, 'a', seed=1)).training != settings.training
    other = study._replace(metrics=('mIoU', 'oracle/mIoU'))
    assert settings_of(other, cfg).training == settings.training
    assert settings_of(other, cfg).evaluation != settings.evaluation
    moved = move_data(cfg, tmp_path)
    assert moved.val_dataloader.dataset.data_root == f'{tmp_path}/val'
    assert moved.train_dataloader.dataset.sources[0].data_root == str(tmp_path)
    json.dumps(moved.to_dict())


def test_chosen_variants_come_with_their_weights(tmp_path):
    variants = {'a': {}, 'b': {'weights_of': 'a'}, 'c': {}}
    study = read_study(write(tmp_path, variants=variants))
    assert chosen(['b'], study) == ['a', 'b']
    assert chosen(None, study) == ['a', 'b', 'c']
    with pytest.raises(ValueError, match='no variant d'):
        chosen(['d'], study)


def test_a_training_that_starts_from_another_depends_on_it(tmp_path):
    variants = {
        'a': {},
        'b': {'starts_from': 'a', 'max_epochs': 1},
        'c': {'weights_of': 'b'},
        'd': {},
    }
    study = read_study(write(tmp_path, variants=variants))
    assert chosen(['c'], study) == ['a', 'b', 'c']
    runs = make_runs(study, list(variants), [7], tmp_path / 'out')
    folders = {run.variant: run.folder for run in runs}
    assert [run.start for run in runs] == [None, folders['a'], None, None]
    assert [run.source for run in runs] == [None, None, folders['b'], None]
    digests = {}
    for epochs in (1, 2):  # of the first training
        study = read_study(write(tmp_path, variants=variants | {'a': {'max_epochs': epochs}}))
        out = tmp_path / str(epochs)
        prepare(study, make_runs(study, list(variants), [7], out), StudyOptions(out))
        tasks = {name: Run(name, 7, out / name / 'seed-7').task() for name in variants}
        assert tasks['b']['starts_from'] == str(out / 'a/seed-7')
        assert tasks['b']['settings']['training'] == tasks['c']['settings']['training']
        digests[epochs] = [task['settings']['training'] for task in tasks.values()]
    changed_by_it = [one != two for one, two in zip(digests[1], digests[2], strict=True)]
    assert changed_by_it == [True, True, True, False]


def test_metrics_of_the_foreground_need_a_background():
    names = [f'{prefix}/mIoU' for prefix in METRIC_TYPES]
    assert len(build_metrics(names, True)) == len(METRIC_TYPES)
    assert [metric.prefix for metric in build_metrics(names, False)] == [
        '',
        'oracle',
        'boundary',
        'tag',
    ]
    with pytest.raises(ValueError, match='no metric shapes/mIoU'):
        check_metrics(['shapes/mIoU'], [])


def test_a_warm_up_of_iterations_stays_when_the_epochs_change():
    warm_up = dict(type='LinearLR', begin=0, end=100, by_epoch=False)
    cosine = dict(type='CosineAnnealingLR', begin=0, end=12, T_max=12, convert_to_iter_based=True)
    cfg = Config(dict(train_cfg=dict(max_epochs=12), param_scheduler=[warm_up, cosine]))
    set_epochs(cfg, 6)
    assert cfg.param_scheduler[0] == warm_up
    assert (cfg.param_scheduler[1].end, cfg.param_scheduler[1].T_max) == (6, 6)


def test_a_schedule_of_iterations_cannot_be_fitted():
    cosine = dict(type='CosineAnnealingLR', begin=100, end=1500, T_max=1400, by_epoch=False)
    cfg = Config(dict(train_cfg=dict(max_epochs=12), param_scheduler=[cosine]))
    with pytest.raises(ValueError, match='counts iterations, so it cannot be fitted'):
        set_epochs(cfg, 6)


@pytest.mark.parametrize('name', ['miou', 'oracle/mIOU', 'probing/mIoU', 'mIoU/', 'voc: jaccard'])
def test_metrics_that_do_not_exist_are_refused(name):
    with pytest.raises(ValueError, match=f'There is no metric {name}'):
        check_metrics([name], ['voc'])
