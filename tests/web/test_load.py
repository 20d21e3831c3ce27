"""Fifty visitors of a served page at once: no error, flat memory, and how long answers take."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('gradio', reason='the page needs Gradio')

from .http_visitor import Visitor

pytestmark = pytest.mark.faults
VISITORS = 50
SECONDS = float(os.environ.get('FAULT_PAGE_SECONDS', 15))
ROOT = Path(__file__).resolve().parents[2]
EVENTS = {'begin', 'labels', 'example', 'pick', 'everything'}
GROWTH = 64 * 2**20
"""int: Bytes by which the memory may grow in the second half of the time."""


class Guest(threading.Thread):
    """A visitor who changes things at random until the time is over."""

    def __init__(self, url, number, end):
        super().__init__(daemon=True)
        self.visitor, self.end = Visitor(url, f'visitor-{number}'), end
        self.rng = np.random.RandomState(number)
        self.seconds, self.errors = defaultdict(list), []

    def send(self, event, **data):
        """Send an event; note how long the answer takes, and whether it is an error."""
        begin = time.perf_counter()
        answer = self.visitor.send(event, **data)
        self.seconds[event].append(time.perf_counter() - begin)
        if 'is-error' in json.dumps(answer):
            self.errors.append(f'{event}: {answer["message"]}')

    def run(self):
        """Visit."""
        try:
            self.send('begin')
            while time.monotonic() < self.end:
                time.sleep(self.rng.uniform(0.5, 2))
                self.change_something()
        except Exception as error:  # any error is a failure
            self.errors.append(repr(error))

    def change_something(self):
        """Change the threshold mostly, sometimes the picture or a word, or ask about a pixel."""
        choice = self.rng.rand()
        if choice < 0.6:
            self.visitor.set('threshold', round(self.rng.rand(), 2))
            self.send('labels')
        elif choice < 0.75:
            self.send('example', index=int(self.rng.randint(6)))
        elif choice < 0.9:
            self.send('pick', row=int(self.rng.randint(300)), column=10)
        else:
            word = dict(word=f'word {self.rng.randint(40)}', aliases=[], colour='#123456')
            words = self.visitor.values[self.visitor.ids['words']]
            self.visitor.set('words', [*words[:3], word])
            self.send('everything')


def resident_bytes(pid):
    """Memory of a process."""
    text = Path(f'/proc/{pid}/status').read_text()
    return int(re.search(r'VmRSS:\s+(\d+) kB', text).group(1)) * 1024


def slope(memory):
    """Bytes a second, by the median of the slopes of all pairs (Theil and Sen)."""
    times, values = np.array(memory).T
    first, second = np.triu_indices(len(times), k=1)
    return float(np.median((values[second] - values[first]) / (times[second] - times[first])))


# Small caches, which are full after some seconds: whatever grows then is kept for ever.
PROGRAM = """
import sys
from groupvit_web.offline import switch_telemetry_off
switch_telemetry_off()
from groupvit_web.address import Address
from groupvit_web.example_pictures import example_pictures
from groupvit_web.limits import Limits
from groupvit_web.model import PageModel
from groupvit_web.page import PageSetup, build_page
from groupvit_web.serve import serve
limits = Limits(encoding_bytes=8 * 2**20, score_bytes=24 * 2**20)
page = build_page(PageSetup([PageModel.open(sys.argv[1])], example_pictures(), limits))
print(serve(page, Address(port=0)), flush=True)
page.blocks.block_thread()
"""


@pytest.fixture
def served(weights):
    """A page in a process of its own: its address and its number."""
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    with subprocess.Popen(
        [sys.executable, '-c', PROGRAM, str(weights)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        lines = iter(process.stdout.readline, '')
        line = next((line for line in lines if line.startswith('http')), None)
        assert line is not None
        yield line.split()[0], process.pid
        process.terminate()


def test_fifty_visitors_see_no_error_and_memory_is_flat(served, capsys):
    url, pid = served
    Visitor(url, 'warm').send('begin')
    end, memory = time.monotonic() + SECONDS, []
    guests = [Guest(url, number, end) for number in range(VISITORS)]
    for guest in guests:
        guest.start()
    while any(guest.is_alive() for guest in guests):
        memory.append((time.monotonic(), resident_bytes(pid)))
        time.sleep(0.5)
    growth = slope(memory[len(memory) // 2 :])
    seconds = defaultdict(list)
    for guest in guests:
        for event, values in guest.seconds.items():
            seconds[event] += values
    with capsys.disabled():
        report(seconds, memory, growth)
    assert [error for guest in guests for error in guest.errors] == []
    assert set(seconds) == EVENTS
    assert len(seconds['begin']) == VISITORS
    # The first seconds fill caches and allocators: a short run says nothing about memory.
    assert SECONDS < 45 or growth * SECONDS / 2 < GROWTH


def report(seconds, memory, growth):
    """Print latencies and memory."""
    print()
    for event, values in seconds.items():
        p50, p95, p99 = np.percentile(values, [50, 95, 99])
        print(f'{event}: {len(values)} answers, p50 {p50:.3f} s, p95 {p95:.3f} s, p99 {p99:.3f} s')
    eighths = [f'{value / 2**20:.0f}' for _, value in memory[:: max(1, len(memory) // 8)]]
    print(f'memory, MiB, at equal times: {", ".join(eighths)}')
    print(f'slope of the second half: {growth / 1024:.1f} KiB/s')
