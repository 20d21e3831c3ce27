"""tools/evaluate.py --measures against plain code, on a tiny model."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from PIL import Image

from groupvit_mmseg.benchmark.apply_protocol import logit_scale_of
from groupvit_mmseg.benchmark.stored_predictions import decode_labels
from groupvit_mmseg.evaluation import BoundaryIoUMetric
from groupvit_mmseg.models import OpenVocabularyModel

from loading import load_file

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'tests/data/configs/tiny_zeroshot.py'
NAMES = ['background', 'cat', 'dog']


@pytest.fixture(scope='module')
def tool():
    return load_file('tools/evaluate.py')


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    place, rng = tmp_path_factory.mktemp('measures'), np.random.default_rng(0)
    for folder in ('images', 'masks'):
        (place / folder).mkdir()
    for index in range(3):
        pixels = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
        Image.fromarray(pixels).save(place / f'images/{index}.png')
        labels = rng.integers(0, 3, (5, 6), dtype=np.uint8).repeat(10, 0).repeat(10, 1)
        labels[:5] = 255
        Image.fromarray(labels).save(place / f'masks/{index}.png')
    (place / 'classes.txt').write_text('background:\ncat, kitten\ndog\n')
    torch.manual_seed(0)
    init_default_scope('mmseg')
    model = MODELS.build(Config.fromfile(CONFIG).model)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=3.0 if 'group_token' in name else 0.5)
    torch.save(dict(state_dict=model.state_dict()), place / 'weights.pth')
    return place


def arguments(place, out, *options, config=CONFIG):
    files = [f'--{kind}={place / kind}' for kind in ('images', 'masks')]
    windows = ['bg_thresh=0.2', 'short_side=40', 'crop_size=32', 'stride=16']
    return [
        *(str(place / 'weights.pth'), *files, f'--classes={place / "classes.txt"}'),
        *(f'--config={config}', f'--out={out}', '--device=cpu', '--workers=0', '--pictures=1'),
        *('--change', *windows, *options),
    ]


ALL = ('--measures', 'boundary', 'calibration', 'single-query')


@pytest.fixture(scope='module')
def result(tool, place):
    assert tool.main(arguments(place, place / 'all', *ALL)) == 0
    return json.loads((place / 'all/own.json').read_text())


@pytest.fixture(scope='module')
def samples(tool, place, result):
    """The segmentor, its data set, and the samples with predictions and scores."""
    args = tool.parse_args(arguments(place, place / 'all', *ALL))
    args.sets = [str(place / 'all/own.py')]
    (task,), _ = tool.make_tasks(args.sets, tool.read_settings(args))
    segmentor = tool.load_model(args)
    task.set_up(segmentor, logit_scale_of(segmentor))
    segmentor.test_cfg = {**segmentor.test_cfg, 'with_scores': True}
    batches = [pseudo_collate([task.dataset[index]]) for index in range(3)]
    with torch.no_grad():
        return segmentor, task, [segmentor.test_step(batch)[0] for batch in batches]


def test_boundary_iou_is_that_of_the_metric(result, samples):
    metric = BoundaryIoUMetric()
    metric.dataset_meta = dict(classes=NAMES)
    metric.process({}, [sample.to_dict() for sample in samples[2]])
    assert result['metrics']['boundary_mIoU'] == pytest.approx(
        metric.evaluate(3)['boundary/mIoU'], abs=0.006
    )


def test_calibration_error_is_that_of_the_scores(result, samples, place):
    gaps = {}
    for sample in samples[2]:
        scores, labels = sample.seg_logits.data, sample.pred_sem_seg.data[0]
        best = scores[1:].amax(0)
        confidence = torch.where(labels == 0, 1 - best, best)
        truth = sample.gt_sem_seg.data[0]
        for value, right in zip(confidence[truth != 255], (labels == truth)[truth != 255]):
            gaps.setdefault(min(int(float(value) * 15), 14), []).append((float(value), bool(right)))
    total = sum(map(len, gaps.values()))
    error = (
        sum(abs(sum(value - right for value, right in pairs)) for pairs in gaps.values()) / total
    )
    assert result['metrics']['ECE'] == pytest.approx(100 * error, abs=1e-3)
    assert sum(result['measures']['calibration']['pixels']) == total
    assert (place / 'all/pictures/own_calibration.png').stat().st_size > 1000


def test_a_single_query_is_a_segmentation_with_one_class(result, samples):
    segmentor, task, predicted = samples
    before = segmentor.classes
    for label, name in ((1, 'cat'), (2, 'dog')):
        aliases = {'cat': ['kitten']} if name == 'cat' else {}
        options = dict(with_background=True, bg_thresh=0.2, aliases=aliases)
        segmentor.set_classes(['background', name], background_words=['other'], **options)
        areas = np.zeros(2)
        for index in range(3):
            batch = pseudo_collate([task.dataset[index]])
            batch['data_samples'][0].gt_sem_seg.data.clamp_(max=1)
            with torch.no_grad():
                (sample,) = segmentor.test_step(batch)
            truth = predicted[index].gt_sem_seg.data[0]
            found = (sample.pred_sem_seg.data[0] == 1) & (truth != 255)
            areas += [int((found & (truth == label)).sum()), int((found | (truth == label)).sum())]
        expected = 100 * areas[0] / areas[1]
        assert result['measures']['single-query'][name] == pytest.approx(expected)
        assert 0 < expected < 100
    segmentor.set_classes(before)
    mean = np.mean(list(result['measures']['single-query'].values()))
    assert result['metrics']['query_mIoU'] == pytest.approx(mean)


@pytest.mark.slow
def test_an_interrupted_evaluation_has_the_same_measures(tool, place, result):
    out = place / 'parts'
    assert tool.main(arguments(place, out, *ALL, '--limit=2')) == 0
    assert tool.main(arguments(place, out, *ALL)) == 0
    assert json.loads((out / 'own.json').read_text()) == result


def test_a_journal_without_measures_is_not_continued_with_them(tool, place, capsys):
    assert tool.main(arguments(place, place / 'plain')) == 0
    plain = json.loads((place / 'plain/own.json').read_text())
    assert plain['measures'] == {}
    assert 'fwIoU' in plain['metrics']
    assert tool.main(arguments(place, place / 'plain', *ALL)) == 2
    assert 'begun with another measures' in capsys.readouterr().err


@MODELS.register_module(force=True)
class Brightness(OpenVocabularyModel):
    """Cosines that depend on the words and the colours."""

    def embed_prompts(self, prompts):
        return torch.tensor([[len(p.word), p.word.count('t'), 1.0] for p in prompts])

    def forward(self, images, prompt_embeds):
        return torch.einsum('bdhw,kd->bkhw', images / 128 - 1, prompt_embeds)

    def load_checkpoint(self, path):
        """There is nothing to load."""


@pytest.mark.slow
def test_other_models_have_the_same_measures(tool, place, tmp_path):
    config = tmp_path / 'other.py'
    config.write_text("model = dict(type='OpenVocabularySegmentor', model=dict(type='Brightness'))")
    assert tool.main(arguments(place, tmp_path / 'out', *ALL, config=config)) == 0
    metrics = json.loads((tmp_path / 'out/own.json').read_text())['metrics']
    assert {'boundary_mIoU', 'ECE', 'query_mIoU'} <= set(metrics)
    plain = tool.main(arguments(place, tmp_path / 'plain', config=config))
    assert plain == 0
    other = json.loads((tmp_path / 'plain/own.json').read_text())['metrics']
    assert metrics['mIoU'] == other['mIoU']


def test_a_page_shows_what_changed_between_two_results(tool, place, tmp_path, capsys):
    compare = load_file('tools/analysis_tools/compare_results.py')
    folders = []
    for threshold in ('0.0', '0.35'):
        folders.append(str(tmp_path / f'at-{threshold}'))
        options = ('--measures', 'predictions', '--change', f'bg_thresh={threshold}')
        windows = ('short_side=40', 'crop_size=32', 'stride=16')
        assert tool.main([*arguments(place, folders[-1])[:-5], *options, *windows]) == 0
    page = tmp_path / 'page.html'
    capsys.readouterr()
    assert compare.main([*folders, '--page', str(page), '--images=1']) == 0
    text = page.read_text()
    changed = text.count('<figure>')
    assert 1 <= changed <= 2
    assert text.count('src="data:image/') == changed
    assert 'http' not in text
    assert '<td>cat</td>' in text
    assert compare.main([folders[0], str(place / 'all'), '--page', str(page)]) == 2
    assert 'evaluate with --measures predictions' in capsys.readouterr().err


@pytest.mark.slow
def test_the_stored_prediction_is_the_label_map(tool, place, samples, tmp_path):
    assert tool.main(arguments(place, tmp_path, '--measures', 'predictions')) == 0
    lines = (tmp_path / 'journal/own.0.jsonl').read_text().splitlines()[1:]
    for line, sample in zip(lines, samples[2], strict=True):
        labels = decode_labels(json.loads(line)['prediction'])
        assert np.array_equal(labels, sample.pred_sem_seg.data[0].numpy())
