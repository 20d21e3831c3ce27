"""``mmseg.apis`` with every kind of checkpoint that this plugin writes or reads."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.apis import MMSegInferencer, inference_model, init_model, show_result_pyplot
from mmseg.datasets import PascalVOCDataset

from groupvit_mmseg.inference import segmentation_config
from groupvit_mmseg.text.vocabulary import class_names

VOC = list(class_names('pascal_voc'))

pytestmark = [
    # What mmengine says of a second inferencer in one process, of a visualizer without a folder,
    # and mmseg of a checkpoint without names of classes.
    pytest.mark.filterwarnings('ignore:.*Failed to add:UserWarning'),
    pytest.mark.filterwarnings('ignore:dataset_meta or class names:UserWarning'),
]


@pytest.fixture
def publish(plugin_tool, tmp_path):
    """Run publish_model.py; return the file that it writes."""

    def run(config, checkpoint):
        target = tmp_path / 'published.pth'
        assert (
            plugin_tool('tools/model_converters/publish_model.py', config, checkpoint, target) == 0
        )
        (path,) = tmp_path.glob('published-*.pth')
        return path

    return run


@pytest.fixture
def converted(plugin_tool, pretrained, tmp_path):
    """Config and checkpoint as ``official_to_plugin.py`` writes them, of official names."""
    heads = ('--num-heads', 2, 2, 2, '--text-heads', 2, '--no-check')
    official, plugin = tmp_path / 'official.pth', tmp_path / 'converted.pth'
    for name, *paths in (
        ('plugin_to_official', pretrained, official),
        ('official_to_plugin', official, plugin),
    ):
        assert plugin_tool(f'tools/model_converters/{name}.py', *paths, *heads) == 0
    return plugin.with_suffix('.py'), plugin


@pytest.fixture(params=['pretraining', 'segmentor', 'published', 'converted'])
def prompted(request, zero_shot, pretrained, publish, random_weights):
    """A config and a checkpoint whose classes are words."""
    return {
        'pretraining': lambda: (zero_shot, pretrained),
        # Without any names: MMSegmentation guesses a data set by the number of classes.
        'segmentor': lambda: (zero_shot, random_weights(zero_shot)),
        'published': lambda: (zero_shot, publish(zero_shot, pretrained)),
        'converted': lambda: request.getfixturevalue('converted'),
    }[request.param]()


def paths_of(voc):
    return [str(path) for path in sorted((voc / 'JPEGImages').iterdir())]


def test_model_result_picture_and_inferencer(prompted, voc, tmp_path, quiet):
    config, checkpoint = prompted
    model = init_model(str(config), str(checkpoint), device='cpu')
    assert model.dataset_meta['classes'] == VOC
    assert len(model.dataset_meta['palette']) == 21
    images = paths_of(voc)
    results = inference_model(model, images)  # of two sizes
    assert [r.pred_sem_seg.data.shape for r in results] == [(1, 36, 40), (1, 36, 40), (1, 36, 48)]
    picture = show_result_pyplot(
        model, images[0], results[0], show=False, out_file=str(tmp_path / 'seen.png')
    )
    assert picture.shape == (36, 40, 3)
    assert (tmp_path / 'seen.png').is_file()

    inferencer = MMSegInferencer(str(config), str(checkpoint), device='cpu', **quiet)
    seen = inferencer(images, batch_size=3, out_dir=str(tmp_path / 'out'), return_vis=True)
    assert inferencer.visualizer.dataset_meta['classes'] == VOC
    assert len(list((tmp_path / 'out').rglob('*.*'))) == 6
    for labels, result in zip(seen['predictions'], results, strict=True):
        np.testing.assert_array_equal(labels, result.pred_sem_seg.data[0])


def test_a_published_file_needs_no_config(publish, zero_shot, pretrained, voc, quiet):
    path = publish(zero_shot, pretrained)
    inferencer = MMSegInferencer(None, str(path), device='cpu', **quiet)
    assert inferencer(paths_of(voc)[0])['predictions'].shape == (36, 40)
    meta = torch.load(path, weights_only=True)['meta']['dataset_meta']
    assert (meta['classes'], len(meta['palette'])) == (VOC, 21)


def test_a_pretraining_config_becomes_one_of_segmentation(make_runner, tiny_data, tmp_path, quiet):
    runner = make_runner(train_cfg=dict(max_epochs=1))
    runner.train()
    segmentation_config(runner.cfg).dump(tmp_path / 'segment.py')
    checkpoint = str(tmp_path / 'run/epoch_1.pth')
    model = init_model(str(tmp_path / 'segment.py'), checkpoint, device='cpu')
    assert model.dataset_meta['classes'] == ['red', 'green', 'blue']
    image = str(tiny_data / 'images/0.png')
    result = inference_model(model, image)
    assert show_result_pyplot(model, image, result, show=False).shape == (16, 16, 3)
    inferencer = MMSegInferencer(str(tmp_path / 'segment.py'), checkpoint, device='cpu', **quiet)
    assert inferencer(image, return_vis=True)['visualization'].shape == (16, 16, 3)
    # The file names the classes that its validation segments, and not those of the pairs.
    meta = torch.load(checkpoint, weights_only=True)['meta']
    assert meta['dataset_meta']['classes'] == ['red', 'green', 'blue']
    assert len(meta['dataset_meta']['palette']) == 3
    assert meta['train_metainfo'] == dict(task='image-text pretraining')


def test_classes_that_are_set_are_those_that_are_drawn(zero_shot, pretrained, voc):
    model = init_model(str(zero_shot), str(pretrained), device='cpu')
    model.set_classes(['cat', 'dog', 'sky'])
    assert model.dataset_meta['classes'] == ['cat', 'dog', 'sky']
    assert len({tuple(colour) for colour in model.dataset_meta['palette']}) == 3
    image = paths_of(voc)[0]
    result = inference_model(model, image)
    assert result.seg_logits.data.shape[0] == 3
    assert show_result_pyplot(model, image, result, show=False).shape == (36, 40, 3)


@pytest.mark.parametrize(
    'classes, kept',
    [(['cat', 'dog'], True), (['dog', 'cat'], False), (['cat', 'dog', 'cow'], False)],
)
def test_a_palette_counts_for_its_own_classes(zero_shot, pretrained, classes, kept):
    model = init_model(str(zero_shot), str(pretrained), device='cpu')
    model.set_classes(['cat', 'dog'])
    model.dataset_meta = dict(
        classes=classes, palette=[[7, 8, index] for index in range(3)][: len(classes)]
    )
    assert model.dataset_meta['classes'] == ['cat', 'dog']
    assert (model.dataset_meta['palette'] == [[7, 8, 0], [7, 8, 1]]) == kept
    model.dataset_meta = None
    assert len(model.dataset_meta['palette']) == 2


def test_supervised_checkpoint_and_its_published_file(
    supervised, random_weights, publish, voc, quiet
):
    meta = {key: list(PascalVOCDataset.METAINFO[key]) for key in ('classes', 'palette')}
    checkpoint = random_weights(supervised, dataset_meta=meta)
    image = paths_of(voc)[0]
    for path in (checkpoint, publish(supervised, checkpoint)):
        model = init_model(str(supervised), str(path), device='cpu')
        assert model.dataset_meta['classes'] == meta['classes']
        result = inference_model(model, image)
        assert show_result_pyplot(model, image, result, show=False).shape == (36, 40, 3)
        inferencer = MMSegInferencer(str(supervised), str(path), device='cpu', **quiet)
        assert inferencer(image, return_vis=True)['visualization'].shape == (36, 40, 3)
        assert inferencer.visualizer.dataset_meta['classes'] == meta['classes']


def test_supervised_checkpoint_without_names_publishes_none(
    supervised, random_weights, publish, capsys
):
    path = publish(supervised, random_weights(supervised, dataset_meta=dict(classes=['cat'])))
    assert 'left out the names of the 21 classes' in capsys.readouterr().out
    meta = torch.load(path, weights_only=True)['meta']
    assert list(meta) == ['cfg']
    assert Config.fromstring(meta['cfg'], '.py').model.decode_head.num_classes == 21
