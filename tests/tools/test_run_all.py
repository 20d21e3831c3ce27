"""Everything in one command: small on any CPU, and what was measured survives a cut."""

import json
import sys
import time
from pathlib import Path

import pytest
import torch

from loading import load_file


@pytest.fixture(scope='module')
def tool():
    return load_file('tools/benchmarks/run_all.py')


@pytest.mark.slow
def test_all_parts_run_small_on_a_cpu(tool, tmp_path):
    assert tool.main(['--tiny', '--out', str(tmp_path)]) == 0
    result = json.loads((tmp_path / 'result.json').read_text())
    assert [part['ended'] for part in result['parts'].values()] == ['finished'] * 4
    assert [row['switches'] for row in result['rows']] == [[], ['fp32']]
    assert all(row['pairs_per_second'] > 0 for row in result['rows'])
    text = (tmp_path / 'report.md').read_text()
    assert all(
        f'## {part}' in text for part in ('Training steps', 'Tests', 'Segmentation', 'Growth')
    )
    assert (tmp_path / 'scaling.png').is_file()


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a CUDA device')
def test_without_a_gpu_it_says_what_can_be_done(tool, tmp_path, capsys):
    assert tool.main(['--device', 'cuda', '--out', str(tmp_path / 'out')]) == 2
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
        tool.Part('training', 'Slow', ['-c', program, str(rows)], 3),
        tool.Part('broken', 'Broken', ['-c', 'raise SystemExit("it broke")'], 30),
    ]
    monkeypatch.setattr(tool, 'small_parts', lambda path: parts)
    rows.write_text('of an earlier call')
    assert tool.main(['--tiny', '--out', str(tmp_path)]) == 1
    result = json.loads((tmp_path / 'result.json').read_text())
    assert result['parts']['training']['ended'] == 'stopped after 3 s'
    assert result['parts']['broken']['ended'] == 'ended with status 1'
    assert [row['pairs_per_second'] for row in result['rows']] == [30.0]
    report = (tmp_path / 'report.md').read_text()
    assert '| 8 |' in report
    assert 'it broke' in report


def test_children_of_a_stopped_part_end_with_it(tool, tmp_path):
    program = (
        'import os, subprocess, sys, time; child = subprocess.Popen(["sleep", "60"]);'
        'print(child.pid, flush=True); time.sleep(60)'
    )
    part = tool.Part('slow', 'Slow', ['-c', program], 3)
    assert tool.run(part, 3, tmp_path, threads=None)['ended'] == 'stopped after 3 s'
    pid = int(tool.printed_by(part, tmp_path))
    end = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not is_alive(pid)


def is_alive(pid):
    """Whether a process runs; one that nobody has waited for yet does not."""
    status = Path(f'/proc/{pid}/status')
    return status.is_file() and 'State:\tZ' not in status.read_text()


def test_a_part_has_as_many_threads_as_are_stated(tool, tmp_path):
    part = tool.Part(
        'threads', 'Threads', ['-c', 'import torch; print(torch.get_num_threads())'], 60
    )
    tool.run(part, 60, tmp_path, threads=1)
    assert tool.printed_by(part, tmp_path) == '1'


def test_a_wrong_name_of_a_part_loses_no_measurement(tool, tmp_path, capsys):
    (tmp_path / 'rows.jsonl').write_text('measured')
    assert tool.main(['--tiny', '--parts', 'loader', '--out', str(tmp_path)]) == 2
    assert 'There is no part loader here: there are training, tests' in capsys.readouterr().err
    assert (tmp_path / 'rows.jsonl').read_text() == 'measured'


def test_rows_of_one_batch_are_compared(tool):
    rows = [
        dict(batch=256, switches=['compile'], pairs_per_second=900.0),
        dict(batch=256, switches=[], pairs_per_second=600.0),
        dict(batch=256, switches=['transformers'], pairs_per_second=300.0),
        dict(batch=512, switches=['compile'], pairs_per_second=1000.0),
        dict(batch=1024, switches=[], error='out of memory'),
        dict(batch=256, switches=['fp32'], pairs_per_second=100.0),
        dict(batch=256, switches=['fp32', 'transformers'], pairs_per_second=40.0),
    ]
    assert tool.ratios(rows) == [
        'Batch 256, compiled: 3.00 x transformers.',
        'Batch 256, eager: 2.00 x transformers.',
        'Batch 256, float32: 2.50 x transformers.',
    ]


