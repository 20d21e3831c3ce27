"""Tables of a Markdown page that a command replaces: between ``<!-- NAME -->`` and its end."""

from __future__ import annotations


def check_places(text: str, names: list[str]) -> None:
    """Refuse a page that lacks the place of a table.

    Raises:
        ValueError: Naming the first one that is missing.
    """
    for name in names:
        begin, end = _marks(name)
        if text.count(begin) != 1 or end not in text.partition(begin)[2]:
            raise ValueError(f'The page has no place for {name}: {begin} ... {end}.')


def fill_place(text: str, name: str, content: str) -> str:
    r"""Return a page with other content between the marks of a name.

    Args:
        text (str): The page.
        name (str): Name of the place.
        content (str): Markdown.

    Raises:
        ValueError: If the page has no such place.

    Example:
        >>> fill_place('<!-- speed -->\nold\n<!-- end of speed -->', 'speed', '| new |\n|---|')
        '<!-- speed -->\n\n| new |\n|---|\n\n<!-- end of speed -->'
    """
    check_places(text, [name])
    begin, end = _marks(name)
    before, _, rest = text.partition(begin)
    after = rest.partition(end)[2]
    return f'{before}{begin}\n\n{content}\n\n{end}{after}'


def as_markdown(printed: str) -> str:
    """Return what a command printed: as it is if it is a table, else as a block of code."""
    printed = printed.strip()
    return printed if '|---' in printed else f'```text\n{printed}\n```'


def _marks(name: str) -> tuple[str, str]:
    """Return the marks at the beginning and the end of a place."""
    return f'<!-- {name} -->', f'<!-- end of {name} -->'
