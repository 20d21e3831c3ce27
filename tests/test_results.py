"""Results of one image: confidence, margins, figures, and the forms of other programs."""

import json

import cv2
import numpy as np
import pytest
from mmseg.structures import SegDataSample
from PIL import Image

from groupvit_mmseg.results import InferenceResult, coco_categories, encode_rle, polygons


def make_result(scores, names, *, bg_thresh=None, with_background=False):
    """A result whose labels follow from its scores ``(K, H, W)``."""
    scores = np.asarray(scores, np.float32)
    shape = scores.shape[1:]
    labels = scores.argmax(axis=0)
    image = np.full((*shape, 3), 90, np.uint8)
    return InferenceResult(
        labels,
        labels + 1,
        scores,
        names,
        image,
        bg_thresh=bg_thresh,
        with_background=with_background,
    )


@pytest.fixture
def blobs():
    """Two cats, one of them with a hole, a dog and a background by threshold."""
    labels = np.zeros((40, 60), int)
    labels[2:12, 3:13] = 1
    labels[5:8, 6:9] = 0
    labels[20:30, 5:25] = 1
    labels[10:38, 40:58] = 2
    scores = np.zeros((3, 40, 60), np.float32)
    for label, score in ((1, 0.9), (2, 0.7)):
        scores[label][labels == label] = score
    scores[0][labels == 0] = 1.0
    return make_result(scores, ('background', 'cat', 'dog'), bg_thresh=0.5, with_background=True)


def test_confidence_and_margin_without_a_background():
    result = make_result([[[0.9, 0.4]], [[0.2, 0.3]], [[0.1, 0.35]]], ('cat', 'dog', 'cow'))
    np.testing.assert_allclose(result.confidence, [[0.9, 0.4]])
    np.testing.assert_allclose(result.margin, [[0.7, 0.05]], atol=1e-7)


def test_one_class_alone_leaves_nothing_to_confuse_it_with():
    result = make_result([[[0.9, 0.4]]], ('cat',))
    np.testing.assert_array_equal(result.margin, [[1, 1]])


def test_margins_with_a_threshold():
    # best .8 above the threshold .5 and second .7; best .55, second .1; background, best .2
    scores = [[[0, 0, 1]], [[0.8, 0.55, 0.2]], [[0.7, 0.1, 0.1]]]
    result = make_result(scores, ('background', 'cat', 'dog'), bg_thresh=0.5, with_background=True)
    assert result.label_map.tolist() == [[1, 1, 0]]
    np.testing.assert_allclose(result.confidence, [[0.8, 0.55, 0.8]], atol=1e-6)
    np.testing.assert_allclose(result.margin, [[0.1, 0.05, 0.3]], atol=1e-6)


def test_margins_with_background_words():
    scores = [[[0.1, 0.6]], [[0.8, 0.2]]]
    result = make_result(scores, ('background', 'cat'), with_background=True)
    assert result.label_map.tolist() == [[1, 0]]
    np.testing.assert_allclose(result.confidence, [[0.8, 0.8]], atol=1e-6)
    np.testing.assert_allclose(result.margin, [[0.7, 0.4]], atol=1e-6)


def test_a_margin_is_the_change_that_changes_the_label():
    """Lower the winner by a little less than its margin, and the label stays; by more, not."""
    generator = np.random.default_rng(0)
    scores = generator.dirichlet(np.ones(4), size=(6, 7)).transpose(2, 0, 1).astype(np.float32)
    result = make_result(scores, ('a', 'b', 'c', 'd'))
    winner = np.arange(4)[:, None, None] == result.label_map
    for factor, same in ((0.99, True), (1.01, False)):
        changed = scores - winner * result.margin * factor
        assert ((changed.argmax(axis=0) == result.label_map) == same).all()


