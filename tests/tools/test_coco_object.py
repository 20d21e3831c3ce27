"""COCO's instances to masks, on annotations made by hand and on the real ones where they are."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from groupvit_mmseg.datasets import coco_masks
from groupvit_mmseg.text.vocabulary import class_names

from loading import load_file

ROOT = Path(__file__).parents[2]
REAL = sorted(ROOT.parent.glob('shared/data/coco/annotations/instances*.json'))
IDS = [label + label // 11 for label in range(1, 81)]  # with gaps, as COCO's


@pytest.fixture(scope='module')
def tool():
    return load_file('tools/dataset_converters/coco_object.py')


def box(x, y, width, height):
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def thing(label, segmentation, area, iscrowd=0):
    return dict(
        image_id=7,
        category_id=IDS[label - 1],
        segmentation=segmentation,
        area=area,
        iscrowd=iscrowd,
    )


def annotations(things):
    names = class_names('coco_object')[1:]
    categories = [dict(id=i, name=name) for i, name in zip(IDS, names, strict=True)]
    images = [dict(id=index, file_name=f'{index:012d}.jpg', height=8, width=10) for index in (7, 9)]
    return dict(images=images, annotations=things, categories=categories[::-1])


def run(tool, tmp_path, content, *options):
    (tmp_path / 'instances.json').write_text(json.dumps(content))
    return tool.main([str(tmp_path / 'instances.json'), str(tmp_path / 'masks'), *options])


def test_smaller_things_are_in_front_and_crowds_behind(tool, tmp_path, capsys):
    small = thing(80, box(2, 2, 3, 3), 9)
    large = thing(12, box(1, 1, 6, 6), 36)
    crowd = thing(1, dict(size=[8, 10], counts=[0, 80]), 1, iscrowd=1)
    assert run(tool, tmp_path, annotations([small, crowd, large])) == 0
    assert 'wrote 2 masks' in capsys.readouterr().out
    mask = cv2.imread(str(tmp_path / 'masks/000000000007.png'), cv2.IMREAD_UNCHANGED)
    expected = np.ones((8, 10), np.uint8)
    expected[1:7, 1:7] = 12
    expected[2:5, 2:5] = 80
    assert mask.tolist() == expected.tolist()


def test_run_lengths_go_down_the_columns(tool):
    mask = coco_masks.decode(dict(size=[3, 2], counts=[1, 2, 1, 1, 1]), 3, 2)
    assert mask.tolist() == [[False, False], [True, True], [True, False]]


def test_an_image_without_things_is_background(tool, tmp_path):
    assert run(tool, tmp_path, annotations([])) == 0
    mask = cv2.imread(str(tmp_path / 'masks/000000000009.png'), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (8, 10)
    assert mask.max() == 0


def test_a_dry_run_writes_nothing(tool, tmp_path, capsys):
    assert run(tool, tmp_path, annotations([thing(3, box(1, 1, 6, 6), 36)]), '--dry-run') == 0
    assert 'would write 2 masks' in capsys.readouterr().out
    assert not (tmp_path / 'masks').exists()


def test_what_is_wrong_is_said_in_one_sentence(tool, tmp_path, capsys):
    assert tool.main([str(tmp_path / 'none.json'), str(tmp_path)]) == 2
    assert 'There are no annotations at' in capsys.readouterr().err
    assert run(tool, tmp_path, dict(images=[])) == 2
    assert 'has no annotations, categories' in capsys.readouterr().err
    content = annotations([])
    content['categories'][0]['name'] = 'ghost'
    assert run(tool, tmp_path, content) == 2
    assert 'not the 80 things of COCO 2017' in capsys.readouterr().err


@pytest.mark.skipif(not REAL, reason='no COCO annotations in ../shared/data/coco')
def test_areas_of_real_things_are_those_that_coco_states(tool):
    content = coco_masks.read_instances(REAL[0])
    sizes = {image['id']: (image['height'], image['width']) for image in content['images']}
    # What COCO states of crowds is not the number of their pixels.
    things = [
        item for item in content['annotations'] if not item['iscrowd'] and item['area'] > 2000
    ]
    assert things
    for item in things:
        pixels = coco_masks.decode(item['segmentation'], *sizes[item['image_id']]).sum()
        assert pixels == pytest.approx(item['area'], rel=0.05)


def pixel_maps(tool, mask, folder):
    """The mask as COCO-Stuff publishes it, and as MMSegmentation converts it; stuff in columns."""
    columns = np.broadcast_to(np.arange(mask.shape[1]), mask.shape)
    published = np.where(
        mask > 0, np.array([0, *coco_masks.THING_IDS])[mask] - 1, 91 + columns % 91
    )
    converted = np.where(mask > 0, mask.astype(int) - 1, 80 + columns % 91)
    published[0], converted[0] = 255, 255
    for name, content in (('raw', published), ('ids', converted)):
        (folder / name).mkdir()
        suffix = '' if name == 'raw' else '_labelTrainIds'
        path = folder / name / f'000000000007{suffix}.png'
        cv2.imwrite(str(path), content.astype(np.uint8))


def test_pixel_maps_of_both_kinds_give_the_masks_of_the_instances(tool, tmp_path):
    things = [thing(1 + 9 * i, box(i, i, 9 - i, 8 - i), 80 - i) for i in range(7)]
    things.append(thing(80, box(9, 0, 1, 1), 1))
    content = annotations(things)
    assert run(tool, tmp_path, content) == 0
    mask = cv2.imread(str(tmp_path / 'masks/000000000007.png'), cv2.IMREAD_UNCHANGED)
    mask[0] = 0
    assert len(np.unique(mask)) > 5
    pixel_maps(tool, mask, tmp_path)
    for kind in ('raw', 'ids'):
        assert tool.main([str(tmp_path / kind), str(tmp_path / f'from_{kind}')]) == 0
        path = tmp_path / f'from_{kind}/000000000007.png'
        assert (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) == mask).all()


@pytest.mark.skipif(not REAL, reason='no COCO annotations in ../shared/data/coco')
def test_category_ids_are_those_of_coco(tool):
    categories = coco_masks.read_instances(REAL[0])['categories']
    assert sorted(category['id'] for category in categories) == coco_masks.THING_IDS


def check_pixel_maps(tool, mask, folder):
    """Both kinds of pixel maps, made from a mask, give the mask back."""
    mask = mask.copy()
    mask[0] = 0
    folder.mkdir()
    pixel_maps(tool, mask, folder)
    for kind in ('raw', 'ids'):
        (path,) = (folder / kind).iterdir()
        assert (coco_masks.map_labels(path) == mask).all()


@pytest.mark.skipif(not REAL, reason='no COCO annotations in ../shared/data/coco')
def test_real_instances_and_their_pixel_maps_agree(tool, tmp_path):
    jobs = list(coco_masks.makers_from_instances(coco_masks.read_instances(REAL[0])).items())[:20]
    assert len(jobs) == 20
    for name, make_mask in jobs:
        check_pixel_maps(tool, make_mask(), tmp_path / name)


def outline(mask):
    """Pixels of and around the boundary of a mask."""
    kernel, pixels = np.ones((3, 3), np.uint8), mask.astype(np.uint8)
    return cv2.dilate(pixels, kernel) != cv2.erode(pixels, kernel)


@pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')
@pytest.mark.skipif(not REAL, reason='no COCO annotations in ../shared/data/coco')
def test_real_masks_are_those_of_pycocotools(tool, tmp_path):
    """All images, drawn a second time by COCO's own library, and the pixel maps of its masks."""
    pytest.importorskip('pycocotools', reason='pycocotools is not installed')
    from pycocotools.coco import COCO

    coco, content = COCO(REAL[0]), coco_masks.read_instances(REAL[0])
    labels = coco_masks.labels_by_category(content['categories'])
    jobs = coco_masks.makers_from_instances(content)
    assert len(jobs) == 80
    differing, inside, pixels, crowds = 0, 0, 0, 0
    for image in content['images']:
        mask = np.zeros((image['height'], image['width']), np.uint8)
        things = coco.loadAnns(coco.getAnnIds(imgIds=image['id']))
        for item in sorted(things, key=lambda item: (-item['iscrowd'], -item['area'])):
            theirs = coco.annToMask(item).astype(bool)
            ours = coco_masks.decode(item['segmentation'], *mask.shape)
            # Polygons are rounded otherwise: outlines differ, and slivers thinner than a pixel.
            inside += int((ours != theirs)[~outline(theirs)].sum())
            assert not item['iscrowd'] or (ours == theirs).all()
            crowds += item['iscrowd']
            mask[theirs] = labels[item['category_id']]
        name = Path(image['file_name']).with_suffix('.png').name
        differing += int((jobs[name]() != mask).sum())
        pixels += mask.size
        if image['id'] % 4 == 0:
            check_pixel_maps(tool, mask, tmp_path / name)
    assert crowds == 8
    assert inside < 3e-6 * pixels
    assert differing < 0.001 * pixels


