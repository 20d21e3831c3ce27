"""Fifty visitors at once: right answers, no error, bounded memory."""

import gc
import random
import resource
import threading
import time
import tracemalloc

import numpy as np
import pytest

from groupvit_web.limits import Limits
from groupvit_web.pixels import explain_pixel
from groupvit_web.segmentation import PageSegmenter, SegmentationRequest
from groupvit_web.take_away import take_away
from groupvit_web.uploads import read_picture

from .conftest import WORDS, png

SECONDS, VISITORS = 20, 50


def resident_bytes():
    """Memory of this process now."""
    with open('/proc/self/statm') as stream:
        return int(stream.read().split()[1]) * resource.getpagesize()


def visit(segmenter, seed, end, failures, expected):
    """Ask for many things until the time is over; note what goes wrong."""
    chance = random.Random(seed)
    while time.monotonic() < end:
        try:
            number = chance.randrange(30)
            picture = read_picture(png(40 + number, 70, seed=number))
            mode = chance.choice(['whole', 'slide'])
            request = SegmentationRequest(WORDS, mode=mode, bg_thresh=chance.choice([None, 0.3]))
            result = segmenter.segment(picture, request)
            key = (number, mode, request.bg_thresh)
            shares = {row.name: row.share for row in result.shares}
            if expected.setdefault(key, shares) != shares:
                failures.append(f'{key}: {shares} instead of {expected[key]}')
            explain_pixel(segmenter, picture, request, 5, 5)
            take_away(chance.choice(['labels', 'coco', 'python']), segmenter, picture, request)
        except Exception as error:  # any error is a failure
            failures.append(repr(error))


@pytest.mark.slow
def test_fifty_visitors_for_some_seconds(model):
    limits = Limits(encoding_bytes=8 * 2**20, score_bytes=8 * 2**20, seconds=120)
    segmenter, failures, expected, memory, allocated = PageSegmenter(model, limits), [], {}, [], []
    end = time.monotonic() + SECONDS
    threads = [
        threading.Thread(target=visit, args=(segmenter, seed, end, failures, expected))
        for seed in range(VISITORS)
    ]
    tracemalloc.start()
    try:
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            time.sleep(1)
            memory.append(resident_bytes())
            allocated.append(tracemalloc.get_traced_memory()[0])
        for thread in threads:
            thread.join()
        gc.collect()
        left = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert failures == []
    assert len(expected) > 20
    assert segmenter.encodings.kept.size <= limits.encoding_bytes
    third = len(memory) // 3
    assert np.mean(memory[-third:]) < np.mean(memory[third:-third]) + 50 * 2**20
    assert left < 60 * 2**20
    assert not any(thread.is_alive() for thread in threads)


def test_other_models_do_not_share_answers(model, weights):
    """Two segmenters of two models have caches of their own."""
    import torch

    from groupvit_web.model import PageModel

    other = PageModel.open(weights)
    with torch.no_grad():
        for parameter in other._inferencer.segmentor.backbone.parameters():
            parameter.mul_(0.5)
    picture, request = read_picture(png(50, 70)), SegmentationRequest(WORDS, mode='whole')
    heats = [
        PageSegmenter(each).segment(picture, request).heat_maps[0].content
        for each in (model, other)
    ]
    assert heats[0] != heats[1]
    assert model.key != other.key