def test_margins_with_thresholds_of_classes():
    # cat above its .6; dog, because cat is below; background, nearest is dog: .05 below its .3
    scores = [[[0, 0, 1]], [[0.8, 0, 0.5]], [[0.7, 0.4, 0.25]]]
    result = make_result(scores, ('background', 'cat', 'dog'), with_background=True)
    result = result._replace(class_thresholds={'cat': 0.6, 'dog': 0.3})
    assert result.label_map.tolist() == [[1, 2, 0]]
    np.testing.assert_allclose(result.confidence, [[0.8, 0.4, 0.5]], atol=1e-6)
    np.testing.assert_allclose(result.margin, [[0.1, 0.1, 0.05]], atol=1e-6)
    both = result._replace(bg_thresh=0.35)  # more than the threshold of dog
    np.testing.assert_allclose(both.margin, [[0.1, 0.05, 0.1]], atol=1e-6)


def test_shares_are_sorted_and_leave_out_what_does_not_occur(blobs):
    assert list(blobs.shares) == ['background', 'dog', 'cat']
    assert sum(blobs.shares.values()) == pytest.approx(1)


def test_figures_are_written_and_labels_are_read_back(blobs, tmp_path):
    for kind in ('overlay', 'groups', 'labels'):
        assert blobs.save(tmp_path / 'deep' / f'{kind}.png', kind).is_file()
    with Image.open(tmp_path / 'deep/labels.png') as image:
        assert image.mode == 'P'
        np.testing.assert_array_equal(np.asarray(image), blobs.label_map)
    assert blobs._repr_png_().startswith(b'\x89PNG')
    assert blobs.overlay().shape[0] > 240 > blobs.image.shape[0]  # enlarged, with a legend


@pytest.mark.parametrize(
    'name,kind,message',
    [
        ('out.jpg', 'labels', r'let .*out\.jpg end in \.png'),
        ('out', 'overlay', r'no suffix of an image format'),
        ('out.png', 'masks', "There is no kind 'masks'"),
    ],
)
def test_wrong_files_are_one_sentence(blobs, tmp_path, name, kind, message):
    with pytest.raises(ValueError, match=message):
        blobs.save(tmp_path / name, kind)
    assert list(tmp_path.iterdir()) == []


def decode(rle):
    """The obvious decoder of uncompressed run lengths."""
    pixels, value = [], 0
    for count in rle['counts']:
        pixels += [value] * count
        value = 1 - value
    return np.array(pixels, bool).reshape(rle['size'][::-1]).T


def test_run_lengths_are_decoded_to_the_same_mask():
    generator = np.random.default_rng(0)
    masks = [generator.random((5, 7)) > share for share in (0.2, 0.5, 0.9)]
    for mask in [*masks, np.ones((3, 4), bool), np.zeros((3, 4), bool)]:
        np.testing.assert_array_equal(decode(encode_rle(mask)), mask)


def test_pycocotools_reads_the_annotations(blobs):
    mask_api = pytest.importorskip('pycocotools.mask', reason='pycocotools is not installed')
    for annotation in blobs.to_coco():
        rle = mask_api.frPyObjects(annotation['segmentation'], *annotation['segmentation']['size'])
        assert mask_api.area(rle) == annotation['area']
        assert mask_api.toBbox(rle).tolist() == annotation['bbox']
        np.testing.assert_array_equal(mask_api.decode(rle), decode(annotation['segmentation']))


def test_pycocotools_opens_a_file_of_annotations(blobs, tmp_path):
    coco_api = pytest.importorskip('pycocotools.coco', reason='pycocotools is not installed')
    content = dict(
        images=[dict(id=7, file_name='a.png', width=60, height=40)],
        annotations=blobs.to_coco(image_id=7),
        categories=coco_categories(blobs),
    )
    (tmp_path / 'coco.json').write_text(json.dumps(content))
    coco = coco_api.COCO(tmp_path / 'coco.json')
    for label, name in enumerate(('cat', 'dog'), start=1):
        ids = coco.getAnnIds(imgIds=[7], catIds=coco.getCatIds([name]))
        masks = [coco.annToMask(annotation) for annotation in coco.loadAnns(ids)]
        np.testing.assert_array_equal(np.sum(masks, axis=0), blobs.label_map == label)


