"""A page with two tiny models of random weights, and Chromium, which must talk to nobody else."""

import os
import re
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlparse

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from groupvit_web.offline import switch_telemetry_off

switch_telemetry_off()
pytest.importorskip('gradio', reason='the page needs Gradio')
playwright = pytest.importorskip('playwright.sync_api', reason='the browser tests need Playwright')

CHROMIUM = os.environ.get('GROUPVIT_BROWSER') or shutil.which('chromium')
ARGUMENTS = (
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
)
PROJECTOR = dict(type='GroupViTProjector', in_channels=16, hidden_channels=16, out_channels=16)
TINY = dict(
    model=dict(
        type='GroupViTSegmentor',
        data_preprocessor=dict(
            type='SegDataPreProcessor', mean=[127.5] * 3, std=[64.0] * 3, bgr_to_rgb=True
        ),
        backbone=dict(
            type='GroupViT',
            img_size=32,
            patch_size=4,
            embed_dims=16,
            embed_factors=(1, 1, 1),
            depths=(1, 1, 1),
            num_heads=(2, 2, 2),
            num_group_tokens=(8, 4, 0),
            num_output_groups=(8, 4),
        ),
        decode_head=dict(
            type='GroupViTZeroShotHead',
            class_names=['ball', 'grass', 'water'],
            text_encoder=dict(
                type='GroupViTTextEncoder', context_length=16, embed_dims=16, num_layers=1
            ),
            image_projector=PROJECTOR,
            text_projector=PROJECTOR,
        ),
        test_cfg=dict(mode='whole', crop_size=(32, 32), stride=(24, 24)),
    ),
    test_dataloader=dict(
        dataset=dict(pipeline=[dict(type='LoadImageFromFile'), dict(type='PackSegInputs')])
    ),
)


def pytest_collection_modifyitems(items):
    if CHROMIUM is None:
        reason = 'there is no chromium: install it, or name a browser in GROUPVIT_BROWSER'
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope='session')
def models(tmp_path_factory):
    """Two tiny models, ``one`` and ``two``, from files."""
    from groupvit_mmseg.inference import GroupViTInferencer
    from groupvit_web.model import PageModel

    folder = tmp_path_factory.mktemp('models')
    config = folder / 'tiny.py'
    Config(TINY).dump(config)
    opened = []
    for seed, name in enumerate(('one', 'two')):
        torch.manual_seed(seed)
        weights = GroupViTInferencer(Config(TINY)).segmentor.state_dict()
        torch.save(dict(state_dict=weights), folder / f'{name}.pth')
        opened.append(PageModel.open(folder / f'{name}.pth', config=config))
    return opened


@pytest.fixture(scope='session')
def photographs(tmp_path_factory):
    """A folder with two photographs, and a text that is none."""
    folder = tmp_path_factory.mktemp('photographs')
    rng = np.random.RandomState(0)
    for name in ('bus.jpg', 'cow.png'):
        pixels = rng.randint(0, 255, (6, 8, 3), np.uint8).repeat(16, 0).repeat(16, 1)
        Image.fromarray(pixels).save(folder / name)
    (folder / 'notes.jpg').write_text('no picture')
    return folder


@pytest.fixture(scope='module')
def served(models, photographs):
    """The address of a page, with what it was made from."""
    from groupvit_web.address import Address
    from groupvit_web.example_pictures import example_pictures
    from groupvit_web.limits import Limits
    from groupvit_web.page import PageSetup, build_page
    from groupvit_web.serve import serve

    limits = Limits(file_bytes=2**20, words=20)
    setup = PageSetup(models, example_pictures(photographs), limits)
    page = build_page(setup)
    yield SimpleNamespace(url=serve(page, Address(port=0)), page=page, setup=setup)
    page.blocks.close(verbose=False)


@pytest.fixture(scope='module')
def chromium():
    """A browser."""
    with playwright.sync_playwright() as starter:
        browser = starter.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


class Visitor:
    """What a visitor does, and reads, on the open page."""

    def __init__(self, page):
        self.page = page

    def shares(self):
        """The table of shares: word to percent."""
        rows = self.page.locator('.shares tbody tr').evaluate_all(
            'rows => rows.map(row => [...row.children].map(cell => cell.innerText.trim()))'
        )
        return {row[0]: float(row[1].strip('<%')) for row in rows}

    def words(self, name='words'):
        """The words of a list of chips, in order."""
        return self.page.locator(f'#{name} .chip-name').all_text_contents()

    def add(self, text, name='words'):
        """Type words into a list, and send them off."""
        field = self.page.locator(f'#{name} .chip-field')
        field.fill(text)
        field.press('Enter')

    def set_number(self, name, value):
        """Type a value into the number field of a slider."""
        field = self.page.locator(f'#{name} input[type=number]')
        field.fill(str(value))
        field.press('Enter')

    def view(self, title):
        """Choose a view; return its picture's text."""
        self.page.locator('.view', has_text=re.compile(title)).first.click()
        return self.page.locator('.stage-image').get_attribute('alt')

    def source(self, selector='.stage-image'):
        """The address of a picture, which contains it."""
        return self.page.locator(selector).get_attribute('src')

    def wait_for_picture(self, name):
        """Wait until the view of the picture alone has a name."""
        self.view('^Picture$')
        self.page.locator('.stage-caption', has_text=name).wait_for()

    def wait_for_change(self, read, before, seconds=20):
        """Wait until something that is read from the page differs from before; return it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = read()
            if value != before:
                return value
            self.page.wait_for_timeout(20)
        raise AssertionError(f'{read.__name__} is still {before!r:.200}')

    def wait_until(self, condition, seconds=20):
        """Wait until a condition holds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():
                return
            self.page.wait_for_timeout(20)
        raise AssertionError('the condition did not come true')


@pytest.fixture
def open_page(chromium, served):
    """Opens the page; at the end, nothing may have been asked of another host, and no error."""
    contexts, hosts, errors = [], set(), []

    def note_request(request):
        url = urlparse(request.url)
        if url.scheme not in ('data', 'blob'):
            hosts.add(url.netloc)

    def opened(**options):
        context = chromium.new_context(**{'viewport': {'width': 1300, 'height': 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on('request', note_request)
        page.on('pageerror', lambda error: errors.append(str(error)))
        page.goto(served.url)
        page.locator('.stage-image[src]').wait_for()
        page.locator('.took').wait_for()
        return Visitor(page)

    yield opened
    for context in contexts:
        context.close()
    assert hosts == {urlparse(served.url).netloc}
    assert errors == []


@pytest.fixture
def visitor(open_page):
    """A visitor of the page, with the first example segmented."""
    return open_page()


@pytest.fixture
def page(visitor):
    """The visitor's page."""
    return visitor.page
