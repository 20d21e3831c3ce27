"""From published tables of addresses to the table that img2dataset reads."""

import json
import re

import pytest

from loading import load_file


@pytest.fixture(scope='module')
def tool():
    return load_file('tools/dataset_converters/url_tables.py')


@pytest.fixture
def convert(tool, tmp_path, capsys):
    """Converts a table; returns the rows that were written, and what was printed."""

    def run(name, content, *, suffix='.tsv', status=0):
        table, out = tmp_path / f'table{suffix}', tmp_path / 'urls.tsv'
        table.write_bytes(content if isinstance(content, bytes) else content.encode())
        assert tool.main([name, str(table), '--out', str(out)]) == status
        assert out.exists() == (status == 0)
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
            {table.name} | ({out.name} if status == 0 else set())
        )
        rows = out.read_text().splitlines()[1:] if status == 0 else []
        return [tuple(row.split('\t')) for row in rows], capsys.readouterr().err

    return run


TABLES = {
    'cc3m': 'a  <b>cat</b>\thttp://x.org/1.jpg\na cat\thttp://x.org/1.jpg\n\thttp://x.org/2.jpg\n',
    'cc12m': 'http://x.org/1.jpg\ta cat\nnowhere\ta dog\nhttp://x.org/1.jpg\ta cat\n',
    'yfcc14m': 'url\ttitle\tdescription\nhttp://x.org/1.jpg\ta+cat\t\nhttp://x.org/3.jpg\t\t\n',
    'redcaps': json.dumps(
        {'annotations': [dict(url='http://x.org/1.jpg', caption='a cat'), dict(caption='lost')]}
    ),
}


@pytest.mark.parametrize('name', TABLES)
def test_published_tables_become_one_that_img2dataset_reads(name, tool, tmp_path, capsys):
    table = tmp_path / 'table.tsv'
    table.write_text(TABLES[name])
    out = tmp_path / 'out' / 'urls.tsv'
    arguments = [name, str(table), '--out', str(out), '--shards', 'data/my shards']
    tool.main([*arguments, '--dry-run'])
    printed = capsys.readouterr()
    assert not out.exists()
    assert printed.out.startswith('http://x.org/1.jpg\n    a cat\n')
    assert re.match(r'rows: \d read, 1 kept, ', printed.err)
    tool.main(arguments)
    assert out.read_text() == 'url\tcaption\nhttp://x.org/1.jpg\ta cat\n'
    command = capsys.readouterr().out
    assert command.startswith('\nimg2dataset \\\n')
    assert f'--url_list={out}' in command
    assert "--output_folder='data/my shards'" in command
    assert '--input_format=tsv' in command
    assert '--output_format=webdataset' in command


def test_rows_of_cc3m_that_cannot_be_used_are_counted_by_line(convert):
    lines = [
        b'\xef\xbb\xbfa "big cat\thttp://x.org/1.jpg',
        b'no address',
        b'a\tb\thttp://x.org/2.jpg',
        b' \thttp://x.org/3.jpg',
        b'a cat\tnowhere',
        b'caf\xe9\thttp://x.org/4.jpg',
        b'a\0b\thttp://x.org/5.jpg',
        b'the "end\tHTTPS://x.org/6.jpg',
        b'a "big  cat\thttp://x.org/1.jpg',
    ]
    rows, account = convert('cc3m', b'\r\n'.join(lines))
    assert rows == [
        ('http://x.org/1.jpg', '"a ""big cat"'),
        ('HTTPS://x.org/6.jpg', '"the ""end"'),
    ]
    for line in (
        'rows: 9 read, 2 kept, 7 dropped',
        '1: too few columns (table.tsv, line 2)',
        '1: too many columns (table.tsv, line 3)',
        '1: the caption is empty (table.tsv, line 4)',
        '1: no address (table.tsv, line 5)',
        '1: the line is not UTF-8 text (table.tsv, line 6)',
        '1: the line holds NUL bytes (UTF-16, or a binary file?) (table.tsv, line 7)',
        '1: a row that comes twice (table.tsv, line 9)',
    ):
        assert line in account


def test_annotations_of_redcaps_with_nulls_are_counted(convert):
    content = dict(
        annotations=[
            dict(url=None, caption='a'),
            dict(url='http://x.org/1.jpg', caption=None),
            dict(url='http://x.org/1.jpg', caption=['a', 'b']),
            dict(url='http://x.org/1.jpg', caption='\ud800 a'),
            None,
            dict(url=7, caption='a'),
        ]
    )
    rows, account = convert('redcaps', '\ufeff' + json.dumps(content), suffix='.json')
    assert rows == [('http://x.org/1.jpg', 'a')]
    assert 'rows: 6 read, 1 kept, 5 dropped' in account
    assert (
        'note: 1 addresses have several captions: the first is taken (table.json, annot' in account
    )
    assert '2: no address (table.json, annotation 1; table.json, annotation 6)' in account


def test_quotes_and_short_rows_of_yfcc_mix_no_rows(convert):
    lines = [
        'URL, Title ,description',
        'http://x.org/1.jpg,"big+cat,"',
        'http://x.org/2.jpg,a,b',
        'http://x.org/3.jpg',
        'http://x.org/4.jpg,"one, ""two""","three',
        'four"',
    ]
    rows, account = convert('yfcc14m', '\n'.join(lines), suffix='.CSV')
    assert rows == [
        ('http://x.org/2.jpg', 'a. b'),
        ('http://x.org/4.jpg', '"one, ""two"". three four"'),
    ]
    assert '2: too few columns (table.CSV, line 2; table.CSV, line 4)' in account


@pytest.mark.parametrize(
    'name, content, sentence',
    [
        ('cc3m', 'a\tb\n', 'are these the tables of cc3m?'),
        ('cc3m', 'a\thttp://x.org/1.jpg'.encode('utf-16'), 'is UTF-16'),
        ('cc12m', b'\x1f\x8b' + bytes(9), 'is compressed'),
        ('redcaps', '{"annotations": 3}', 'has no list "annotations"'),
        ('redcaps', '[', 'is not JSON'),
        ('redcaps', b'"\xe9"', 'is not UTF-8 text'),
        ('yfcc14m', 'url\ttitle\n', 'has no column description'),
        ('yfcc14m', '', 'has no line of text'),
    ],
)
def test_another_table_is_one_sentence_and_writes_nothing(convert, name, content, sentence):
    _, printed = convert(name, content, status=2)
    assert sentence in printed
    assert printed.count('error: ') == 1


def test_tables_and_other_files_are_not_overwritten(tool, tmp_path, capsys):
    table, other = tmp_path / 'table.tsv', tmp_path / 'urls.tmp'
    table.write_text(TABLES['cc3m'])
    other.write_text('precious')
    for arguments in (
        ['cc3m', str(table), '--out', str(tmp_path / '.' / 'table.tsv'), '--overwrite'],
        ['cc3m', str(table), '--out', str(other)],
        ['cc3m', str(table), '--out', str(tmp_path)],
    ):
        with pytest.raises(SystemExit) as status:
            tool.main(arguments)
        assert status.value.code == 2
    assert tool.main(['cc3m', str(table), '--out', str(tmp_path / 'urls.tsv')]) == 0
    assert table.read_text() == TABLES['cc3m']
    assert other.read_text() == 'precious'
    assert tool.main(['cc3m', str(table), '--out', str(other), '--overwrite']) == 0
    assert other.read_text().startswith('url\tcaption\n')
