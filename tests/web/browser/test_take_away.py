"""Files to take away, and the texts that reproduce the result."""

import io
import json
import urllib.request

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def panel(page):
    """The open panel."""
    page.get_by_role('button', name='Take away').click()
    page.locator('#prepare').wait_for()
    return page


def downloads(page, *names):
    """Choose files, prepare them, and fetch them."""
    wanted = set(names)
    for box in page.locator('#formats label').all():
        if (box.inner_text().strip() in wanted) != box.locator('input').is_checked():
            box.click()
    page.locator('#prepare').click()
    page.locator('#files a').nth(len(names) - 1).wait_for(timeout=240_000)
    links = [link.get_attribute('href') for link in page.locator('#files a').all()]
    files = {}
    for link in dict.fromkeys(links):
        with urllib.request.urlopen(link) as answer:
            files[link.rpartition('/')[2]] = answer.read()
    return files


def test_overlay_labels_shares_and_masks(panel, served):
    files = downloads(
        panel,
        'Overlay (PNG)',
        'Label map (PNG with a palette)',
        'Shares and settings (JSON)',
        'Masks (COCO)',
    )
    height, width = served.setup.examples[0].open().size
    assert set(files) == {'bus-overlay.png', 'bus-labels.png', 'bus-shares.json', 'bus-coco.json'}
    labels = Image.open(io.BytesIO(files['bus-labels.png']))
    assert labels.mode == 'P'
    assert labels.size == (width, height)
    shares = json.loads(files['bus-shares.json'])
    assert 'ball' in json.dumps(shares)
    coco = json.loads(files['bus-coco.json'])
    covered = sum(annotation['area'] for annotation in coco['annotations'])
    assert covered <= height * width
    assert len(np.unique(np.asarray(labels))) >= len(
        {annotation['category_id'] for annotation in coco['annotations']}
    )


def test_the_model_with_these_words(panel):
    files = downloads(panel, 'Model with these words (ONNX)')
    (content,) = files.values()
    onnx = pytest.importorskip('onnx')
    assert onnx.load_from_string(content).graph.output


@pytest.mark.slow
def test_openvino_and_everything_at_once(panel):
    files = downloads(panel, 'Model with these words (OpenVINO)', 'Everything (ZIP)')
    assert all(content[:2] == b'PK' for content in files.values())


def test_no_file_chosen_is_one_sentence(panel):
    for box in panel.locator('#formats label').all():
        if box.locator('input').is_checked():
            box.click()
    panel.locator('#prepare').click()
    panel.locator('.message .is-error').wait_for()
    assert 'at least one kind of file' in panel.locator('.message').inner_text()


def test_program_and_command_follow_what_is_on_the_screen(visitor, panel):
    texts = panel.locator('#texts')
    assert 'GroupViTInferencer' in texts.inner_text()
    assert 'groupvit segment' in texts.inner_text()
    visitor.set_number('threshold', 0.37)
    visitor.wait_until(lambda: '0.37' in texts.inner_text())
    visitor.add('meadow')
    visitor.wait_until(lambda: 'meadow' in texts.inner_text())
    assert texts.locator('button', has_text='Copy').count() == 2