def test_compressed_run_lengths_are_those_of_pycocotools(tool):
    mask = pytest.importorskip('pycocotools.mask', reason='pycocotools is not installed')
    expected = np.random.default_rng(0).random((7, 9)) > 0.5
    compressed = mask.encode(np.asfortranarray(expected.astype(np.uint8)))
    compressed['counts'] = compressed['counts'].decode()
    assert (coco_masks.decode(compressed, 7, 9) == expected).all()


def test_compressed_run_lengths_by_hand(tool):
    # The fourth number is written as its difference to the second: 4 as 2.
    mask = coco_masks.decode(dict(size=[6, 2], counts='3232'), 6, 2)
    assert mask.T.reshape(-1).astype(int).tolist() == [0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize(
    'counts, message', [('PP2', '2048 pixels of 8 x 10'), ('PP', 'torn'), ('3\u00e9', 'damaged')]
)
def test_damaged_run_lengths_are_one_sentence(tool, tmp_path, capsys, counts, message):
    compressed = dict(size=[8, 10], counts=counts)
    assert run(tool, tmp_path, annotations([thing(1, compressed, 80)])) == 2
    assert message in capsys.readouterr().err


def test_an_interrupted_conversion_keeps_what_it_wrote(tool, tmp_path, monkeypatch):
    content = annotations([thing(3, box(1, 1, 6, 6), 36)])
    assert run(tool, tmp_path, content) == 0
    (tmp_path / 'masks/000000000009.png').unlink()
    drawn, draw = [], coco_masks.draw_mask
    monkeypatch.setattr(
        coco_masks, 'draw_mask', lambda image, *rest: drawn.append(image) or draw(image, *rest)
    )
    assert run(tool, tmp_path, content) == 0
    assert [image['id'] for image in drawn] == [9]
    assert run(tool, tmp_path, content, '--overwrite') == 0
    assert len(drawn) == 3


def without(content, key):
    """The annotations with a member of the first thing missing."""
    content['annotations'][0].pop(key)
    return content


def changed(content, what, **members):
    content[what][0].update(members)
    return content


RUNS = dict(size=[8, 10], counts=[0, 79])


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda c: without(c, 'area'), 'Annotation 5 has no area'),
        (lambda c: changed(c, 'annotations', image_id=8), '1 annotations are of images that are'),
        (
            lambda c: changed(c, 'annotations', category_id=999),
            'Annotation 5 has the category 999, which "categories" lacks',
        ),
        (lambda c: changed(c, 'annotations', segmentation=RUNS), 'run lengths are 79 pixels of 8'),
        (lambda c: changed(c, 'annotations', segmentation=[[1, 2, 3]]), 'cannot be drawn'),
        (lambda c: changed(c, 'images', file_name='x/000000000009.jpg'), '2 images are called'),
        (lambda c: dict(c, images=[]), 'lists no image'),
    ],
)
def test_annotations_that_cannot_be_drawn_are_named(tool, tmp_path, capsys, change, message):
    content = annotations([dict(thing(3, box(1, 1, 6, 6), 36), id=5)])
    assert run(tool, tmp_path, change(content)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count('\n') == 1


def test_broken_files_are_named_and_not_kept_as_masks(tool, tmp_path, capsys):
    content = annotations([thing(3, box(1, 1, 6, 6), 36)])
    assert run(tool, tmp_path, content) == 0
    (tmp_path / 'masks/000000000007.png').write_bytes(b'')
    assert run(tool, tmp_path, content) == 2
    assert '000000000007.png is there and is no mask of labels' in capsys.readouterr().err
    assert run(tool, tmp_path, content, '--overwrite') == 0
    (tmp_path / 'instances.json').write_text('{"images": ')
    assert tool.main([str(tmp_path / 'instances.json'), str(tmp_path / 'masks')]) == 2
    assert 'instances.json is no JSON' in capsys.readouterr().err


def test_a_pixel_map_of_16_bits_is_named(tool, tmp_path, capsys):
    (tmp_path / 'maps').mkdir()
    cv2.imwrite(str(tmp_path / 'maps/a.png'), np.full((4, 4), 300, np.uint16))
    assert tool.main([str(tmp_path / 'maps'), str(tmp_path / 'masks')]) == 2
    assert 'a.png has label 300' in capsys.readouterr().err


def test_check_tells_what_is_wrong(tool, tmp_path, capsys):
    content = annotations([thing(3, box(1, 1, 6, 6), 36)])
    assert run(tool, tmp_path, content, '--check') == 1
    assert 'is missing' in capsys.readouterr().out
    assert run(tool, tmp_path, content) == 0
    assert run(tool, tmp_path, content, '--check') == 0
    assert '2 masks checked' in capsys.readouterr().out
    masks = tmp_path / 'masks'
    cv2.imwrite(str(masks / '000000000007.png'), np.full((8, 10), 81, np.uint8))
    cv2.imwrite(str(masks / '000000000009.png'), np.zeros((8, 9), np.uint8))
    cv2.imwrite(str(masks / 'stray.png'), np.zeros((8, 9), np.uint8))
    assert run(tool, tmp_path, content, '--check') == 1
    output = capsys.readouterr().out
    assert 'other labels than 0 to 80' in output
    assert '(8, 9), not (8, 10)' in output
    assert 'stray.png belongs to no image' in output
    cv2.imwrite(str(masks / '000000000007.png'), np.zeros((8, 10), np.uint8))
    assert run(tool, tmp_path, content, '--check') == 1
    assert '000000000007.png differs' in capsys.readouterr().out


def test_masks_of_another_origin_are_refused_and_kept(tool, tmp_path, capsys):
    (tmp_path / 'masks').mkdir()
    foreign = tmp_path / 'masks/000000000007.png'
    cv2.imwrite(str(foreign), np.full((8, 10), 5, np.uint8))
    before = foreign.read_bytes()
    assert run(tool, tmp_path, annotations([])) == 2
    assert 'holds 000000000007.png of another origin' in capsys.readouterr().err
    assert foreign.read_bytes() == before
    assert run(tool, tmp_path, annotations([]), '--overwrite') == 0
    assert cv2.imread(str(foreign), cv2.IMREAD_UNCHANGED).max() == 0
    # Its own masks it takes up again.
    assert run(tool, tmp_path, annotations([])) == 0


def test_masks_of_other_annotations_are_refused(tool, tmp_path, capsys):
    assert run(tool, tmp_path, annotations([])) == 0
    (tmp_path / 'instances.json').rename(tmp_path / 'others.json')
    assert tool.main([str(tmp_path / 'others.json'), str(tmp_path / 'masks')]) == 2
    assert 'of instances.json' in capsys.readouterr().err


def test_pixel_maps_are_not_overwritten_by_their_masks(tool, tmp_path, capsys):
    cv2.imwrite(str(tmp_path / '7.png'), np.full((4, 4), 90, np.uint8))
    before = (tmp_path / '7.png').read_bytes()
    assert tool.main([str(tmp_path), str(tmp_path), '--overwrite']) == 2
    assert 'would replace what they are made of' in capsys.readouterr().err
    assert (tmp_path / '7.png').read_bytes() == before
