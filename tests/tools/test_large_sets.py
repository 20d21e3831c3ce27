"""Sets of more than 255 classes: from the published layout to a score worked out by hand."""

import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from scipy.io import savemat

from groupvit_mmseg.benchmark.large_sets import LARGE_SETS
from groupvit_mmseg.benchmark.measures import ImageMeasures
from groupvit_mmseg.benchmark.sets import KNOWN_SETS, select_sets
from groupvit_mmseg.datasets.label_set import class_entries
from groupvit_mmseg.models.segmentor import GroupViTSegmentor

from loading import load_file

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'tests/data/configs/tiny_zeroshot.py'
SIZE = (40, 50)
# Numbers of the objects of each photograph: left half, right half. 0 is no object.
OBJECTS = {'urban/street/ADE_val_1': (3, 900), 'home/bed/ADE_val_2': (850, 0)}
CONTEXT = {'2008_000002': (1, 459), '2008_000003': (0, 256)}


def halves(left, right, dtype=np.uint16):
    pixels = np.full(SIZE, left, dtype)
    pixels[:, SIZE[1] // 2 :] = right
    return pixels


def save_photograph(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    cv2.imwrite(str(path), rng.integers(0, 256, (4, 5, 3), np.uint8).repeat(10, 0).repeat(10, 1))


def make_ade(root, *, extra=0, damage=None):
    """ADE20K as published: 900 objects, of which the numbers 2 to 848 are in both splits."""
    names = ['-', *(f'thing {number}, object {number}' for number in range(2, 901))]
    files = [f'validation/{name}.jpg' for name in OBJECTS] + ['training/urban/ADE_train_1.jpg']
    present = np.zeros((900, 3), np.uint8)
    present[:848, 2] = 1
    present[899, 2] = 1
    present[850:899, 2] = 1
    in_both = [*range(1, 846), 849, 899]  # 847 of them, the number 1 less
    present[849, 2] = 1
    present[0, :] = 1  # without a name
    present[in_both, 1] = 1
    present[in_both[: 847 - extra], 0] = 1
    parts = np.zeros_like(present)
    present[848, :] = parts[848, :] = 2  # always a part
    index = dict(
        filename=[Path(file).name for file in files],
        folder=[f'ADE20K_2021_17_01/images/ADE/{Path(file).parent}' for file in files],
        objectnames=names,
        objectPresence=present,
        objectIsPart=parts,
    )
    if damage:
        damage(index)
    for name, numbers in OBJECTS.items():
        photograph = root / f'images/ADE/validation/{name}.jpg'
        save_photograph(photograph)
        numbers = halves(*numbers)
        colours = [np.full(SIZE, 9), numbers % 256, numbers // 256 * 10 + 3]  # blue: instances
        path = photograph.with_name(f'{photograph.stem}_seg.png')
        cv2.imwrite(str(path), np.stack(colours, -1).astype(np.uint8))
    (root / 'index_ade20k.pkl').write_bytes(pickle.dumps(index, protocol=4))
    return in_both


def make_context(root, variable='LabelMap'):
    (root / 'trainval').mkdir(parents=True)
    for name, numbers in CONTEXT.items():
        save_photograph(root / f'JPEGImages/{name}.jpg')
        savemat(root / f'trainval/{name}.mat', {variable: halves(*numbers)})
    (root / 'labels.txt').write_text(''.join(f'{n}: kind{n}\n' for n in range(1, 460)))
    (root / 'names.txt').write_text(''.join(f'{name}\n' for name in CONTEXT))


def convert_context(root, *options):
    files = [str(root / name) for name in ('trainval', 'labels.txt', 'context459')]
    tool = load_file('tools/dataset_converters/pascal_context_459.py')
    return tool.main([*files, f'--list={root / "names.txt"}', *options])


def convert_ade(root, *options):
    return load_file('tools/dataset_converters/ade20k_847.py').main([str(root), *options])


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """Both sets, converted, and weights of a tiny model."""
    place = tmp_path_factory.mktemp('large')
    in_both = make_ade(place / 'data/ADE20K_2021_17_01')
    make_context(place / 'data/VOCdevkit/VOC2010')
    assert convert_ade(place / 'data/ADE20K_2021_17_01') == 0
    assert convert_context(place / 'data/VOCdevkit/VOC2010') == 0
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(CONFIG).model)
    torch.save(dict(state_dict=model.state_dict()), place / 'weights.pth')
    (place / 'in_both.json').write_text(json.dumps(in_both))
    return place


def evaluate(place, sets, out, *options):
    arguments = [str(place / 'weights.pth'), f'--config={CONFIG}', f'--out={out}', '--device=cpu']
    arguments += ['--workers=0', '--pictures=1', f'--data-root={place / "data"}', '--sets', *sets]
    windows = ['short_side=40', 'crop_size=32', 'stride=16', 'top_k=1000']
    return load_file('tools/evaluate.py').main([*arguments, *options, '--change', *windows])


def read_mask(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_masks_have_the_labels_of_the_published_objects(place):
    in_both = json.loads((place / 'in_both.json').read_text())
    folder = place / 'data/ADE20K_2021_17_01/ade847'
    classes = json.loads((folder / 'classes.json').read_text())
    assert len(classes) == 847
    for name, numbers in OBJECTS.items():
        expected = [in_both.index(n - 1) if n - 1 in in_both else 65535 for n in numbers]
        mask = read_mask(folder / f'masks/{name}.png')
        assert mask.dtype == np.uint16
        assert (mask == halves(*expected)).all()
        for label, number in zip(expected, numbers, strict=True):
            if label != 65535:
                entry = dict(name=f'thing {number}', words=[f'object {number}'])
                assert classes[label] == entry
    # of 3, 900, 850 and nothing
    assert [in_both.index(n - 1) for n in (3, 900, 850)] == [1, 846, 845]
    assert (folder / 'val.txt').read_text().split() == sorted(OBJECTS)


def test_context_counts_from_zero_and_ignores_zero(place):
    folder = place / 'data/VOCdevkit/VOC2010/context459'
    for name, (left, right) in {'2008_000002': (0, 458), '2008_000003': (65535, 255)}.items():
        assert (read_mask(folder / f'masks/{name}.png') == halves(left, right)).all()
    names = [entry['name'] for entry in json.loads((folder / 'classes.json').read_text())]
    assert (names[0], names[255], names[458], len(names)) == ('kind1', 'kind256', 'kind459', 459)


def predict(self, inputs, data_samples=None):
    """Label 1 (Context: 255) in the upper half of each image, the last class in the lower."""
    from mmengine.structures import PixelData

    for sample in data_samples:
        labels = torch.full(sample.ori_shape[:2], 1 if self.num_classes == 847 else 255)
        labels[sample.ori_shape[0] // 2 :] = self.num_classes - 1
        confidence = torch.full(labels.shape, 0.75)
        sample.pred_sem_seg = PixelData(data=labels[None])
        sample.seg_confidence = PixelData(data=confidence[None])
    return list(data_samples)


def upper_halves(self, image, sample):
    found = torch.zeros(SIZE, dtype=torch.int64)
    found[: SIZE[0] // 2] = 1
    return [found] * len(self.queries)


def test_scores_are_those_worked_out_by_hand(place, tmp_path, monkeypatch):
    """Halves of photographs, 1,000 pixels each; truth left and right, prediction up and down."""
    monkeypatch.setattr(GroupViTSegmentor, 'predict', predict)
    monkeypatch.setattr(ImageMeasures, '_query_maps', upper_halves)
    measures = ('--measures', 'boundary', 'calibration', 'single-query')
    assert evaluate(place, LARGE_SETS, tmp_path / 'out', *measures) == 0
    ade = json.loads((tmp_path / 'out/ade847.json').read_text())
    # Truth: label 1, 846 | 845, ignored. Label 1: 500 of 1000 + 1000 - 500; predicted in 500 more
    # pixels of the second photograph that count: 500 / 2000. 846: 500 / 2000; 845: 0 / 1000.
    expected = {'thing 3': 100 * 500 / 2000, 'thing 900': 100 * 500 / 2000, 'thing 850': 0.0}
    found = {name: value for name, value in ade['class_iou'].items() if value is not None}
    assert found == pytest.approx(expected)
    assert ade['metrics']['mIoU'] == pytest.approx(50 / 3)
    # each of 3,000 pixels with the IoU of its class
    assert ade['metrics']['fwIoU'] == pytest.approx((25 + 25 + 0) / 3)
    # 1,000 of 3,000 pixels are right, at a confidence of 0.75
    assert ade['metrics']['ECE'] == pytest.approx(100 * (0.75 - 1 / 3), abs=1e-4)
    # Contours of one pixel: truth 126 of 40 x 25, prediction 136 of 20 x 50, 45 in both; in the
    # second photograph only 20 x 25 of the prediction count, 86.
    edges = 100 * 45 / (126 + 136 - 45 + 86)
    assert ade['metrics']['boundary_mIoU'] == pytest.approx((edges + edges + 0) / 3)
    context = json.loads((tmp_path / 'out/context459.json').read_text())
    # Truth: 0, 458 | ignored, 255. Label 255 is predicted in 1,000 + 500 pixels that count and
    # true in 1,000, 500 in common: 500 / 2000. So is 458.
    found = {name: value for name, value in context['class_iou'].items() if value is not None}
    assert found == pytest.approx({'kind1': 0.0, 'kind256': 25.0, 'kind459': 25.0})
    # Every query finds the upper halves: 500 of kind 256 and 1,000 others of the first photograph.
    queries = context['measures']['single-query']
    assert len(queries) == 459
    assert {name: value for name, value in queries.items() if value} == pytest.approx(
        {'kind1': 25.0, 'kind256': 25.0, 'kind459': 25.0}
    )
    table = (tmp_path / 'out/table.md').read_text()
    assert 'no sizes are stated for 847 classes: those for ade20k stand in' in table
    assert '| Context459 |' in table
    assert ade['classes']['count'] == 847


def test_a_model_is_evaluated_with_every_measure(place, tmp_path):
    options = ('--measures', 'boundary', 'calibration', 'predictions')
    assert evaluate(place, ['context459'], tmp_path / 'out', *options) == 0
    result = json.loads((tmp_path / 'out/context459.json').read_text())
    assert result['images']['evaluated'] == 2
    # 500 x 2 + 1,000 pixels of labels, none of those without
    assert sum(result['measures']['calibration']['pixels']) == 3000
    assert (tmp_path / 'out/pictures').is_dir()


def test_sets_name_their_classes_only_with_files(place):
    assert [KNOWN_SETS[name].class_set for name in LARGE_SETS] == [(), ()]
    for benchmark in select_sets(list(LARGE_SETS)):
        full = benchmark.with_classes(benchmark.folder(place / 'data'))
        assert len(full.class_set) == LARGE_SETS[benchmark.name].num_classes
        assert full.with_classes(Path('nowhere')) is full
    assert not set(LARGE_SETS) & {each.name for each in select_sets(['all'])}


def test_a_set_without_its_class_file_is_one_sentence(place, tmp_path, capsys):
    missing = tmp_path / 'ADE'
    assert evaluate(place, ['ade847'], tmp_path / 'out', f'--root=ade847={missing}') == 2
    assert 'write it and the masks with tools/dataset_converters/ade20k_847.py' in (
        capsys.readouterr().err
    )
    (missing / 'ade847').mkdir(parents=True)
    (missing / 'ade847/classes.json').write_text('["wall", "sky"]')
    assert evaluate(place, ['ade847'], tmp_path / 'out', f'--root=ade847={missing}') == 2
    assert 'names 2 classes, ADE-847 has 847' in capsys.readouterr().err


def test_no_word_names_two_classes():
    words = [['screen', 'CRT screen'], ['screen'], ['lamp', 'light'], ['light', 'beam'], ['beam']]
    assert class_entries(words) == [
        dict(name='CRT screen', words=[]),
        dict(name='screen', words=[]),
        dict(name='lamp', words=[]),
        dict(name='light', words=[]),
        dict(name='beam', words=[]),
    ]
    assert class_entries([['a', 'b'], ['a'], ['b']])[0]['name'] == 'a or b'
    with pytest.raises(ValueError, match="Two classes are called 'a'"):
        class_entries([['a'], ['A']][:1] * 2)


@pytest.mark.parametrize(
    'damage, message',
    [
        (lambda index: index.pop('objectIsPart'), 'lacks objectIsPart'),
        (lambda index: index.update(objectPresence=np.ones((2, 2))), 'no table of 900 objects'),
        (lambda index: index.update(folder=['x'] * 3), 'no .jpg below images/ADE'),
        (lambda index: index.update(folder=['images/ADE/../../x'] * 3), 'no .jpg below images/ADE'),
        (lambda index: index.update(scene=Path('x')), 'holds objects of pathlib'),
        (lambda index: index['objectPresence'].fill(0), '0 objects occur in both splits, not 847'),
    ],
)
def test_an_odd_index_of_ade_is_one_sentence(tmp_path, capsys, damage, message):
    make_ade(tmp_path, damage=damage)
    assert convert_ade(tmp_path) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'ade847').exists()


def test_odd_files_of_ade_are_one_sentence(tmp_path, capsys):
    assert convert_ade(tmp_path) == 2
    assert 'There is no' in capsys.readouterr().err
    in_both = make_ade(tmp_path)
    (tmp_path / 'classes.txt').write_text('thing 2, object 2\nwall\n')
    assert convert_ade(tmp_path, f'--classes={tmp_path / "classes.txt"}') == 2
    assert "names 'wall', which is no object" in capsys.readouterr().err
    names = [f'thing {place + 1}, object {place + 1}' for place in in_both]
    (tmp_path / 'classes.txt').write_text('\n'.join(names[::-1]))
    assert convert_ade(tmp_path, f'--classes={tmp_path / "classes.txt"}') == 0
    mask = read_mask(tmp_path / 'ade847/masks/urban/street/ADE_val_1.png')
    assert (mask == halves(845, 0)).all()
    assert convert_ade(tmp_path) == 2
    assert '--overwrite writes them again' in capsys.readouterr().err
    segments = tmp_path / 'images/ADE/validation/home/bed/ADE_val_2_seg.png'
    for pixels, message in (
        (np.full((*SIZE, 3), 250, np.uint8), 'has the number 6650, but the names end at 900'),
        (np.zeros(SIZE, np.uint8), 'is no image of red, green and blue'),
    ):
        cv2.imwrite(str(segments), pixels)
        assert convert_ade(tmp_path, '--overwrite') == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / 'ade847/val.txt').exists()  # so that nothing evaluates half a set


def test_odd_files_of_context_are_one_sentence(tmp_path, capsys):
    make_context(tmp_path / 'other', variable='Labels')
    assert convert_context(tmp_path / 'other') == 2
    assert 'holds no LabelMap' in capsys.readouterr().err
    root = tmp_path / 'context'
    make_context(root)
    savemat(root / 'trainval/2008_000003.mat', dict(LabelMap=halves(1, 460)))
    assert convert_context(root) == 2
    assert 'has the number 460, but the names end at 459' in capsys.readouterr().err
    (root / 'trainval/2008_000003.mat').write_bytes(b'MATLAB 7.3 or not')
    assert convert_context(root, '--overwrite') == 2
    assert 'is no label map of Matlab' in capsys.readouterr().err
    (root / 'labels.txt').write_text('1: wall\n3: sky\n')
    assert convert_context(root, '--overwrite') == 2
    assert 'Line 2 of' in capsys.readouterr().err
    (root / 'labels.txt').write_text('1: wall\n2: sky\n')
    assert convert_context(root, '--overwrite') == 2
    assert 'names 2 labels, not 459' in capsys.readouterr().err
