import pytest

from groupvit_mmseg.text import TEMPLATE_SETS, get_templates


def test_sets_have_the_published_sizes_and_no_repetitions():
    assert {name: len(texts) for name, texts in TEMPLATE_SETS.items()} == {
        'full': 80,
        'subset': 7,
        'simple': 1,
        'identity': 1,
    }
    assert all(len(set(texts)) == len(texts) for texts in TEMPLATE_SETS.values())
    assert set(TEMPLATE_SETS['subset']) < set(TEMPLATE_SETS['full'])
    assert all(text.count('{}') == 1 for texts in TEMPLATE_SETS.values() for text in texts)


def test_get_templates_by_name_and_by_list():
    assert get_templates('simple') == ('a photo of a {}.',)
    assert get_templates(['my {}', '{}']) == ('my {}', '{}')
    assert get_templates(['{} in {{braces}}']) == ('{} in {{braces}}',)


@pytest.mark.parametrize(
    'templates, message',
    [
        ('imagenet', "no template set 'imagenet': use full, subset, simple, identity"),
        (['a photo'], "'a photo' has no place for the word"),
        (['{} beside {}'], 'more in braces than one {}'),
        (['{0.__class__} {}'], 'more in braces'),
        (['{} {word}'], 'more in braces'),
        (['{!r:>9}{}'], 'more in braces'),
        (['} {}'], 'more in braces'),
        ([], 'list of templates is empty'),
    ],
)
def test_wrong_templates(templates, message):
    with pytest.raises(ValueError, match=message):
        get_templates(templates)
