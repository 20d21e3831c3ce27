"""Frozen parts do not change, the rest does; patterns that match nothing are refused."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.model import MMDistributedDataParallel
from torch import nn

from groupvit_mmseg.engine import FreezeHook
from groupvit_mmseg.engine.hooks.freeze_hook import freeze_configured, frozen_modules, matching


def small_model():
    block = nn.ModuleDict(dict(norm=nn.BatchNorm1d(2), linear=nn.Linear(2, 2)))
    return nn.ModuleDict(
        dict(
            backbone=nn.ModuleDict(dict(stages=nn.ModuleList([block, nn.Linear(2, 2)]))),
            backbone_head=nn.Linear(2, 2),
        )
    )


@pytest.mark.parametrize(
    'pattern,expected',
    [
        ('backbone.stages.1', ['backbone.stages.1.weight', 'backbone.stages.1.bias']),
        ('backbone_head.bias', ['backbone_head.bias']),
        ('*.norm', ['backbone.stages.0.norm.weight', 'backbone.stages.0.norm.bias']),
        ('backbone.stages.[1-9].w*', ['backbone.stages.1.weight']),
        (['*head.weight', '*head.bias'], ['backbone_head.weight', 'backbone_head.bias']),
    ],
)
def test_patterns_match_names(pattern, expected):
    assert list(matching(small_model(), pattern)) == expected


def test_a_module_stands_for_all_in_it_and_not_for_its_namesakes():
    matched = matching(small_model(), 'backbone')
    assert len(matched) == 6
    assert not any(name.startswith('backbone_head') for name in matched)


@pytest.mark.parametrize(
    'pattern,hint',
    [
        ('backbone.stage.1', r'did you mean backbone\.stages\.1'),
        ('img_encoder*', r'names begin with backbone, backbone_head\.'),
    ],
)
def test_pattern_that_matches_nothing_is_an_error(pattern, hint):
    with pytest.raises(ValueError, match=f'matches no parameter; {hint}'):
        matching(small_model(), ['backbone_head', pattern])


def test_only_entirely_frozen_modules_stay_in_evaluation_mode():
    model = small_model()
    patterns = ['backbone.stages.0.norm', 'backbone.stages.0.linear.weight', 'backbone.stages.1']
    frozen = frozen_modules(model, {id(p) for p in matching(model, patterns).values()})
    stages = model['backbone']['stages']
    assert [id(m) for m in frozen] == [id(stages[0]['norm']), id(stages[1])]


PATTERNS = ['backbone.stages.0', 'backbone.pos_embed', 'text_encoder']


def is_frozen(name):
    return name.startswith(tuple(PATTERNS))


def changes(kind='FreezeHook', **others):
    return dict(
        custom_hooks=[dict(type=kind, patterns=PATTERNS)],
        model=dict(backbone=dict(drop_path_rate=0.5)),
        **others,
    )


def run_of_one_epoch(make_runner, kind):
    """The runner after 4 steps, the weights before them, and which stages were training."""
    runner = make_runner(**changes(kind, train_cfg=dict(max_epochs=1)))
    training = []
    for stage in runner.model.backbone.stages:
        stage.register_forward_pre_hook(lambda module, _: training.append(module.training))
    runner.model.init_weights()
    before = {name: value.clone() for name, value in runner.model.state_dict().items()}
    runner.train()
    return runner, before, training


@pytest.mark.parametrize('late', [False, True])
@pytest.mark.parametrize('kind', ['FreezeHook', 'mmseg.FreezeHook'])
def test_frozen_weights_keep_their_bits_and_others_move(make_runner, monkeypatch, kind, late):
    if late:  # as under mmengine's Runner
        monkeypatch.setattr(
            'groupvit_mmseg.engine.runner.runner.freeze_configured', lambda *_: None
        )
    runner, before, training = run_of_one_epoch(make_runner, kind)
    after = dict(runner.model.named_parameters())
    for name, parameter in after.items():
        assert torch.equal(before[name], parameter) == is_frozen(name), name
        assert parameter.requires_grad != is_frozen(name), name
    assert training == [False, True] * 4  # frozen blocks drop no paths
    groups = runner.optim_wrapper.optimizer.param_groups
    listed = sum(len(group['params']) for group in groups)
    assert listed == sum(late or not is_frozen(name) for name in after)


def test_resumed_in_the_middle_of_an_epoch_nothing_changes(make_runner, tmp_path):
    hook = dict(checkpoint=dict(by_epoch=False, interval=2, max_keep_ckpts=-1))
    settings = changes(train_cfg=dict(max_epochs=2), default_hooks=hook)
    whole = make_runner('whole', **settings)
    whole.train()
    checkpoint = str(tmp_path / 'whole' / 'iter_6.pth')
    rest = make_runner('rest', **settings, resume=True, load_from=checkpoint)
    rest.train()
    assert rest.iter == whole.iter == 8
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, rest.model.state_dict()[name]), name


@pytest.fixture
def process_group():
    """A process group of this process alone."""
    store = torch.distributed.TCPStore('127.0.0.1', 0, 1, is_master=True)
    torch.distributed.init_process_group('gloo', store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


HOOK = dict(type='FreezeHook', patterns='backbone')


@pytest.mark.usefixtures('process_group')
def test_frozen_before_wrapping_no_gradient_is_waited_for():
    model = small_model()
    freeze_configured(dict(default_hooks=dict(freeze=HOOK)), model)
    wrapped = MMDistributedDataParallel(module=model)
    FreezeHook(patterns='backbone').before_run(SimpleNamespace(model=wrapped))
    model.forward = model['backbone_head'].forward
    for _ in range(2):  # DDP complains in the second step
        wrapped(torch.ones(3, 2)).sum().backward()
    assert model['backbone_head'].weight.grad is not None


@pytest.mark.usefixtures('process_group')
def test_freezing_after_wrapping_is_an_error():
    wrapped = MMDistributedDataParallel(module=small_model())
    with pytest.raises(ValueError, match='FreezeHook would freeze 6 parameters after MMDist'):
        FreezeHook(patterns='backbone').before_run(SimpleNamespace(model=wrapped))
    lenient = MMDistributedDataParallel(module=small_model(), find_unused_parameters=True)
    FreezeHook(patterns='backbone').before_run(SimpleNamespace(model=lenient))
    assert not any(p.requires_grad for p in lenient.module['backbone'].parameters())
