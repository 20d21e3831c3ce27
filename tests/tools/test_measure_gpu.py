"""One command on a GPU: its parts run on a CPU too, and what was measured survives a cut."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def tool():
    path = ROOT / 'tools/benchmarks/measure_gpu.py'
    spec = importlib.util.spec_from_file_location('measure_gpu', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_all_parts_run_small_on_a_cpu(tool, tmp_path):
    assert tool.main(['--tiny', '--out', str(tmp_path)]) in (None, 0)
    result = json.loads((tmp_path / 'result.json').read_text())
    assert [part['ended'] for part in result['parts'].values()] == ['finished'] * 3
    assert [row['switches'] for row in result['rows']] == [[], ['fp32']]
    assert all(row['pairs_per_second'] > 0 for row in result['rows'])
    text = (tmp_path / 'report.md').read_text()
    assert all(f'## {part}' in text for part in ('Training steps', 'Tests', 'Segmentation'))


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a CUDA device')
def test_without_a_gpu_it_says_what_can_be_done(tool, tmp_path, capsys):
    assert tool.main(['--out', str(tmp_path / 'out')]) == 2
    assert 'There is no CUDA device: --tiny runs' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_a_part_that_takes_too_long_is_stopped_and_its_rows_are_kept(tool, tmp_path, monkeypatch):
    program = (
        'import json, sys, time; row = dict(batch=8, switches=["compile"], pairs_per_second=30.0);'
        'print("| 8 |"); open(sys.argv[1], "a").write(json.dumps(row) + "\\n" + "{torn");'
        'open(sys.argv[1] + ".done", "w"); time.sleep(60)'
    )
    rows = tmp_path / 'rows.jsonl'
    parts = [
        tool.Part('slow', 'Slow', ['-c', program, str(rows)], 3),
        tool.Part('broken', 'Broken', ['-c', 'raise SystemExit(3)'], 30),
    ]
    monkeypatch.setattr(tool, 'parts_on_cpu', lambda path: parts)
    tool.main(['--tiny', '--out', str(tmp_path)])
    result = json.loads((tmp_path / 'result.json').read_text())
    assert result['parts']['slow']['ended'] == 'stopped after 3 s'
    assert result['parts']['broken']['ended'] == 'ended with status 3'
    assert [row['pairs_per_second'] for row in result['rows']] == [30.0]
    assert '| 8 |' in (tmp_path / 'report.md').read_text()


def test_rows_of_one_batch_are_compared(tool):
    rows = [
        dict(batch=256, switches=['compile'], pairs_per_second=900.0),
        dict(batch=256, switches=[], pairs_per_second=600.0),
        dict(batch=256, switches=['transformers'], pairs_per_second=300.0),
        dict(batch=512, switches=['compile'], pairs_per_second=1000.0),
        dict(batch=1024, switches=[], error='out of memory'),
    ]
    assert tool.ratios(rows) == [
        'Batch 256, compiled: 3.00 x transformers.',
        'Batch 256, eager: 2.00 x transformers.',
    ]


def test_every_part_of_a_gpu_run_is_a_command_that_parses(tool, tmp_path, monkeypatch):
    for part in tool.parts_on_gpu(tmp_path / 'rows', tmp_path):
        program, *arguments = part.command
        if program == '-m':
            continue
        spec = importlib.util.spec_from_file_location(Path(program).stem, program)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setattr(sys, 'argv', ['tool'])
        spec.loader.exec_module(module)
        module.parse_args(arguments)
    assert sum(part.seconds for part in tool.parts_on_gpu(tmp_path, tmp_path)) <= 9.5 * 60
