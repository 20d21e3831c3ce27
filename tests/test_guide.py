"""Guide pages have a purpose, a complete list of contents, and dated measurements."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / 'docs'
PAGES = sorted(path for path in DOCS.glob('*.md') if path.stem not in {'index', 'changelog'})
DATED = r'\| date \||[Dd]ate(?: and machine)?:\s\S'


def text_of(page):
    """Return a page without its code blocks."""
    return re.sub(r'```.*?```', '', page.read_text(encoding='utf-8'), flags=re.DOTALL)


def anchor(heading):
    """Return the link target of a heading, as code hosts make it."""
    return re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-')


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_page_opens_with_its_purpose_and_contents(page):
    text = text_of(page)
    opening, _, rest = text.partition('\n- [')
    contents = set(re.findall(r'\]\(#([^)]+)\)', '- [' + rest.partition('\n## ')[0]))
    sections, subsections = (
        re.findall(f'^{marks} (.*)', text, re.MULTILINE) for marks in ('##', '###')
    )
    assert len(opening.split()) > 12
    assert set(map(anchor, sections)) <= contents
    assert contents <= set(map(anchor, [*sections, *subsections]))


def test_every_measurement_has_its_date():
    sections = re.split('^### ', text_of(DOCS / 'measurements.md'), flags=re.MULTILINE)[1:]
    assert len(sections) > 25
    undated = [text.partition('\n')[0] for text in sections if not re.search(DATED, text)]
    assert undated == []


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_sections_that_links_name_exist(page):
    for target, section in re.findall(r'\]\(((?:[\w./-]*\.md)?)#([^)]+)\)', text_of(page)):
        named = DOCS / target if target else page
        headings = re.findall('^#+ (.*)', text_of(named), re.MULTILINE)
        assert section in {anchor(heading) for heading in headings}, f'{target}#{section}'
