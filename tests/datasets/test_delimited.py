"""Tables with quotes used properly, wrongly or not at all; whatever comes, rows are not mixed."""

import pytest

from groupvit_mmseg.datasets.account import Account
from groupvit_mmseg.datasets.caption_tables import Columns, read_delimited


@pytest.fixture
def read(tmp_path):
    """Reads a table's text; returns ``(image, caption)`` pairs and the account."""

    def read_text(text, *, delimiter='\t', encoding='utf-8', columns=None):
        path = tmp_path / 'pairs.tsv'
        path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        account = Account('rows')
        rows = list(read_delimited(path, delimiter, columns or Columns(), account))
        assert account.num_read == account.num_kept + account.num_dropped
        assert account.num_kept == len(rows)
        return [(row.image, *row.captions) for row in rows], account

    return read_text


def locations_by_reason(account):
    return {reason: tally.locations for reason, tally in account.drops.items()}


def test_quotes_that_open_and_never_close_are_text(read):
    text = 'image\tcaption\na0.jpg\t"big cat\na1.jpg\ta dog 5" tall\na2.jpg\tthe "end\n'
    rows, account = read(text)
    assert rows == [('a0.jpg', '"big cat'), ('a1.jpg', 'a dog 5" tall'), ('a2.jpg', 'the "end')]
    assert account.num_dropped == 0


def test_stray_quotes_of_csv_are_text_too(read):
    text = 'image,caption\na0.jpg,"big cat\na1.jpg,a dog 5" tall\na2.jpg,"quoted" word\n'
    rows, _ = read(text, delimiter=',')
    assert rows == [
        ('a0.jpg', '"big cat'),
        ('a1.jpg', 'a dog 5" tall'),
        ('a2.jpg', '"quoted" word'),
    ]


def test_names_without_an_ending_are_rows_of_their_own_too(read):
    text = 'id,caption\n17,"big cat\n18,a dog\n19,the end"\n'
    rows, _ = read(text, delimiter=',', columns=Columns('id'))
    assert rows == [('17', '"big cat'), ('18', 'a dog'), ('19', 'the end"')]


def test_rows_of_empty_cells_are_counted_and_empty_lines_are_none(read):
    rows, account = read('image\tcaption\n\t\n\n  \na.jpg\ta\n')
    assert rows == [('a.jpg', 'a')]
    assert locations_by_reason(account) == {
        'the name of the image is missing': ['pairs.tsv, line 2']
    }


@pytest.mark.parametrize('delimiter', [',', '\t'])
def test_fields_quoted_properly_may_hold_anything(read, delimiter):
    lines = ['image,caption', 'a.jpg,"a ""big"" cat', 'in, the sun"', '"b.jpg","a, b"', '']
    text = '\r\n'.join(lines)
    if delimiter == '\t':
        text = text.replace(',"', '\t"').replace('image,', 'image\t')
    rows, account = read(text, delimiter=delimiter)
    assert rows == [('a.jpg', 'a "big" cat\nin, the sun'), ('b.jpg', 'a, b')]
    assert account.num_read == 2


def test_line_breaks_in_a_first_column(read):
    rows, account = read('caption\timage\n"a big\ncat"\ta.jpg\n"a stray\tb.jpg\na dog\tc.jpg\n')
    assert rows == [('a.jpg', 'a big\ncat'), ('b.jpg', '"a stray'), ('c.jpg', 'a dog')]
    assert account.num_dropped == 0


def test_a_quote_that_nothing_closes_costs_no_other_row(read):
    rows = [f'{i}.jpg\ta dog' for i in range(2000)]
    rows[3] = '3.jpg\t"a dog'
    found, account = read('image\tcaption\n' + '\n'.join(rows))
    assert len(found) == 2000
    assert found[3] == ('3.jpg', '"a dog')
    assert account.num_dropped == 0


def test_rows_of_another_length_are_counted_by_line(read):
    rows, account = read(
        'image,caption\na.jpg,one\nb.jpg\n\nc.jpg,a dog, running\nd.jpg,two,,\n', delimiter=','
    )
    assert rows == [('a.jpg', 'one'), ('d.jpg', 'two')]
    assert locations_by_reason(account) == {
        'too few columns': ['pairs.tsv, line 3'],
        'too many columns': ['pairs.tsv, line 5'],
    }


def test_text_of_other_encodings_is_counted_by_line(read):
    text = b'\xef\xbb\xbfimage\tcaption\r\na.jpg\tcaf\xe9\r\nb.jpg\ta\0b\r\nc.jpg\tcaf\xc3\xa9\r\n'
    rows, account = read(text)
    assert rows == [('c.jpg', 'café')]
    assert locations_by_reason(account) == {
        'the line is not UTF-8 text': ['pairs.tsv, line 2'],
        'the line holds NUL bytes (UTF-16, or a binary file?)': ['pairs.tsv, line 3'],
    }


@pytest.mark.parametrize(
    'content, sentence',
    [
        ('image\tcaption\n'.encode('utf-16'), 'is UTF-16: save it as UTF-8'),
        (b'\x1f\x8b' + bytes(9), 'is compressed'),
        (b'PK\x03\x04' + bytes(9), 'zip archive or a spreadsheet'),
        (b'PAR1' + bytes(9), 'format parquet'),
        (b'\xef\xbb\xbf\n', 'has no line of text'),
        (b'a.jpg\ta dog\n', r"no column 'image' or .* among \['a.jpg', 'a dog'\]"),
        (b'image\tCaption\tcaption \na.jpg\tx\ty\n', "two columns are called 'caption'"),
    ],
)
def test_what_is_no_table_is_one_sentence(read, content, sentence):
    with pytest.raises(ValueError, match=sentence):
        read(content)


def test_headers_in_other_case_with_spaces_or_missing(read):
    expected = [('a.jpg', 'a dog')]
    assert read(' Image \tCAPTION\na.jpg\ta dog\n')[0] == expected
    assert read('image\ttext\na.jpg\ta dog\n')[0] == expected
    assert read('a dog\ta.jpg\n', columns=Columns('2', '1'))[0] == expected
    with pytest.raises(ValueError, match='number them from 1'):
        read('a dog\ta.jpg\n', columns=Columns('3', '1'))


def test_captions_larger_than_the_limit_of_csv(read):
    long = 'word ' * 40_000
    rows, _ = read(f'image,caption\na.jpg,"{long}"\n', delimiter=',')
    assert rows == [('a.jpg', long.strip())]


def test_rows_without_an_image_or_a_caption_are_counted(read):
    rows, account = read('image\tcaption\n\ta\nb.jpg\t \nhttp://x.org/c.jpg\tc\nd.jpg\td\n')
    assert rows == [('d.jpg', 'd')]
    assert locations_by_reason(account) == {
        'the name of the image is missing': ['pairs.tsv, line 2'],
        'the caption is empty': ['pairs.tsv, line 3'],
        'an address instead of an image: download it first (img2dataset)': ['pairs.tsv, line 4'],
    }
