"""The table: our numbers beside the published ones, each with what it was measured by."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from groupvit_mmseg.benchmark.sets import BENCHMARKS, PUBLISHED_BY

Row = dict[str, str]


def table_rows(results: Sequence[Mapping[str, Any]]) -> list[Row]:
    """One row per result file's content, in the order given."""
    return [_row(result) for result in results]


def markdown_table(rows: Sequence[Row], notes: Sequence[str] = ()) -> str:
    """Rows as a Markdown table, with a line below for each different note."""
    columns = list(rows[0])
    lines = [columns, ['---'] * len(columns), *(list(row.values()) for row in rows)]
    table = '\n'.join(f'| {" | ".join(cells)} |' for cells in lines)
    return '\n\n'.join([table, *dict.fromkeys(note for note in notes if note)]) + '\n'


def csv_table(rows: Sequence[Row]) -> str:
    """Rows as comma-separated values with a header."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def result_notes(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a reader must know who compares: stand-ins, changes, parts of a split."""
    notes = []
    for result in results:
        title, protocol, evaluated = (
            _title(result),
            result['protocol'],
            result['images']['evaluated'],
        )
        known = BENCHMARKS.get(result['set'])
        if known and evaluated != known.num_images:
            notes.append(
                f'{title}: {evaluated} images, not the split of {known.num_images} that the '
                'published numbers are of.'
            )
        if protocol['caveat']:
            notes.append(f'Protocol {protocol["name"]}: {protocol["caveat"]}.')
        if protocol['changes']:
            changed = ', '.join(f'{key}={value}' for key, value in protocol['changes'].items())
            notes.append(f'{title}: protocol changed: {changed}.')
    return notes


def _row(result: Mapping[str, Any]) -> Row:
    """Cells of one result."""
    title, protocol, metrics = _title(result), result['protocol'], result['metrics']
    templates, known = protocol['fields']['templates'], BENCHMARKS.get(result['set'])
    numbers = known.published if known else (None,) * len(PUBLISHED_BY)
    if result['set'] == 'imagenet' and templates != 'subset':  # published with the subset
        title, numbers = f'{title}, 80 templates', (None,) * len(PUBLISHED_BY)
    published = zip(PUBLISHED_BY, numbers, strict=True)
    return {
        'set': title,
        'ours': f'{metrics.get("mIoU", metrics.get("top1")):.2f}',
        'images': f'{result["images"]["evaluated"]:,}',
        'protocol': protocol['name'] + ('*' if protocol['changes'] else ''),
        'threshold': _number(protocol['fields']['bg_thresh']),
        'templates': templates if isinstance(templates, str) else str(len(templates)),
        'precision': result['precision'],
        'weights': (result['checkpoint']['sha256'] or 'random')[:12],
        **{name: _number(value) for name, value in published},
    }


def _title(result: Mapping[str, Any]) -> str:
    """What the table calls the set of a result."""
    known = BENCHMARKS.get(result['set'])
    return known.title if known else result['set']


def _number(value: float | None) -> str:
    """A number, or a dash where there is none."""
    return '-' if value is None else f'{value:.1f}' if value > 1 else f'{value:g}'
