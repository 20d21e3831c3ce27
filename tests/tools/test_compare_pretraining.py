"""From the weights and from scratch, side by side."""

import json

import pytest
import torch
from mmseg.registry import MODELS

from loading import load_file


@pytest.fixture(scope='module')
def tool():
    return load_file('tools/benchmarks/compare_pretraining.py')


@pytest.fixture
def place(tiny_config, tiny_data, tmp_path):
    """A config of three steps on the tiny masks, weights for its backbone, and a list of images."""
    cfg = tiny_config.copy()
    preprocessing = dict(cfg.model.data_preprocessor, type='SegDataPreProcessor', size=(16, 16))
    loader = cfg.val_dataloader
    head = dict(type='FCNHead', in_channels=16, in_index=0, channels=8, num_convs=1, num_classes=3)
    cfg.merge_from_dict(
        dict(
            model=dict(
                _delete_=True,
                type='EncoderDecoder',
                data_preprocessor=preprocessing,
                backbone=cfg.model.backbone,
                decode_head=head,
                test_cfg=dict(mode='whole'),
            ),
            train_dataloader=dict(
                loader, sampler=dict(type='InfiniteSampler', shuffle=True), _delete_=True
            ),
            train_cfg=dict(_delete_=True, type='IterBasedTrainLoop', max_iters=3, val_interval=3),
            val_cfg=dict(_delete_=True, type='ValLoop'),
            optim_wrapper=dict(
                _delete_=True, type='OptimWrapper', optimizer=dict(type='SGD', lr=0.0)
            ),
            log_processor=dict(by_epoch=False),
            default_hooks=dict(checkpoint=dict(by_epoch=False, interval=3)),
        )
    )
    cfg.dump(tmp_path / 'config.py')
    weights = MODELS.build(cfg.model.backbone).state_dict()
    torch.save({key: value + 1 for key, value in weights.items()}, tmp_path / 'weights.pth')
    (tmp_path / 'list.txt').write_text('0\n1\n2\n3\n')
    return tmp_path


def run(tool, place, tiny_data, *options):
    arguments = [
        str(place / 'config.py'),
        f'--weights={place / "weights.pth"}',
        f'--data-root={tiny_data}',
        f'--list={place / "list.txt"}',
        f'--out={place / "out"}',
        *options,
    ]
    return tool.main(arguments)


def backbone_of(run_folder):
    checkpoint = torch.load(run_folder / 'iter_3.pth', weights_only=True)
    return checkpoint['state_dict']['backbone.norm.weight']


def test_both_starts_are_trained_once_and_put_side_by_side(
    tool, place, tiny_data, monkeypatch, capsys
):
    assert run(tool, place, tiny_data, '--seeds', '0') == 0
    out = place / 'out'
    assert (out / 'train.txt').read_text().split() == ['0', '2']
    assert (out / 'test.txt').read_text().split() == ['1', '3']
    # Nothing is learnt at a rate of 0: what was begun with is in the checkpoints.
    assert torch.equal(backbone_of(out / 'pretrained-0'), torch.full((16,), 2.0))
    assert torch.equal(backbone_of(out / 'scratch-0'), torch.ones(16))
    runs = json.loads((out / 'result.json').read_text())['runs']
    assert {len(seeds) for seeds in runs.values()} == {1}
    assert all(0 <= one['mIoU'] <= 100 for seeds in runs.values() for one in seeds.values())
    table = (out / 'table.md').read_text()
    assert f'{runs["pretrained"]["0"]["mIoU"]:.2f}' in table
    monkeypatch.setattr(tool.RUNNERS, 'build', lambda cfg: pytest.fail('trained again'))
    assert run(tool, place, tiny_data, '--seeds', '0') == 0
    assert (out / 'table.md').read_text() == table
    torch.save({}, place / 'weights.pth')
    assert run(tool, place, tiny_data, '--seeds', '0') == 2
    assert 'is of other settings' in capsys.readouterr().err


def test_the_tables_numbers_are_means_and_deviations(tool):
    rows = {
        'scratch': {0: dict(mIoU=1.0, aAcc=50.0), 1: dict(mIoU=3.0, aAcc=70.0)},
        'pretrained': {0: dict(mIoU=5.0, aAcc=80.0), 1: dict(mIoU=5.0, aAcc=80.0)},
    }
    lines = tool.table(rows).splitlines()
    assert lines[0] == 'mIoU:'
    assert lines[4] == '| scratch | 2.00 ± 1.41 | - | 2 | 1.00 | 3.00 |'
    # Differences 4 and 2: their standard error is sqrt(2) / sqrt(2).
    assert lines[5] == '| pretrained | 5.00 ± 0.00 | +3.00 ± 1.00 | 2 | 5.00 | 5.00 |'
    assert lines[-1] == '| pretrained | 80.00 ± 0.00 | +20.00 ± 10.00 | 2 | 80.00 | 80.00 |'


@pytest.mark.parametrize(
    'options, sentence',
    [
        (['--weights=nowhere.pth'], 'There is no checkpoint at nowhere.pth'),
        (['--list=nowhere.txt'], 'nowhere.txt'),
    ],
)
def test_what_is_missing_is_told(tool, place, tiny_data, capsys, options, sentence):
    assert run(tool, place, tiny_data, *options) == 2
    assert sentence in capsys.readouterr().err
