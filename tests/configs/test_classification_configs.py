"""MMPretrain's classifier on the backbone: from the config through the training tool."""

import runpy
import shutil
import sys
from pathlib import Path

import mmpretrain
import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
LEAVES = sorted((ROOT / 'configs' / 'classification').glob('*.py'))
# Ours, and the one that MMPretrain installs.
OURS = ROOT / 'tools' / 'train.py'
THEIRS = Path(mmpretrain.__path__[0], '.mim', 'tools', 'train.py')


@pytest.fixture(scope='module')
def imagenet(tmp_path_factory):
    """Two images of each of four classes for training, one for validation, and their lists."""
    root = tmp_path_factory.mktemp('imagenet')
    rng = np.random.RandomState(0)
    (root / 'meta').mkdir()
    for split, count in (('train', 8), ('val', 4)):
        (root / split).mkdir()
        labels = [i % 4 for i in range(count)]
        for i, label in enumerate(labels):
            pixels = rng.randint(60 * label, 60 * label + 60, (40, 48, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(root / split / f'{i}.jpg')
        lines = [f'{i}.jpg {label}' for i, label in enumerate(labels)]
        (root / 'meta' / f'{split}.txt').write_text('\n'.join(lines))
    return root


def options(imagenet, work_dir):
    """One epoch of two steps on the CPU; the paper's width and stages."""
    loaders = [f'{split}_dataloader' for split in ('train', 'val', 'test')]
    return [
        *(f'{loader}.dataset.data_root={imagenet}' for loader in loaders),
        *(f'{loader}.num_workers=0' for loader in loaders),
        *(f'{loader}.persistent_workers=False' for loader in loaders),
        *(f'{loader}.batch_size=4' for loader in loaders),
        'train_cfg.max_epochs=1',
        'model.backbone.init_cfg=None',
        'model.backbone.img_size=32',
        'model.backbone.depths=[1,1,1]',
        'model.backbone.num_group_tokens=[8,4,0]',
        'model.backbone.num_output_groups=[8,4]',
        'log_level=ERROR',
        f'work_dir={work_dir}',
        f'experiment_name={work_dir.name}',
        f'visualizer.name={work_dir.name}',
    ]


def run_main(tool):
    """Runs a tool as ``python TOOL`` does; it must succeed."""
    try:
        runpy.run_path(str(tool), run_name='__main__')
    except SystemExit as end:
        if end.code:
            raise


@pytest.mark.parametrize(
    'tool,flags',
    [
        (OURS, []),
        pytest.param(OURS, ['--amp'], marks=pytest.mark.slow),
        pytest.param(THEIRS, [], marks=pytest.mark.slow),
        pytest.param(THEIRS, ['--amp'], marks=pytest.mark.slow),
    ],
    ids=['our tool', 'mixed precision', "MMPretrain's tool", "MMPretrain's mixed precision"],
)
@pytest.mark.parametrize('path', LEAVES, ids=[path.stem for path in LEAVES])
@pytest.mark.filterwarnings('ignore::UserWarning')
def test_two_steps_and_a_score(path, tool, flags, imagenet, tmp_path, monkeypatch):
    arguments = [str(tool), str(path), *flags, '--cfg-options', *options(imagenet, tmp_path)]
    monkeypatch.setattr(sys, 'argv', arguments)
    run_main(tool)
    checkpoint = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)
    losses = checkpoint['message_hub']['log_scalars']['train/loss']['values']
    assert losses.shape == (2,)
    assert torch.isfinite(losses).all()
    learnt = len(checkpoint['optimizer']['state'])
    if 'linear' in path.stem:
        assert learnt == 2  # weight and bias of the head
    else:
        assert learnt == sum(not is_buffer(name) for name in checkpoint['state_dict'])


@pytest.mark.slow
@pytest.mark.parametrize('path', LEAVES, ids=[path.stem for path in LEAVES])
@pytest.mark.filterwarnings('ignore::UserWarning')
def test_mmpretrains_test_draws_and_augments(path, imagenet, tmp_path, monkeypatch):
    def run(tool, *arguments):
        monkeypatch.setattr(sys, 'argv', [str(tool), *map(str, arguments)])
        run_main(tool)

    run(OURS, path, '--cfg-options', *options(imagenet, tmp_path))
    (tmp_path / 'kept').mkdir()  # each run writes its config into the work dir again
    config = shutil.copy(tmp_path / path.name, tmp_path / 'kept')
    test, shown = THEIRS.with_name('test.py'), tmp_path / 'shown'
    run(test, config, tmp_path / 'epoch_1.pth', '--show-dir', shown, '--interval', 1)
    run(test, config, tmp_path / 'epoch_1.pth', '--tta', '--out', tmp_path / 'tta.pkl')
    assert len(list(shown.rglob('*.png'))) == 4
    assert (tmp_path / 'tta.pkl').is_file()


def is_buffer(name):
    return name.endswith(('running_mean', 'running_var', 'num_batches_tracked'))
