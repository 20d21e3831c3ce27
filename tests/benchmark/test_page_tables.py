"""Tables of a page that a command replaces."""

import pytest

from groupvit_mmseg.benchmark.page_tables import as_markdown, check_places, fill_place

PAGE = 'a\n<!-- one -->\nold\n<!-- end of one -->\nb\n<!-- two -->\n<!-- end of two -->\n'


def test_a_place_is_filled_again_and_again_and_nothing_else_changes():
    once = fill_place(PAGE, 'one', '| x |\n|---|')
    assert once.startswith('a\n<!-- one -->\n\n| x |\n|---|\n\n<!-- end of one -->\nb\n')
    assert once.endswith('b\n<!-- two -->\n<!-- end of two -->\n')
    assert fill_place(once, 'one', '| x |\n|---|') == once


def test_what_is_no_table_becomes_code():
    assert as_markdown(' plain\n') == '```text\nplain\n```'
    assert as_markdown('# head\n| a |\n|---|') == '# head\n| a |\n|---|'


@pytest.mark.parametrize(
    'text',
    [
        'no place',
        '<!-- one -->',
        '<!-- end of one --> <!-- one -->',
        '<!-- one --> <!-- one --> <!-- end of one -->',
    ],
)
def test_a_page_without_the_place_is_refused(text):
    with pytest.raises(ValueError, match='The page has no place for one'):
        check_places(text, ['one'])
