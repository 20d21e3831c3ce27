"""The data through mmengine's own loops, and on the real photographs where they are."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import Runner

from groupvit_mmseg.datasets import check_loader

ROOT = Path(__file__).resolve().parents[2]
FLICKR8K = ROOT.parent / 'shared' / 'data' / 'flickr8k_128'


class KeyRecorder(BaseModel):
    """Records what a run reads; its loss only keeps the optimiser busy."""

    def __init__(self):
        super().__init__(dict(type='ImgDataPreprocessor', mean=[0.0] * 3, std=[255.0] * 3))
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.keys, self.brightest = [], 0.0

    def forward(self, inputs, mode, token_ids, captions, prompts, keys, **others):
        assert inputs.dtype == torch.float32
        assert len(captions) == len(prompts) == len(keys) == len(inputs) == len(token_ids)
        self.brightest = max(self.brightest, inputs.max().item())
        self.keys += keys
        return dict(loss=self.weight * inputs.mean())


@pytest.fixture
def make_runner(make_source, tmp_path):
    runners = []

    def make(train_cfg, name, num_workers=0, **options):
        source, keys = make_source(f'pairs{name}', [5, 3, 8])
        loader = dict(
            batch_size=4,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            drop_last=True,
            sampler=dict(type='ImageTextSampler'),
            collate_fn=dict(type='collate_image_text'),
            dataset=dict(
                type='ImageTextDataset',
                sources=[source],
                pipeline=[
                    dict(type='LoadImageText'),
                    dict(type='CaptionPrompts', num_prompts=2),
                    dict(type='PackImageText', context_length=8),
                ],
            ),
        )
        runner = Runner(
            KeyRecorder(),
            work_dir=str(tmp_path / name),
            train_dataloader=loader,
            train_cfg=train_cfg,
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
            default_hooks=dict(image_text=dict(type='ImageTextDataHook')),
            randomness=dict(seed=0),
            default_scope='mmseg',
            log_level='ERROR',
            experiment_name=f'{tmp_path.name}-{name}',
            **options,
        )
        runners.append(runner)
        return runner, keys

    yield make
    for runner in runners:  # workers that the garbage collector finds take 5 seconds each to end
        runner.train_dataloader._iterator = None


@pytest.mark.parametrize('num_workers', [0, 2])
def test_epochs_differ_and_each_is_whole(make_runner, num_workers):
    runner, keys = make_runner(dict(by_epoch=True, max_epochs=3), f'e{num_workers}', num_workers)
    model = runner.train()
    epochs = [model.keys[i : i + 16] for i in range(0, 48, 16)]
    assert len(model.keys) == 48
    assert all(sorted(epoch) == sorted(keys) for epoch in epochs)
    assert len(set(map(tuple, epochs))) == 3
    assert 0 < model.brightest <= 1


def test_iterations_run_on_into_the_next_epoch(make_runner, monkeypatch):
    monkeypatch.setattr('time.sleep', lambda seconds: None)  # mmengine waits at an epoch's end
    runner, keys = make_runner(dict(by_epoch=False, max_iters=8), 'i')
    model = runner.train()
    assert sorted(model.keys[:16]) == sorted(model.keys[16:]) == sorted(keys)
    assert model.keys[:16] != model.keys[16:]


def test_a_run_resumed_at_an_epoch_reads_what_it_would_have(make_runner, tmp_path):
    whole = make_runner(dict(by_epoch=True, max_epochs=3), 'w')[0].train()
    first, _ = make_runner(dict(by_epoch=True, max_epochs=1), 'f')
    first.train()
    checkpoint = tmp_path / 'f' / 'epoch_1.pth'
    rest, _ = make_runner(
        dict(by_epoch=True, max_epochs=3), 'r', resume=True, load_from=str(checkpoint)
    )
    model = rest.train()
    plain = [key.split('/')[1] for key in whole.keys]
    assert [key.split('/')[1] for key in model.keys] == plain[16:]


@pytest.mark.skipif(not FLICKR8K.is_dir(), reason='flickr8k_128 is not beside the repository')
@pytest.mark.parametrize('num_workers', [0, 2])
def test_real_photographs_once_through_the_recipe_of_the_paper(num_workers):
    base = Config.fromfile(ROOT / 'configs' / '_base_' / 'datasets' / 'image_text_224.py')
    cfg = base.train_dataloader.to_dict()
    cfg.update(batch_size=16, num_workers=num_workers, persistent_workers=False, pin_memory=False)
    cfg['dataset'].update(
        sources=[dict(shards='flickr8k-val-*.tar', data_root=str(FLICKR8K), name='flickr8k')],
        shuffle_buffer=64,
    )
    loader = Runner.build_dataloader(cfg, seed=0)
    check_loader(loader, 1)
    keys, skipped = [], []
    for batch in loader if num_workers else [next(iter(loader))]:
        assert batch['inputs'].shape == (16, 3, 224, 224)
        assert batch['token_ids'].shape == (16, 4, 77)
        keys, skipped = keys + batch['keys'], skipped + batch['skipped']
    assert len(keys) == len(set(keys)) == (591 // 16 * 16 if num_workers else 16)
    assert skipped == []
