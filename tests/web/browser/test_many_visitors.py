"""Fifty visitors at once, as programs: no error, bounded memory, and how long answers take."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import httpx
import numpy as np
import pytest

VISITORS = 50
SECONDS = float(os.environ.get('GROUPVIT_LOAD_SECONDS', 60))
ROOT = Path(__file__).resolve().parents[3]


class Program:
    """A visitor without a browser: the requests that the page's script would send."""

    def __init__(self, client, config, number):
        self.client, self.number = client, number
        self.name = f'visitor-{number}'
        self.rng = np.random.RandomState(number)
        self.events = {each['api_name']: each for each in config['dependencies']}
        self.ids = {
            part['props'].get('elem_id'): part['id']
            for part in config['components']
            if part['props'].get('elem_id')
        }
        self.values = {part['id']: part['props'].get('value') for part in config['components']}
        self.seconds, self.errors = defaultdict(list), []

    async def send(self, event, **data):
        """Send an event; note how long the answer takes, and whether it is an error."""
        begin = time.perf_counter()
        dependency = self.events[event]
        body = dict(
            data=[self.values[each] for each in dependency['inputs']],
            fn_index=dependency['id'],
            session_hash=self.name,
            event_data=data or None,
        )
        address = 'run/predict' if dependency['queue'] is False else 'queue/join'
        reply = await self.client.post(address, json=body)
        if reply.status_code != 200:
            self.errors.append(f'{event}: {reply.status_code} {reply.text[:200]}')
            return
        answer = reply.json()
        if 'event_id' in answer:
            message = await self.answer(answer['event_id'])
            answer = message.get('output', {}) if message.get('success') else {}
        self.seconds[event].append(time.perf_counter() - begin)
        if 'data' not in answer or 'is-error' in json.dumps(answer['data']):
            self.errors.append(f'{event}: {json.dumps(answer)[:400]}')

    async def answer(self, event_id):
        """Wait for the answer to an event."""
        query = dict(session_hash=self.name)
        async with self.client.stream('GET', 'queue/data', params=query) as stream:
            async for line in stream.aiter_lines():
                if not line.startswith('data:'):
                    continue
                message = json.loads(line.removeprefix('data:'))
                if message['msg'] == 'process_completed' and message['event_id'] == event_id:
                    return message
        return {}

    async def visit(self, end):
        """Do what a visitor does until the time is over."""
        await self.send('begin')
        while time.monotonic() < end:
            await asyncio.sleep(self.rng.uniform(0.5, 2))
            choice = self.rng.rand()
            if choice < 0.6:
                self.values[self.ids['threshold']] = round(self.rng.rand(), 2)
                await self.send('labels')
            elif choice < 0.75:
                await self.send('example', index=int(self.rng.randint(6)))
            elif choice < 0.9:
                await self.send('pick', row=int(self.rng.randint(300)), column=10)
            else:
                word = dict(word=f'word {self.rng.randint(40)}', aliases=[], colour='#123456')
                self.values[self.ids['words']] = [*self.values[self.ids['words']][:3], word]
                await self.send('everything')


def resident_bytes(pid):
    """Memory of a process."""
    text = Path(f'/proc/{pid}/status').read_text()
    return int(re.search(r'VmRSS:\s+(\d+) kB', text).group(1)) * 1024


async def crowd(url, pid):
    """Let all visitors come; return them and the memory over time."""
    limits = httpx.Limits(max_connections=4 * VISITORS)
    async with httpx.AsyncClient(
        base_url=f'{url}gradio_api/', limits=limits, timeout=120
    ) as client:
        config = (await client.get(f'{url}config')).json()
        programs = [Program(client, config, number) for number in range(VISITORS)]
        end, memory = time.monotonic() + SECONDS, []

        async def watch():
            while time.monotonic() < end:
                memory.append(resident_bytes(pid))
                await asyncio.sleep(1)

        await asyncio.gather(watch(), *(program.visit(end) for program in programs))
        return programs, memory


@pytest.fixture
def server(models):
    """A page in a process of its own: its address and its number."""
    command = [sys.executable, '-m', 'groupvit_cli', 'web', '--no-open', '--port', '0']
    command += ['--model', models[0].source, '--config', str(models[0].config)]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        lines = iter(process.stdout.readline, '')
        line = next((line for line in lines if line.startswith('http')), None)
        assert line is not None
        yield line.split()[0], process.pid
        process.terminate()


@pytest.mark.slow
def test_fifty_visitors_see_no_error_and_memory_is_bounded(server, capsys):
    url, pid = server
    programs, memory = asyncio.run(crowd(url, pid))
    assert [error for program in programs for error in program.errors] == []
    seconds = defaultdict(list)
    for program in programs:
        for event, values in program.seconds.items():
            seconds[event] += values
    with capsys.disabled():
        print()
        for event, values in seconds.items():
            percentiles = np.percentile(values, [50, 95, 99])
            print(
                f'{event}: {len(values)} answers, median {percentiles[0]:.3f} s, '
                f'95 % {percentiles[1]:.3f} s, 99 % {percentiles[2]:.3f} s'
            )
        quarters = [f'{value / 2**20:.0f}' for value in memory[:: max(1, len(memory) // 8)]]
        print(f'memory, MiB, at equal times: {", ".join(quarters)}')
    assert {'begin', 'labels', 'example', 'pick', 'everything'} <= set(seconds)
    assert min(len(program.seconds['begin']) for program in programs) == 1
    # The caches fill first; in the second half nothing grows by more than their bounds allow.
    half = len(memory) // 2
    assert max(memory[half:]) < max(memory[:half]) + 300 * 2**20
