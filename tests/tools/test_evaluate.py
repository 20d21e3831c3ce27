"""tools/evaluate.py on generated files in each set's own layout."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.evaluation import IoUMetric
from mmseg.registry import MODELS
from PIL import Image

from groupvit_mmseg.benchmark import run_set as running
from groupvit_mmseg.benchmark import task
from groupvit_mmseg.benchmark.sets import BENCHMARKS
from groupvit_mmseg.conversion.open_model import open_model
from groupvit_mmseg.text.templates import TEMPLATE_SETS
from groupvit_mmseg.text.vocabulary import class_names

from loading import load_file

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'tests/data/configs/tiny_zeroshot.py'
WINDOWS = ['short_side=40', 'crop_size=32', 'stride=16']
COUNT = 3
# Image and mask of each set, and the labels its files may hold.
LAYOUTS = {
    'VOCdevkit/VOC2012': ('JPEGImages/{}.jpg', 'SegmentationClass/{}.png', range(21)),
    'VOCdevkit/VOC2010': ('JPEGImages/{}.jpg', 'SegmentationClassContext/{}.png', range(60)),
    'coco_object': ('images/val2017/{}.jpg', 'annotations/val2017/{}.png', range(81)),
    'coco_stuff164k': (
        'images/val2017/{}.jpg',
        'annotations/val2017/{}_labelTrainIds.png',
        range(171),
    ),
    'cityscapes': (
        'leftImg8bit/val/town/{}_leftImg8bit.png',
        'gtFine/val/town/{}_gtFine_labelTrainIds.png',
        range(19),
    ),
    'ade/ADEChallengeData2016': (
        'images/validation/{}.jpg',
        'annotations/validation/{}.png',
        range(151),
    ),
}


def save(array, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def make_set(root, layout, rng):
    image, mask, labels = layout
    for index in range(COUNT):
        height, width = 44 + 6 * index, 60 - 4 * index
        pixels = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
        save(pixels[:height, :width], root / image.format(f'p{index}'))
        label_map = rng.choice(labels, (6, 6)).astype(np.uint8).repeat(10, 0).repeat(10, 1)
        label_map[:2], label_map[2:12] = 255, 0
        save(label_map[:height, :width], root / mask.format(f'p{index}'))


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """All sets, generated, and the checkpoint of a random model."""
    place = tmp_path_factory.mktemp('evaluate')
    rng = np.random.default_rng(0)
    for root, layout in LAYOUTS.items():
        make_set(place / 'data' / root, layout, rng)
    names = ''.join(f'p{index}\n' for index in range(COUNT))
    for path in ('VOC2012/ImageSets/Segmentation', 'VOC2010/ImageSets/SegmentationContext'):
        (place / 'data/VOCdevkit' / path).mkdir(parents=True)
        (place / 'data/VOCdevkit' / path / 'val.txt').write_text(names)
    for index in range(COUNT):
        pixels = rng.integers(0, 256, (250, 300, 3), dtype=np.uint8)
        save(pixels, place / f'data/imagenet/val/p{index}.JPEG')
    (place / 'data/imagenet/meta').mkdir()
    (place / 'data/imagenet/meta/val.txt').write_text('p0.JPEG 3\np1.JPEG 999\np2.JPEG 0\n')
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(CONFIG).model)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=3.0 if 'group_token' in name else 0.5)
    torch.save(dict(state_dict=model.state_dict()), place / 'weights.pth')
    return place


@pytest.fixture(scope='module')
def tool():
    return load_file('tools/evaluate.py')


def run(tool, place, out, *options, sets=('voc21',), windows=WINDOWS):
    arguments = [str(place / 'weights.pth'), f'--config={CONFIG}', '--device=cpu', '--workers=0']
    arguments += [f'--data-root={place / "data"}', f'--out={out}', '--pictures=0']
    return tool.main(
        [*arguments, '--sets', *map(str, sets), '--change', *windows, *map(str, options)]
    )


@pytest.fixture(scope='module')
def everything(tool, place):
    """The folder of an evaluation on all sets."""
    with pytest.MonkeyPatch.context() as patch:
        # 80,000 sentences take long.
        patch.setitem(TEMPLATE_SETS, 'full', TEMPLATE_SETS['full'][:2])
        patch.setitem(TEMPLATE_SETS, 'subset', TEMPLATE_SETS['subset'][:1])
        assert run(tool, place, place / 'all', '--pictures=2', sets=['all']) == 0
    return place / 'all'


def test_one_command_evaluates_every_set_into_one_table(everything):
    with (everything / 'table.csv').open() as file:
        rows = {row['set']: row for row in csv.DictReader(file)}
    assert set(rows) == {benchmark.title for benchmark in BENCHMARKS.values()} | {
        'ImageNet-1k top-1, 80 templates'
    }
    assert rows['VOC20']['GroupViT GCC+RedCaps, TCL protocol'] == '79.7'
    assert (rows['VOC21']['threshold'], rows['VOC20']['threshold']) == ('0.95', '-')
    markdown = (everything / 'table.md').read_text()
    assert all(f'| {title} |' in markdown for title in rows)
    assert 'VOC21: 3 images, not the split of 1449' in markdown
    assert 'protocol changed: short_side=40' in markdown


def test_without_a_config_the_structure_is_read_off_the_weights(tool, place, tmp_path):
    pretraining = Config.fromfile(CONFIG.with_name('tiny_pretrain.py'))
    torch.manual_seed(0)
    content = dict(
        state_dict=MODELS.build(pretraining.model).state_dict(),
        meta=dict(cfg=pretraining.pretty_text),
    )
    torch.save(content, tmp_path / 'weights.pth')
    open_model(tmp_path / 'weights.pth').config.dump(tmp_path / 'same.py')
    results = []
    for name, config in (('read', []), ('stated', [f'--config={tmp_path / "same.py"}'])):
        arguments = [str(tmp_path / 'weights.pth'), f'--data-root={place / "data"}', *config]
        options = ['--sets=voc21', '--device=cpu', '--workers=0', '--pictures=0']
        out = f'--out={tmp_path / name}'
        assert tool.main([*arguments, *options, out, '--change', *WINDOWS]) == 0
        results.append(json.loads((tmp_path / name / 'voc21.json').read_text()))
    assert results[0] == results[1]
    assert results[0]['metrics']['mIoU'] > 0


@pytest.mark.parametrize('name', list(BENCHMARKS)[:-1])
def test_each_result_names_what_it_depends_on(everything, name):
    result = json.loads((everything / f'{name}.json').read_text())
    iou = [value for value in result['class_iou'].values() if value is not None]
    assert result['metrics']['mIoU'] == pytest.approx(np.mean(iou))
    assert len(result['class_iou']) == result['classes']['count']
    assert result['protocol']['name'] == 'official'
    assert result['protocol']['changes']['crop_size'] == 32
    figures = {'short_side': 40, 'top_k': 5, 'logit_scale': None, 'pamr_steps': 0}
    assert figures.items() <= result['protocol']['fields'].items()
    assert len(result['checkpoint']['sha256']) == 64
    assert result['versions']['torch'] == torch.__version__
    for picture in ('best.jpg', 'worst.jpg', 'random.jpg', 'confusion.png'):
        assert Image.open(everything / f'pictures/{name}_{picture}').size > (100, 100)


def test_sets_without_a_background_leave_its_pixels_out(everything):
    for name in ('voc20', 'ade150'):
        lines = (everything / f'journal/{name}.0.jsonl').read_text().splitlines()[1:]
        assert len(lines) == COUNT
        for line in lines:
            pairs = np.array(json.loads(line)['pairs'])
            index = json.loads(line)['index']
            assert pairs[:, 2].sum() <= (44 + 6 * index - 12) * (60 - 4 * index)
            assert pairs[:, 0].min() >= 0


def test_miou_is_that_of_mmsegs_metric(tool, place, everything):
    args = tool.parse_args([str(place / 'weights.pth'), '--out', str(everything)])
    args.config, args.device, args.data_root = CONFIG, 'cpu', place / 'data'
    args.change = dict(short_side=40, crop_size=32, stride=16)
    (row,), _ = tool.make_tasks(['context60'], tool.read_settings(args))
    segmentor = tool.load_model(args)
    row.set_up(segmentor, segmentor.decode_head.logit_scale.exp().item())
    metric = IoUMetric(prefix='mmseg')
    metric.dataset_meta = row.dataset.metainfo
    for index in range(COUNT):
        batch = pseudo_collate([row.dataset[index]])
        with torch.no_grad():
            metric.process({}, [sample.to_dict() for sample in segmentor.test_step(batch)])
    ours = json.loads((everything / 'context60.json').read_text())['metrics']
    theirs = metric.evaluate(COUNT)
    for name in ('mIoU', 'aAcc', 'mAcc'):
        assert ours[name] == pytest.approx(theirs[f'mmseg/{name}'], abs=0.0051)


def test_imagenet_is_classified_with_seven_and_eighty_templates(everything):
    for rows, templates in (('imagenet_7', 'subset'), ('imagenet_80', 'full')):
        result = json.loads((everything / f'{rows}.json').read_text())
        assert set(result['metrics']) == {'top1', 'top5'}
        assert result['protocol']['fields']['templates'] == templates
        lines = (everything / f'journal/{rows}.0.jsonl').read_text().splitlines()[1:]
        assert [json.loads(line)['label'] for line in lines] == [3, 999, 0]
        assert all(len(set(json.loads(line)['best'])) == 5 for line in lines)


def test_an_interrupted_evaluation_goes_on_at_the_image(tool, place, everything, monkeypatch):
    out, evaluated = place / 'interrupted', []
    count_pairs = running.count_pairs

    def counting(*arguments):
        if len(evaluated) == 2:
            raise KeyboardInterrupt
        evaluated.append(1)
        return count_pairs(*arguments)

    monkeypatch.setattr(running, 'count_pairs', counting)
    assert run(tool, place, out, sets=['voc21']) == 130
    journal = out / 'journal/voc21.0.jsonl'
    journal.write_text(journal.read_text()[:-9])  # as if killed while it wrote the second line
    evaluated[:] = []
    assert run(tool, place, out, sets=['voc21'], windows=WINDOWS) == 0
    assert len(evaluated) == 2  # the torn one and the third
    results = [json.loads((folder / 'voc21.json').read_text()) for folder in (out, everything)]
    assert results[0]['class_iou'] == results[1]['class_iou']


def same_numbers(one, other):
    results = [json.loads((folder / 'voc21.json').read_text()) for folder in (one, other)]
    for key in ('metrics', 'class_iou'):
        assert results[0][key] == results[1][key]


def test_shares_of_processes_and_workers_change_nothing(tool, place, everything):
    out = place / 'shares'
    for rank in (1, 0):
        assert run(tool, place, out, '--processes', 2, '--rank', rank, '--workers', 1) == 0
    assert not (out / 'voc21.json').exists()
    lengths = [len(path.read_text().splitlines()) for path in sorted(out.glob('journal/*'))]
    assert lengths == [1 + 2, 1 + 1]
    assert run(tool, place, out) == 0
    same_numbers(out, everything)


def test_images_may_share_batches_of_windows(tool, place, everything, tmp_path, monkeypatch):
    monkeypatch.setattr(task, 'IMAGENET_TEMPLATES', {'imagenet_7': 'subset'})
    monkeypatch.setitem(TEMPLATE_SETS, 'subset', TEMPLATE_SETS['subset'][:1])
    options = ['--batch-size', 2]
    assert run(tool, place, tmp_path, *options, sets=['voc21', 'imagenet']) == 0
    found = json.loads((tmp_path / 'voc21.json').read_text())
    expected = json.loads((everything / 'voc21.json').read_text())
    assert found['batch_size'] == 2
    # A tiny model's products differ in the last bit from batch to batch: a pixel may, too.
    assert found['metrics']['aAcc'] == pytest.approx(expected['metrics']['aAcc'], abs=0.1)
    lines = (tmp_path / 'journal/imagenet_7.0.jsonl').read_text().splitlines()[1:]
    assert [json.loads(line)['label'] for line in lines] == [3, 999, 0]


@pytest.mark.slow
def test_processes_change_nothing(tool, place, everything):
    out = place / 'parallel'
    assert run(tool, place, out, '--processes', 2) == 0
    lengths = [len(path.read_text().splitlines()) for path in sorted(out.glob('journal/*'))]
    assert lengths == [1 + 2, 1 + 1]
    same_numbers(out, everything)


@pytest.mark.parametrize('name, scale', [('tcl', None), ('sclip', 40.0)])
def test_protocols_of_others_are_followed_and_their_stand_ins_told(
    tool, place, tmp_path, monkeypatch, name, scale
):
    seen = []
    apply = task.apply_protocol

    def watching(segmentor, *rest):
        before = segmentor.decode_head.logit_scale.exp().item()
        apply(segmentor, *rest)
        head = segmentor.decode_head
        seen.append((before, head.logit_scale.exp().item(), len(head.background_words)))

    monkeypatch.setattr(task, 'apply_protocol', watching)
    options = ['--protocol', name]
    assert run(tool, place, tmp_path, *options, sets=['voc21', 'voc20']) == 0
    assert [words > 0 for _, _, words in seen] == [name == 'sclip', False]
    for _, after, _ in seen:
        assert after == pytest.approx(scale or seen[0][0])
    table = (tmp_path / 'table.md').read_text()
    assert f'Protocol {name}: ' in table
    assert f'| {name}* |' in table


def test_a_class_file_changes_the_words_and_is_told(tool, place, everything, tmp_path):
    names = class_names('pascal_voc')[1:]
    lines = ['background: sky, grass', *(f'{name}, photographed {name}' for name in names)]
    (tmp_path / 'voc.txt').write_text('\n'.join(lines))
    assert run(tool, place, tmp_path / 'out', '--classes', f'voc21={tmp_path / "voc.txt"}') == 0
    found = json.loads((tmp_path / 'out/voc21.json').read_text())
    before = json.loads((everything / 'voc21.json').read_text())
    assert found['classes']['changed']['aliases']['cat'] == ['photographed cat']
    assert before['classes']['changed'] is None
    assert found['classes']['digest'] != before['classes']['digest']
    assert found['metrics'] != before['metrics']


@pytest.mark.parametrize(
    'name, first, message',
    [
        ('voc20', 'background:', "label 0 of the set is 'aeroplane': leave it out"),
        ('voc21', 'sky', 'Label 0 of voc21 is the background: begin its class file with'),
        ('voc21', 'background:\nsky', 'has 21 classes, but the class list has 22'),
    ],
)
def test_a_class_file_of_other_labels_is_refused(
    tool, place, tmp_path, capsys, name, first, message
):
    names = class_names('pascal_voc')[1 + (name == 'voc20') :]
    (tmp_path / 'voc.txt').write_text('\n'.join([first, *names]))
    options = ['--classes', f'{name}={tmp_path / "voc.txt"}']
    assert run(tool, place, tmp_path / 'out', *options, sets=[name]) == 2
    assert message in error(capsys)


OWN_SET = """
test_dataloader = dict(
    dataset=dict(
        type='BaseSegDataset',
        metainfo=dict(classes={classes}),
        data_root={root!r},
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
        ann_file='ImageSets/Segmentation/val.txt',
        img_suffix='.jpg',
        seg_map_suffix='.png',
    )
)
"""


def own_set(place, tmp_path, classes):
    path = tmp_path / 'pets.py'
    path.write_text(OWN_SET.format(classes=classes, root=str(place / 'data/VOCdevkit/VOC2012')))
    return path


def test_a_set_of_ones_own_is_evaluated_like_a_benchmark(tool, place, everything, tmp_path):
    path = own_set(place, tmp_path, list(class_names('pascal_voc')))
    change = [*WINDOWS, 'bg_thresh=0.95']
    assert run(tool, place, tmp_path / 'out', sets=['voc21', path], windows=change) == 0
    found = json.loads((tmp_path / 'out/pets.json').read_text())
    expected = json.loads((everything / 'voc21.json').read_text())
    assert found['metrics'] == expected['metrics']
    assert 'bg_thresh' not in found['protocol']['changes']  # the set has no threshold without it
    with (tmp_path / 'out/table.csv').open() as file:
        rows = {row['set']: row for row in csv.DictReader(file)}
    assert (rows['pets']['ours'], rows['pets']['SCLIP']) == (rows['VOC21']['ours'], '-')
    assert 'pets: 3 images, not' not in (tmp_path / 'out/table.md').read_text()


def test_background_words_tell_the_background_of_a_set_of_ones_own(tool, place, tmp_path):
    names = class_names('pascal_voc')
    path = own_set(place, tmp_path, list(names))
    (tmp_path / 'words.txt').write_text('\n'.join(['background: sky, grass', *names[1:]]))
    options = ['--classes', f'pets={tmp_path / "words.txt"}']
    assert run(tool, place, tmp_path / 'file', *options, sets=[path]) == 0
    words = ['background_words=sky,grass']
    assert run(tool, place, tmp_path / 'words', sets=[path], windows=[*WINDOWS, *words]) == 0
    results = [json.loads((tmp_path / f'{n}/pets.json').read_text()) for n in ('file', 'words')]
    assert results[0]['metrics'] == results[1]['metrics']
    assert results[0]['protocol']['fields']['background_words'] == ['sky', 'grass']


@pytest.mark.parametrize(
    'content, message',
    [
        ('x = 1', 'has no test_dataloader'),
        (OWN_SET.format(classes=[], root='.'), 'names no classes or no folder'),
        (OWN_SET.format(classes=['background', 'cat'], root='.'), 'give one with bg_thresh'),
        (OWN_SET.format(classes=['cat', 'dog'], root='nowhere'), 'There is no nowhere for pets'),
        (OWN_SET.format(classes=repr('cat, dog'), root='.'), "are the text 'cat, dog'"),
        (OWN_SET.format(classes=['cat', 1], root='.'), 'names no classes, or not by words'),
        (OWN_SET.format(classes=['cat'], root='.').replace('Base', 'Bass'), "'BassSegDataset'"),
    ],
)
def test_a_config_that_is_no_set_is_one_sentence(tool, place, tmp_path, capsys, content, message):
    (tmp_path / 'pets.py').write_text(content)
    assert run(tool, place, tmp_path / 'out', sets=[tmp_path / 'pets.py']) == 2
    assert message in error(capsys)


def error(capsys):
    message = capsys.readouterr().err
    assert message.startswith('error: ')
    assert message.count('\n') == 1, message
    return message


def test_results_of_other_settings_are_not_mixed(tool, place, everything, capsys):
    assert run(tool, place, everything, sets=['voc20'], windows=[*WINDOWS, 'top_k=2']) == 2
    assert 'begun with another protocol' in error(capsys)


def test_sets_of_all_that_are_not_there_are_told(tool, place, tmp_path):
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data/cityscapes').symlink_to(place / 'data/cityscapes')
    options = [f'--data-root={tmp_path / "data"}']
    assert run(tool, place, tmp_path / 'out', *options, sets=['all']) == 0
    table = (tmp_path / 'out/table.md').read_text()
    assert '| Cityscapes |' in table
    assert table.count('left out, there is no') == len(BENCHMARKS) - 1


@pytest.mark.parametrize(
    'options, message',
    [
        (['--sets', 'all', '--data-root', 'nowhere'], 'nowhere holds none of the sets'),
        (['--sets', 'voc22'], 'Unknown set voc22'),
        (['--sets', 'pets.py'], 'There is no config of a set at pets.py'),
        (['--data-root', 'nowhere'], 'There is no nowhere/VOCdevkit/VOC2012 for voc21'),
        (['--change', 'treshold=0.5'], 'no treshold to change'),
        (['--change', 'pamr_steps=-1'], 'pamr_steps = -1'),
        (
            ['--classes', 'voc12=words.txt'],
            '--classes names voc12, which --sets does not: use voc21',
        ),
        (['--root', 'voc20=data'], '--root names voc20, which --sets does not'),
        (['--device', 'gpu'], "cannot use the device 'gpu'"),
        (['--processes', 0], '--processes 0 must be at least 1'),
        (['--batch-size', 0], '--batch-size 0 must be at least 1'),
        (['--limit', 0], '--limit 0 must be at least 1'),
        (['--workers', -1], '--workers -1 must be at least 0'),
        (['--rank', 1], '--rank 1 is no process of --processes 1'),
        (['--config', 'none.py'], 'There is no config at none.py'),
        (
            ['--classes', 'voc21=cat,dog'],
            "The class file of voc21 is ['cat', 'dog']",
        ),
        (
            ['--sets', 'voc20', '--change', 'bg_thresh=0.5', 'background_words=sky'],
            'background_words and bg_thresh would change nothing',
        ),
    ],
)
def test_wrong_options_are_one_sentence(tool, place, tmp_path, capsys, options, message):
    assert run(tool, place, tmp_path, *options) == 2
    assert message in error(capsys)


MODEL_CHANGES = dict(
    window_batch_size=dict(test_cfg=dict(window_batch_size=2)),
    alias_pooling=dict(decode_head=dict(alias_pooling='mean')),
    backbone=dict(backbone=dict(num_heads=(1, 1))),
    normalisation=dict(data_preprocessor=dict(mean=[0, 0, 0])),
)


@pytest.mark.parametrize('name', MODEL_CHANGES)
def test_a_journal_knows_configs_of_the_model_apart(
    tool, place, everything, tmp_path, capsys, name
):
    cfg = Config.fromfile(CONFIG)
    cfg.dump(tmp_path / 'same.py')
    cfg.merge_from_dict(dict(model=MODEL_CHANGES[name]))
    cfg.dump(tmp_path / 'other.py')
    described = tool.describe_model(Config.fromfile(CONFIG))
    assert tool.describe_model(Config.fromfile(tmp_path / 'same.py')) == described
    assert tool.describe_model(Config.fromfile(tmp_path / 'other.py')) != described
    assert run(tool, place, everything, f'--config={tmp_path / "other.py"}') == 2
    assert 'begun with another model' in error(capsys)


def settings_of(tool, place, out, *options):
    given = [str(place / 'weights.pth'), f'--config={CONFIG}', f'--data-root={place / "data"}']
    return tool.read_settings(tool.parse_args([*given, f'--out={out}', *map(str, options)]))


def test_settings_hold_what_the_command_line_says(tool, place, tmp_path):
    options = ['--precision=bf16', '--batch-size=3', '--limit=2', '--device=cuda', '--protocol=tcl']
    settings = settings_of(tool, place, tmp_path, *options, '--change', 'top_k=2')
    assert (settings.precision, settings.batch_size, settings.limit) == ('bf16', 3, 2)
    assert (settings.device, settings.protocol, settings.changes) == ('cuda', 'tcl', dict(top_k=2))
    args = tool.parse_args([str(place / 'weights.pth'), f'--out={tmp_path}', '--precision=bf16'])
    args.config, args.device = CONFIG, 'cpu'
    assert tool.load_model(args).options.precision == 'bf16'


def test_rows_that_are_told_apart_by_their_templates_keep_them(tool, place, tmp_path):
    settings = settings_of(tool, place, tmp_path, '--change', 'templates=simple')
    rows, _ = tool.make_tasks(['imagenet', 'voc20'], settings)
    assert [row.protocol.templates for row in rows] == ['subset', 'full', 'simple']


def test_words_for_a_set_that_takes_none_are_refused(tool, place, tmp_path, capsys):
    (tmp_path / 'words.txt').write_text('cat')
    options = ['--classes', f'imagenet={tmp_path / "words.txt"}']
    assert run(tool, place, tmp_path / 'out', *options, sets=['imagenet']) == 2
    assert 'A class file is given for imagenet, which is not evaluated or takes none' in error(
        capsys
    )


def test_a_crf_without_its_package_is_one_sentence(tool, place, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pydensecrf', None)
    assert run(tool, place, tmp_path, windows=[*WINDOWS, 'crf_steps=2']) == 2
    assert 'pip install "groupvit-mmseg[crf]"' in error(capsys)


def spoil_label(root):
    save(np.full((44, 60), 99, np.uint8), root / 'SegmentationClass/p0.png')


def spoil_palette(root):
    save(np.zeros((44, 60, 3), np.uint8), root / 'SegmentationClass/p0.png')


def spoil_mask(root):
    (root / 'SegmentationClass/p1.png').unlink()


def spoil_depth(root):
    save(np.full((44, 60), 256 + 7, np.uint16), root / 'SegmentationClass/p0.png')


def spoil_size(root):
    save(np.full((50, 60), 7, np.uint8), root / 'SegmentationClass/p0.png')


def spoil_turn(root):
    path, exif = root / 'JPEGImages/p0.jpg', Image.Exif()
    exif[274] = 6
    Image.open(path).save(path, exif=exif)


def spoil_binary(root):
    for path in (root / 'SegmentationClass').iterdir():
        mask = np.array(Image.open(path))
        save(np.where(mask > 0, 255, 0).astype(np.uint8), path)


def spoil_ending(root):
    for path in (root / 'JPEGImages').iterdir():
        path.rename(path.with_suffix('.JPG'))


def spoil_list(root):
    path = root / 'ImageSets/Segmentation/val.txt'
    path.write_text(path.read_text(), encoding='utf-8-sig')


@pytest.mark.filterwarnings('ignore:Please pay attention your ground truth')
@pytest.mark.parametrize(
    'spoil, message',
    [
        (spoil_label, 'has label 99, but there are only 21 classes'),
        (spoil_palette, 'p0.png has colours instead of labels'),
        (spoil_mask, 'There is no mask'),
        (spoil_depth, 'p0.png (uint16) has label 263'),
        (spoil_size, 'p0.png has 60 x 50 pixels, but its image'),
        (spoil_turn, 'turned by its EXIF orientation 6 and the mask is not'),
        (spoil_binary, 'are 0 and 255 only, and 255 is ignored'),
        (spoil_ending, 'but p0.JPG is there'),
        (spoil_list, 'begins with a byte-order mark'),
    ],
)
def test_bad_masks_are_one_sentence_before_the_forward_pass(
    tool, place, tmp_path, capsys, monkeypatch, spoil, message
):
    rng = np.random.default_rng(0)
    make_set(tmp_path / 'data', LAYOUTS['VOCdevkit/VOC2012'], rng)
    lists = tmp_path / 'data/ImageSets/Segmentation'
    lists.mkdir(parents=True)
    (lists / 'val.txt').write_text('p0\np1\n')
    spoil(tmp_path / 'data')
    encoded = []
    load = tool.load_model

    def counting(args):
        segmentor = load(args)
        segmentor.backbone.encode = encoded.append
        return segmentor

    monkeypatch.setattr(tool, 'load_model', counting)
    assert run(tool, place, tmp_path / 'out', '--root', f'voc21={tmp_path / "data"}') == 2
    assert message in error(capsys)
    assert not encoded


def unreadable_picture(path):
    path.write_bytes(path.read_bytes()[:900])


def picture_of_one_pixel(path):
    save(np.zeros((1, 1, 3), np.uint8), path)


def long_strip(path):
    save(np.zeros((8, 60_000, 3), np.uint8), path)


@pytest.mark.parametrize(
    'spoil, message, workers',
    [
        (unreadable_picture, 'p2.jpg cannot be read as an image', 1),
        (picture_of_one_pixel, 'p2.jpg has 1 x 1: save both at the same size', 0),
        (long_strip, 'p2.jpg cannot be evaluated (it is too long and thin to be resized', 0),
    ],
)
def test_a_bad_picture_is_one_sentence_and_what_is_done_stays(
    tool, place, tmp_path, capsys, spoil, message, workers
):
    make_set(tmp_path / 'data', LAYOUTS['VOCdevkit/VOC2012'], np.random.default_rng(0))
    lists = tmp_path / 'data/ImageSets/Segmentation'
    lists.mkdir(parents=True)
    (lists / 'val.txt').write_text('p0\np1\np2\n')
    picture = tmp_path / 'data/JPEGImages/p2.jpg'
    whole = picture.read_bytes()
    spoil(picture)
    own = ('--root', f'voc21={tmp_path / "data"}')
    assert run(tool, place, tmp_path / 'out', *own, f'--workers={workers}') == 2
    said = error(capsys)
    assert said.startswith('error: ')
    assert message in said
    assert said.count('\n') == 1
    journal = tmp_path / 'out/journal/voc21.0.jsonl'
    assert [json.loads(line)['index'] for line in journal.read_text().splitlines()[1:]] == [0, 1]
    picture.write_bytes(whole)
    assert run(tool, place, tmp_path / 'out', *own) == 0


def test_a_picture_that_cannot_be_read_is_named_and_loses_nothing(
    tool, place, tmp_path, capsys, monkeypatch
):
    make_set(tmp_path / 'data', LAYOUTS['VOCdevkit/VOC2012'], np.random.default_rng(0))
    lists = tmp_path / 'data/ImageSets/Segmentation'
    lists.mkdir(parents=True)
    (lists / 'val.txt').write_text('p0\np1\np2\n')
    image = tmp_path / 'data/JPEGImages/p1.jpg'
    whole = image.read_bytes()
    image.write_bytes(b'no picture')
    done, options = [], ['--root', f'voc21={tmp_path / "data"}']
    count = running.count_pairs
    monkeypatch.setattr(running, 'count_pairs', lambda *given: done.append(1) or count(*given))
    assert run(tool, place, tmp_path / 'out', *options, '--workers=1') == 2
    assert f'{image} cannot be read as an image' in error(capsys)
    assert len(done) == 1
    image.write_bytes(whole)
    assert run(tool, place, tmp_path / 'out', *options) == 0
    assert len(done) == 3
    assert json.loads((tmp_path / 'out/voc21.json').read_text())['images']['evaluated'] == 3


def test_a_background_of_another_spelling_is_told_by_the_threshold(tool, place, tmp_path):
    path = own_set(place, tmp_path, ['_background_', *class_names('pascal_voc')[1:]])
    change = [*WINDOWS, 'bg_thresh=0.95']
    assert run(tool, place, tmp_path / 'out', '--limit=1', sets=[path], windows=change) == 0
    found = json.loads((tmp_path / 'out/pets.json').read_text())
    assert found['protocol']['fields']['bg_thresh'] == 0.95
    assert found['class_iou']['_background_'] is not None


def test_another_ignored_label_of_a_set_is_ignored(tool, place, everything, tmp_path):
    rng = np.random.default_rng(0)
    make_set(tmp_path / 'data', LAYOUTS['VOCdevkit/VOC2012'], rng)
    for path in (tmp_path / 'data/SegmentationClass').iterdir():
        mask = np.array(Image.open(path))
        save(np.where(mask == 255, 21, mask).astype(np.uint8), path)
    path = own_set(place, tmp_path, list(class_names('pascal_voc')))
    text = path.read_text().replace(str(place / 'data/VOCdevkit/VOC2012'), str(tmp_path / 'data'))
    text = text.replace("        ann_file='ImageSets/Segmentation/val.txt',\n", '')
    path.write_text(text.replace("type='Base", "ignore_index=21, type='Base"))
    change = [*WINDOWS, 'bg_thresh=0.95']
    assert run(tool, place, tmp_path / 'out', sets=[path], windows=change) == 0
    found = json.loads((tmp_path / 'out/pets.json').read_text())
    expected = json.loads((everything / 'voc21.json').read_text())
    assert found['metrics'] == expected['metrics']


def test_a_picture_too_narrow_for_the_model_is_named(tool, place, tmp_path, capsys):
    save(np.zeros((400, 1, 3), np.uint8), tmp_path / 'data/JPEGImages/p0.jpg')
    save(np.ones((400, 1), np.uint8), tmp_path / 'data/SegmentationClass/p0.png')
    lists = tmp_path / 'data/ImageSets/Segmentation'
    lists.mkdir(parents=True)
    (lists / 'val.txt').write_text('p0')
    assert run(tool, place, tmp_path / 'out', '--root', f'voc21={tmp_path / "data"}') == 2
    assert 'JPEGImages/p0.jpg has 1 x 400 pixels: each side needs at least 8' in error(capsys)
