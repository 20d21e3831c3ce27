"""A tiny model with random weights in a file, and a picture: what the tests of the page share."""

import io
import math
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS
from PIL import Image

from groupvit_mmseg.atomic_files import save_checkpoint
from groupvit_web.model import PageModel
from groupvit_web.offline import switch_telemetry_off
from groupvit_web.segmentation import PageSegmenter
from groupvit_web.uploads import read_picture

switch_telemetry_off()  # before Gradio is imported
CONFIGS = 'tests/data/configs'
WORDS = ('cat', 'dog', 'grass', 'sky', 'train')


@pytest.fixture(scope='session')
def weights(pytestconfig, tmp_path_factory):
    """The file of a segmentor that sees several classes in a picture, whole and in windows."""
    cfg = Config.fromfile(pytestconfig.rootpath / CONFIGS / 'tiny_zeroshot.py')
    torch.manual_seed(45)
    with DefaultScope.overwrite_default_scope('mmseg'):
        segmentor = MODELS.build(cfg.model)
    for name, parameter in segmentor.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=3.0 if 'group_token' in name else 0.5)
    segmentor.decode_head.logit_scale.data.fill_(math.log(20))
    # Scale and windows of the paper, which show more of a picture than those of this config.
    cfg.pop('test_dataloader')
    cfg.model.pop('test_cfg')
    path = tmp_path_factory.mktemp('weights') / 'tiny.pth'
    save_checkpoint(dict(state_dict=segmentor.state_dict(), meta=dict(cfg=cfg.pretty_text)), path)
    return path


@pytest.fixture(scope='session')
def model(weights):
    """The opened model."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        return PageModel.open(weights)


@pytest.fixture
def segmenter(model):
    """With empty caches."""
    return PageSegmenter(model)


def png(height, width, seed=0):
    """The content of a PNG file of coloured rectangles."""
    colours = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    image = Image.fromarray(colours).resize((width, height), Image.Resampling.NEAREST)
    stream = io.BytesIO()
    image.save(stream, 'PNG')
    return stream.getvalue()


@pytest.fixture
def picture(tmp_path):
    """A picture of 50 x 70 pixels, in a file."""
    path = tmp_path / 'picture.png'
    path.write_bytes(png(50, 70))
    return read_picture(path)


@contextmanager
def opened_page(model, limits=None, *, user=None, **folders):
    """Serve a page of one model on loopback: its address and the page."""
    pytest.importorskip('gradio', reason='the page needs Gradio')
    from groupvit_web.address import Address
    from groupvit_web.example_pictures import example_pictures
    from groupvit_web.limits import Limits
    from groupvit_web.page import PageSetup, build_page
    from groupvit_web.serve import serve

    page = build_page(PageSetup([model], example_pictures(), limits or Limits(), **folders))
    try:
        yield SimpleNamespace(url=serve(page, Address(port=0, user=user)), page=page)
    finally:
        page.blocks.close(verbose=False)


@pytest.fixture(scope='module')
def server(model):
    """A page with the usual limits."""
    with opened_page(model) as opened:
        yield opened


@pytest.fixture
def open_server(model):
    """Serves pages with other limits or folders: ``open_server(limits, work_dir=...)``."""
    with ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(opened_page(model, *args, **kwargs))
