"""Pages of Parquet files: what every writer's pages claim is accepted, lies are not."""

import io
import os

import numpy as np
import pytest

from groupvit_mmseg.datasets.parquet_pages import check_pages, read_columns, read_pages
from groupvit_mmseg.datasets.parquet_tables import check_claims, read_row_group

pa = pytest.importorskip('pyarrow')
parquet = pytest.importorskip('pyarrow.parquet')

ROWS = 900
WRITERS = {
    'plain': dict(compression='none', use_dictionary=False),
    'dictionary': dict(compression='snappy', use_dictionary=True),
    'zstd': dict(compression='zstd', use_dictionary=False),
    'gzip': dict(compression='gzip'),
    'brotli': dict(compression='brotli'),
    'lz4': dict(compression='lz4'),
    'second-version': dict(compression='snappy', data_page_version='2.0', version='2.6'),
    'many-pages': dict(
        data_page_size=512, write_batch_size=16, use_dictionary=False, compression='snappy'
    ),
    'checksums': dict(compression='zstd', write_page_checksum=True, write_page_index=True),
    'statistics': dict(compression='none', write_statistics=True, data_page_version='2.0'),
    'delta': dict(
        compression='zstd',
        use_dictionary=False,
        column_encoding={'caption': 'DELTA_BYTE_ARRAY', 'image.path': 'DELTA_LENGTH_BYTE_ARRAY'},
    ),
}


@pytest.fixture(scope='module')
def table():
    rng = np.random.default_rng(0)
    images = [
        dict(bytes=rng.bytes(int(size)), path=f'{index}.jpg') if index % 7 else None
        for index, size in enumerate(rng.integers(0, 3000, ROWS))
    ]
    captions = [f'a {"very " * (index % 5)}red thing' for index in range(ROWS)]
    several = [[caption] * (index % 3) for index, caption in enumerate(captions)]
    columns = {'image': images, 'caption': captions, 'captions.all': several}
    return pa.table(columns)


@pytest.mark.parametrize('name', list(WRITERS))
def test_every_kind_of_page_is_accepted_and_read(table, tmp_path, name):
    path = tmp_path / 'x.parquet'
    parquet.write_table(table, path, row_group_size=400, **WRITERS[name])
    content = parquet.ParquetFile(path).metadata
    assert content.num_row_groups == 3
    rows, most = [], 0
    for group in range(content.num_row_groups):
        rows += read_row_group(path, group, ['image', 'caption', 'captions.all'])
        own = read_columns(path, group)
        assert len(own) == content.num_columns
        for index in range(content.num_columns):
            column = content.row_group(group).column(index)
            start = column.dictionary_page_offset or column.data_page_offset
            nulls = column.statistics.null_count if column.statistics else None
            assert own[index] == (column.path_in_schema, start, column.num_values, nulls)
            values, pages = 0, 0
            with path.open('rb') as stream:
                for page in read_pages(stream, start, path.stat().st_size):
                    values, pages = values + page.values, pages + 1
                    if values == column.num_values:
                        break
            assert values == column.num_values
            most = max(most, pages)
            assert page.end == start + column.total_compressed_size
    assert rows == list(zip(*table.to_pydict().values(), strict=True))
    assert most > (20 if name == 'many-pages' else 0)


def test_equal_captions_that_pack_well_are_accepted(tmp_path):
    path = tmp_path / 'x.parquet'
    columns = {'caption': ['a photograph of nothing at all'] * 30_000}
    parquet.write_table(pa.table(columns), path, compression='gzip', use_dictionary=False)
    assert len(list(read_row_group(path, 0, ['caption']))) == 30_000


def header(unpacked, packed, values):
    """A header of a data page in Thrift's compact protocol."""

    def integer(number):
        number, out = 2 * number, b''
        while number > 127:
            number, out = number >> 7, out + bytes([number & 127 | 128])
        return out + bytes([number])

    data = b'\x15' + integer(values) + b'\x15\x00\x15\x06\x15\x06\x00'
    return (
        b'\x15\x00\x15' + integer(unpacked) + b'\x15' + integer(packed) + b'\x2c' + data + b'\x00'
    )


@pytest.mark.parametrize(
    'page, message',
    [
        (header(2**31, 10, 2) + bytes(10), 'claims to unpack to 2,147,483,648'),
        (header(10, 10, 2**31 - 1) + bytes(10), 'claims 2,147,483,647 values'),
        (header(10, 2**20, 2) + bytes(10), 'longer than the file'),
        (header(10, 10, 2)[:5], 'damaged or cut off'),
        (b'\x1c' * 200, 'header is damaged'),
        (b'\x19\xf5\xff\xff\xff\xff\x0f' + bytes(9), 'header is damaged'),
        (b'\x1b\x01' + bytes(9), 'header is damaged'),
        (b'\x15' + b'\xff' * 20, 'header is damaged'),
        (b'\x15\x00\x15\x02\x15\x02\x18\x01a\x00', 'claims|damaged|file'),
    ],
)
def test_lies_and_damage_are_one_sentence(page, message):
    with pytest.raises(ValueError, match=message):
        check_pages(io.BytesIO(page), 0, 2)


def test_a_file_that_is_replaced_within_a_moment_is_read_anew(tmp_path):
    """Of the same size and time of change, as two files written within a tick of the clock are."""
    path = tmp_path / 'x.parquet'
    starts = []
    for names in (('a', 'bb'), ('aa', 'b')):
        table = pa.table({'x': [names[0]], 'y': [names[1]]})
        parquet.write_table(table, path, compression='none', write_statistics=False)
        os.utime(path, ns=(0, 0))
        starts.append((path.stat().st_size, [column.start for column in read_columns(path, 0)]))
    assert starts[0][0] == starts[1][0]
    assert starts[0][1] != starts[1][1]


def test_a_long_minimum_in_a_header_is_no_damage():
    """Some writers put whole images there."""
    image = bytes(300_000)
    length = b'\xe0\xa7\x12'  # 300,000
    data = b'\x15\x04' + b'\x4c' + b'\x18' + length + image + b'\x00' + b'\x00'
    page = b'\x15\x00\x15\x14\x15\x14\x2c' + data + b'\x00' + bytes(10)
    (only,) = read_pages(io.BytesIO(page), 0, len(page))
    assert (only.packed, only.values, only.end) == (10, 2, len(page))


def test_pages_that_pyarrow_passes_over_hide_none_behind_them():
    """An index page (type 1), or a header of another kind of page, counts no values."""
    lie = header(2**31, 10, 2) + bytes(10)
    for kind in (b'\x02', b'\x06'):
        passed_over = header(10, 10, 2).replace(b'\x15\x00', b'\x15' + kind, 1) + bytes(10)
        with pytest.raises(ValueError, match='claims to unpack'):
            check_pages(io.BytesIO(passed_over + lie), 0, 2)


def test_a_size_of_another_type_of_integer_is_none():
    page = b'\x16' + header(10, 10, 2)[1:] + bytes(10)  # the type of the page, in 64 bits
    with pytest.raises(ValueError, match='header is damaged'):
        check_pages(io.BytesIO(page), 0, 2)


def test_the_column_is_named(tmp_path):
    path = tmp_path / 'x.parquet'
    parquet.write_table(pa.table({'caption': ['a', 'b']}), path, compression='none')
    content = bytearray(path.read_bytes())
    column = parquet.ParquetFile(path).metadata.row_group(0).column(0)
    content[column.dictionary_page_offset] = 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match='column caption: a page'):
        check_claims(path, 0)