def test_coco_annotations_are_connected_regions(blobs):
    annotations = blobs.to_coco()
    assert [a['category_id'] for a in annotations] == [1, 1, 2]
    assert [a['area'] for a in annotations] == [91, 200, 504]
    assert annotations[0]['bbox'] == [3, 2, 10, 10]
    assert [a['score'] for a in annotations] == pytest.approx([0.9, 0.9, 0.7], abs=1e-5)
    union = np.any([decode(a['segmentation']) for a in annotations], axis=0)
    np.testing.assert_array_equal(union, blobs.label_map > 0)
    assert [c['name'] for c in coco_categories(blobs)] == ['cat', 'dog']
    assert len(blobs.to_coco(min_area=150)) == 2
    json.dumps(blobs.to_coco(form='polygon'))
    with pytest.raises(ValueError, match="no form 'masks'"):
        blobs.to_coco(form='masks')


def area_of(outline):
    """Shoelace formula."""
    x, y = np.reshape(outline, (-1, 2)).T
    return abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2


def test_polygons_run_along_the_edges_of_pixels():
    mask = np.zeros((6, 8), bool)
    mask[1:4, 2:7] = True
    mask[2, 4] = False  # a hole is filled
    (outline,) = polygons(mask)
    assert area_of(outline) == 15
    assert sorted(map(tuple, np.reshape(outline, (-1, 2)))) == [(2, 1), (2, 4), (7, 1), (7, 4)]


def test_a_line_of_pixels_has_its_area():
    generator = np.random.default_rng(1)
    for _ in range(20):
        noise = cv2.GaussianBlur(generator.random((20, 24)), (0, 0), 1.5)
        count, components = cv2.connectedComponents((noise > 0.52).astype(np.uint8), connectivity=4)
        for index in range(1, count):
            region = components == index
            outside = cv2.connectedComponents(
                np.pad(~region, 1, constant_values=True).astype(np.uint8), connectivity=4
            )[1]
            filled = (outside != outside[0, 0])[1:-1, 1:-1]
            assert sum(map(area_of, polygons(region))) == filled.sum()


def test_labelme_has_a_polygon_for_each_region(blobs):
    content = blobs.to_labelme('photos/a b.jpg')
    assert [shape['label'] for shape in content['shapes']] == ['cat', 'cat', 'dog']
    assert (content['imageHeight'], content['imageWidth']) == (40, 60)
    assert content['imagePath'] == 'photos/a b.jpg'
    json.dumps(content)


def test_detections_have_a_mask_for_each_class(blobs):
    pytest.importorskip('supervision', reason='supervision is not installed')
    detections = blobs.to_detections()
    assert detections.class_id.tolist() == [1, 2]
    assert detections.data['class_name'].tolist() == ['cat', 'dog']
    np.testing.assert_array_equal(detections.mask[1], blobs.label_map == 2)
    np.testing.assert_allclose(detections.xyxy[1], [40, 10, 57, 37])


def test_annotators_of_supervision_draw_the_masks(blobs):
    supervision = pytest.importorskip('supervision', reason='supervision is not installed')
    detections = blobs.to_detections()
    drawn = supervision.MaskAnnotator(opacity=0.5).annotate(blobs.image.copy(), detections)
    changed = (drawn != blobs.image).any(axis=-1)
    np.testing.assert_array_equal(changed, blobs.label_map > 0)
    assert len({tuple(colour) for colour in drawn[changed]}) == 2
    labels = supervision.LabelAnnotator().annotate(drawn.copy(), detections)
    assert (labels != drawn).any()
    background = blobs._replace(label_map=np.zeros_like(blobs.label_map))
    assert len(background.to_detections()) == 0


def test_a_data_sample_has_labels_and_scores(blobs):
    sample = blobs.to_sem_seg()
    assert isinstance(sample, SegDataSample)
    np.testing.assert_array_equal(sample.pred_sem_seg.data[0].numpy(), blobs.label_map)
    assert sample.seg_logits.data.shape == (3, 40, 60)
