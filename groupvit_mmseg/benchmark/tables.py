"""Tables of measured beside published scores, with the settings of each measurement."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from groupvit_mmseg.benchmark.published import PUBLISHED_BY
from groupvit_mmseg.benchmark.result_types import SetResult
from groupvit_mmseg.benchmark.sets import KNOWN_SETS

Row = dict[str, str]


def table_rows(results: Sequence[SetResult]) -> list[Row]:
    """Return a row per result, in their order.

    Args:
        results (Sequence[SetResult]): Contents of result files.

    Returns:
        list[Row]: Cells by column.
    """
    return [_row(result) for result in results]


def markdown_table(rows: Sequence[Row], notes: Sequence[str] = ()) -> str:
    """Format rows as a Markdown table, with a line below for each different note.

    Args:
        rows (Sequence[Row]): Of :func:`table_rows`; all have the same columns.
        notes (Sequence[str]): Of :func:`result_notes`. Defaults to ().

    Example:
        >>> print(markdown_table([dict(set='VOC21', ours='50.10')], ['Measured on 10 images.']))
        | set | ours |
        | --- | --- |
        | VOC21 | 50.10 |
        <BLANKLINE>
        Measured on 10 images.
        <BLANKLINE>
    """
    columns = list(rows[0])
    lines = [columns, ['---'] * len(columns), *(list(row.values()) for row in rows)]
    table = '\n'.join(f'| {" | ".join(cells)} |' for cells in lines)
    return '\n\n'.join([table, *dict.fromkeys(note for note in notes if note)]) + '\n'


def csv_table(rows: Sequence[Row]) -> str:
    """Format rows as comma-separated values with a header.

    Args:
        rows (Sequence[Row]): Of :func:`table_rows`; all have the same columns.

    Example:
        >>> print(csv_table([dict(set='VOC21', ours='50.10')]), end='')
        set,ours
        VOC21,50.10
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def result_notes(results: Sequence[SetResult]) -> list[str]:
    """Return the notes that a comparison needs: caveats, changed protocols, parts of a split.

    Args:
        results (Sequence[SetResult]): Contents of result files.
    """
    notes = []
    for result in results:
        title, protocol = _title(result), result['protocol']
        evaluated, benchmark = result['images']['evaluated'], KNOWN_SETS.get(result['set'])
        if benchmark and evaluated != benchmark.num_images:
            notes.append(
                f'{title}: {evaluated} images, not the split of {benchmark.num_images} that the '
                'published numbers are of.'
            )
        if protocol['caveat']:
            notes.append(f'Protocol {protocol["name"]}: {protocol["caveat"]}.')
        if protocol['changes']:
            changes = ', '.join(f'{key}={value}' for key, value in protocol['changes'].items())
            notes.append(f'{title}: protocol changed: {changes}.')
    return notes


def _row(result: SetResult) -> Row:
    """Return the cells of one result."""
    title, protocol, metrics = _title(result), result['protocol'], result['metrics']
    templates, benchmark = protocol['fields']['templates'], KNOWN_SETS.get(result['set'])
    scores = benchmark.published if benchmark else (None,) * len(PUBLISHED_BY)
    if result['set'] == 'imagenet' and templates != 'subset':  # published with the subset
        title, scores = f'{title}, 80 templates', (None,) * len(PUBLISHED_BY)
    published = zip(PUBLISHED_BY, scores, strict=True)
    return {
        'set': title,
        'ours': f'{metrics["mIoU"] if "mIoU" in metrics else metrics["top1"]:.2f}',
        'images': f'{result["images"]["evaluated"]:,}',
        'protocol': protocol['name'] + ('*' if protocol['changes'] else ''),
        'threshold': _number(protocol['fields']['bg_thresh']),
        'templates': templates if isinstance(templates, str) else str(len(templates)),
        'precision': result['precision'],
        'weights': (result['checkpoint']['sha256'] or 'random')[:12],
        **{name: _number(value) for name, value in published},
    }


def _title(result: SetResult) -> str:
    """Return the name of the set in tables."""
    benchmark = KNOWN_SETS.get(result['set'])
    return benchmark.title if benchmark else result['set']


def _number(value: float | str | None) -> str:
    """Format a number; a dash for None."""
    if isinstance(value, str):
        return value
    return '-' if value is None else f'{value:.1f}' if value > 1 else f'{value:g}'
