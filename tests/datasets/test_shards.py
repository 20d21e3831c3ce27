import json

import pytest

from groupvit_mmseg.datasets.shards import expand_shards, mix_quotas, open_source


def test_braces_globs_and_lists_expand_alike(make_source):
    source, _ = make_source('cc', [1, 1, 1])
    root = source['data_root']
    expected = tuple(f'{root}/cc-{i:03d}.tar' for i in range(3))
    assert expand_shards('cc-{000..002}.tar', root) == expected
    assert expand_shards('cc-*.tar', root) == expected
    assert expand_shards(['cc-000.tar', 'cc-00[1-2].tar'], root) == expected
    assert expand_shards(f'{root}/cc-*.tar') == expected


def test_folders_may_have_brackets_in_their_names(tmp_path):
    folder = tmp_path / 'run [v2]*'
    folder.mkdir()
    expected = tuple(str(folder / f'cc-{i}.tar') for i in range(2))
    for path in expected:
        open(path, 'x').close()
    for shards in ('cc-*.tar', 'cc-{0..1}.tar', ['cc-0.tar', str(folder / 'cc-1.tar')]):
        assert expand_shards(shards, str(folder)) == expected
    # A file that is called so is that file.
    odd = folder / 'cc-[0].tar'
    odd.touch()
    assert expand_shards('cc-[0].tar', str(folder)) == (str(odd),)


def test_addresses_are_kept_and_need_a_length():
    shards = expand_shards('https://host/cc-{0..1}.tar', '/data')
    assert shards == ('https://host/cc-0.tar', 'https://host/cc-1.tar')
    assert expand_shards('cc-{0..1}.tar', 'https://host/') == shards
    assert open_source('https://host/cc-{0..1}.tar', length=9).length == 9
    with pytest.raises(ValueError, match='has no length'):
        open_source('https://host/cc-{0..1}.tar')


def test_sizes_and_name(make_source):
    source, _ = make_source('cc', [2, 3])
    opened = open_source(source['shards'], data_root=source['data_root'])
    assert (opened.name, opened.sizes, opened.length) == ('cc', (2, 3), 5)


def test_sizes_json_wins_over_the_length(make_source):
    source, _ = make_source('cc', [2, 3], length=7)
    assert open_source(**source).length == 5


def test_missing_shard(make_source):
    source, _ = make_source('cc', [1, 1])
    source['shards'] = 'cc-{000..003}.tar'
    with pytest.raises(FileNotFoundError, match=r'"cc" lacks 2 of its 4 shards, .*cc-002\.tar"'):
        open_source(**source)


def test_glob_without_match(tmp_path):
    with pytest.raises(FileNotFoundError, match='No shard matches'):
        open_source('*.tar', data_root=str(tmp_path))


def test_no_length_and_no_sizes(make_source):
    source, _ = make_source('cc', [1], with_sizes=False)
    with pytest.raises(ValueError, match=r'"cc" has no length: put a sizes\.json'):
        open_source(**source)


def test_sizes_json_without_one_shard(make_source, tmp_path):
    source, _ = make_source('cc', [1, 1])
    (tmp_path / 'cc' / 'sizes.json').write_text(json.dumps({'cc-000.tar': 1}))
    with pytest.raises(ValueError, match=r'gives no size for ".*cc-001\.tar"'):
        open_source(**source)


@pytest.mark.parametrize(
    'content, message', [('{', 'not valid JSON'), ('[1]', 'must be an object')]
)
def test_broken_sizes_json(make_source, tmp_path, content, message):
    source, _ = make_source('cc', [1])
    (tmp_path / 'cc' / 'sizes.json').write_text(content)
    with pytest.raises(ValueError, match=message):
        open_source(**source)


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(shards=[]), 'lists no shards'),
        (dict(shards=['cc-000.tar', 'cc-*.tar']), 'twice'),
        (dict(weight=0), 'must be above 0'),
        (dict(weight=float('nan')), 'must be above 0'),
        (dict(weight='big'), "`weight` is 'big', it must be above 0"),
        (dict(length='twelve'), "`length` is 'twelve': give the number of samples"),
        (dict(length=12.0), '`length` is 12.0: give the number of samples'),
    ],
)
def test_wrong_sources(make_source, change, message):
    source, _ = make_source('cc', [1])
    with pytest.raises(ValueError, match=message):
        open_source(**{**source, **change})


def test_source_without_samples(make_source):
    source, _ = make_source('cc', [0])
    with pytest.raises(ValueError, match='has 0 samples'):
        open_source(**source)


def test_wrong_mixes(make_source):
    first = open_source(**make_source('first', [1], weight=1)[0])
    second = open_source(**make_source('second', [1])[0])
    with pytest.raises(ValueError, match='mix is empty'):
        mix_quotas([])
    with pytest.raises(ValueError, match='"second" has no `weight`'):
        mix_quotas([first, second])
    with pytest.raises(ValueError, match='Two sources are called "first"'):
        mix_quotas([first, first])


def test_quotas_by_size_and_by_weight(make_source):
    sizes = [open_source(**make_source(f's{n}', [n])[0]) for n in (5, 2, 3)]
    assert mix_quotas(sizes) == [5, 2, 3]
    weighted = [open_source(**make_source(f'w{n}', [n], weight=1)[0]) for n in (5, 2, 3)]
    assert sorted(mix_quotas(weighted)) == [3, 3, 4]