@pytest.mark.parametrize('device', ['cuda', 'cpu'])
def test_every_part_is_a_command_that_parses(tool, tmp_path, monkeypatch, device):
    monkeypatch.setattr(tool, 'find_spec', lambda name: True)  # as if all runtimes were there
    make = tool.parts_on_gpu if device == 'cuda' else tool.parts_on_cpu
    parts = make(tmp_path / 'rows', tmp_path)
    for part in parts:
        program, *arguments = part.command
        if program == '-m':
            continue
        monkeypatch.setattr(sys, 'argv', ['tool'])
        load_file(program).parse_args(arguments)
    # The limits of a GPU's parts leave some time for what was not planned.
    assert sum(part.seconds for part in parts) <= (9.5 if device == 'cuda' else 75) * 60
    assert len({part.name for part in parts}) == len(parts)


@pytest.mark.parametrize('half', [True, False])
def test_what_a_cpu_emulates_is_not_measured(tool, tmp_path, monkeypatch, half):
    names = ['fp32-plain', 'fp32', *(['bf16'] if half else [])]
    monkeypatch.setattr(tool, 'precisions_of', lambda _: names)
    commands = {part.name: part.command for part in tool.parts_on_cpu(tmp_path / 'rows', None)}
    assert ('bf16' in commands['segmentation']) is half
    steps = commands['training'][commands['training'].index('--rows') + 1 :]
    assert steps == ['16:fp32', '16:fp32:transformers', *(['16', '16:transformers'] * half)]


PAGE = """# Speed
<!-- quick -->
old table
<!-- end of quick -->
Words.
<!-- other -->
kept
<!-- end of other -->
"""


def test_a_page_gets_the_tables_of_the_parts_that_finished(tool, tmp_path, monkeypatch):
    page = tmp_path / 'page.md'
    page.write_text(PAGE)
    warns = 'import sys; print("| new |\\n|---|"); print("a warning", file=sys.stderr)'
    parts = [
        tool.Part('quick', 'Quick', ['-c', warns], 30),
        tool.Part('other', 'Other', ['-c', 'print("| torn"); raise SystemExit(1)'], 30),
    ]
    monkeypatch.setattr(tool, 'small_parts', lambda path: parts)
    argv = ['--tiny', '--out', str(tmp_path), '--page', str(page)]
    for _ in range(2):  # a second call replaces the first one's table
        assert tool.main(argv) == 1
        text = page.read_text()
        assert text.count('| new |') == 1
        assert 'old table' not in text
        assert 'a warning' not in text
        assert text.startswith('# Speed\n<!-- quick -->\n\n')
        assert 'small sizes: no measurement' in text
        assert text.endswith(
            '<!-- end of quick -->\nWords.\n<!-- other -->\nkept\n<!-- end of other -->\n'
        )


@pytest.mark.parametrize(
    'text, message',
    [
        (
            '# Speed\n<!-- quick -->\n',
            'The page has no place for quick: <!-- quick --> ... <!-- end',
        ),
        (None, 'No such file'),
    ],
)
def test_a_page_that_cannot_be_filled_is_refused_before_anything_is_measured(
    tool, tmp_path, monkeypatch, capsys, text, message
):
    page = tmp_path / 'page.md'
    if text is not None:
        page.write_text(text)
    parts = [tool.Part('quick', 'Quick', ['-c', 'open("measured", "w")'], 30)]
    monkeypatch.setattr(tool, 'small_parts', lambda path: parts)
    monkeypatch.setattr(tool, 'run', None)  # is not reached
    assert tool.main(['--tiny', '--out', str(tmp_path / 'out'), '--page', str(page)]) == 2
    assert message in capsys.readouterr().err
    assert not page.exists() or page.read_text() == text


def test_what_is_no_table_is_one_block_of_code(tool, tmp_path, monkeypatch):
    page = tmp_path / 'page.md'
    page.write_text('<!-- plain -->\n<!-- end of plain -->\n')
    parts = [tool.Part('plain', 'Plain', ['-c', 'print("1 s")'], 30)]
    monkeypatch.setattr(tool, 'small_parts', lambda path: parts)
    assert tool.main(['--tiny', '--out', str(tmp_path), '--page', str(page)]) == 0
    assert page.read_text().endswith(':\n\n```text\n1 s\n```\n\n<!-- end of plain -->\n')


def test_the_figure_of_the_curves_comes_with_their_tables(tool, tmp_path, monkeypatch):
    page = tmp_path / 'docs/page.md'
    page.parent.mkdir()
    page.write_text('<!-- scaling -->\n<!-- end of scaling -->\n')
    draws = f'open({str(tmp_path / "scaling.png")!r}, "w").write("drawn"); print("| a |\\n|---|")'
    parts = [tool.Part('scaling', 'Growth', ['-c', draws], 30)]
    monkeypatch.setattr(tool, 'small_parts', lambda path: parts)
    assert tool.main(['--tiny', '--out', str(tmp_path), '--page', str(page)]) == 0
    assert '(images/performance_scaling.png)\n\n| a |' in page.read_text()
    assert (tmp_path / 'docs/images/performance_scaling.png').read_text() == 'drawn'
