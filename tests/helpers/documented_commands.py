"""Collects the commands of the README, the guide, the configs' READMEs and heads, and the tools."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / 'README.md',
    ROOT / 'CONTRIBUTING.md',
    *sorted(ROOT.glob('docs/*.md')),
    *sorted(ROOT.glob('configs/*/README.md')),
]
CONFIGS = sorted(ROOT.glob('configs/**/*.py'))
TOOLS = sorted([*ROOT.glob('tools/**/*.py'), *ROOT.glob('demo/*.py')])
# What a reader has to supply, said in the section of a page or at the head of a config.
NEEDS = re.compile(r'^(?:# )?(?:Data|Hardware|Needs|Weights): ', re.MULTILINE)
COMMENT = re.compile(r'#\s*needs ')
PLACEHOLDER = re.compile(r'\b[A-Z][A-Z_]{2,}\b(?!=)')


class Command(NamedTuple):
    """A command as it is documented.

    Attributes:
        source (str): ``file:line``.
        words (tuple[str, ...]): The words, without assignments, optional brackets and comments.
        says_needs (bool): Whether the text says what a reader has to supply.
    """

    source: str
    words: tuple[str, ...]
    says_needs: bool

    @property
    def text(self) -> str:
        """The words as one line."""
        return ' '.join(self.words)

    @property
    def script(self) -> str:
        """The file in the repository that runs, or nothing."""
        names = [word for word in self.words[:2] if word.startswith(('tools/', 'demo/'))]
        return names[0] if names else ''


def fenced_blocks(page: Path, languages: tuple[str, ...]) -> Iterator[tuple[int, str, str]]:
    """Line number, content and section of the fenced blocks in some languages."""
    text = page.read_text(encoding='utf-8')
    pattern = rf'^( *)```(?:{"|".join(languages)})\n(.*?)^ *```'
    for match in re.finditer(pattern, text, re.MULTILINE | re.DOTALL):
        lines = match[2].splitlines()
        block = '\n'.join(line.removeprefix(match[1]) for line in lines)
        yield text.count('\n', 0, match.start()) + 2, block, section_at(text, match.start())


def section_at(text: str, position: int) -> str:
    """The prose of the section around a position, up to the next headings."""
    start = text.rfind('\n## ', 0, position) + 1
    end = text.find('\n## ', position)
    return re.sub(r'```.*?```', '', text[start : end if end > 0 else None], flags=re.DOTALL)


def page_commands(page: Path) -> Iterator[Command]:
    """Commands of the shell blocks of a page."""
    name = page.relative_to(ROOT)
    for number, block, section in fenced_blocks(page, ('bash', 'console', 'sh')):
        for offset, line, needs in block_lines(block):
            for words in simple_commands(line):
                says = needs or bool(PLACEHOLDER.search(line)) or bool(NEEDS.search(section))
                yield Command(f'{name}:{number + offset}', words, says)


def block_lines(block: str) -> Iterator[tuple[int, str, bool]]:
    """Offset, text and mark of every command of a block; variables and loops are put in."""
    variables: dict[str, str] = {}
    values: list[str] = []
    offset, needs, pending = 0, False, ''
    for number, line in enumerate(block.splitlines()):
        needs = needs or bool(COMMENT.match(line.strip()))
        offset = offset if pending else number
        pending += line.strip().removesuffix('\\') + ' '
        if line.rstrip().endswith('\\'):
            continue
        text, pending = pending.strip(), ''
        loop = re.fullmatch(r'for (\w+) in (.*); do', text)
        if loop:
            variables[loop[1]], values = loop[2].split()[0], loop[2].split()
            name = loop[1]
        elif assignment := re.fullmatch(r'(\w+)=("[^"]*"|\S+)', text):
            variables[assignment[1]] = assignment[2].strip('"')
        elif text == 'done':
            values = []
        elif text and not text.startswith('#'):
            for value in values or [None]:
                settings = variables | ({name: value} if value else {})
                marked = needs or bool(COMMENT.search(text))
                yield offset, substitute(text, settings), marked


def substitute(text: str, variables: dict[str, str]) -> str:
    """Put the values of shell variables in; ``${A#prefix}`` drops a prefix."""

    def value(match: re.Match) -> str:
        return variables[match[1]].removeprefix((match[2] or '').removeprefix('#'))

    text = re.sub(r'\$\{(\w+)(#[^}]*)?\}', value, text)
    return re.sub(r'\$(\w+)()', value, text)


def simple_commands(line: str) -> Iterator[tuple[str, ...]]:
    """Words of the commands of a line: ``[OPTION]`` without its brackets, nothing for ``...``."""
    line = re.sub(r'\[arguments of [^\]]*\]', '', line)
    words: list[str] = []
    for word in [*shlex.split(line, comments=True), '&&']:
        if word == '&&':
            while words and re.fullmatch(r'\w+=\S*', words[0]):
                del words[0]
            if words:
                yield tuple(words)
            words = []
        elif word not in ('...', '...]'):
            words.append(word.removeprefix('[').removesuffix(']') if '[' not in word[1:] else word)


def config_commands(config: Path) -> Iterator[Command]:
    """Commands at the head of a config; THIS_FILE is its path."""
    lines = config.read_text(encoding='utf-8').splitlines()
    head = lines[: next((i for i, line in enumerate(lines) if not line.startswith('#')), None)]
    name = str(config.relative_to(ROOT))
    text = re.sub(r'\\\n#', ' ', '\n'.join(head))
    for line in text.splitlines():
        match = re.match(r'#(?: Command:|  ) +((?:python|make|bash|tools/).*)', line)
        if match:
            command = re.split(r'\s{2,}\(', match[1])[0].replace('THIS_FILE', name)
            says = bool(NEEDS.search(text)) or bool(PLACEHOLDER.search(command))
            number = 1 + next(i for i, one in enumerate(head) if match[1].split()[0] in one)
            for words in simple_commands(command):
                yield Command(f'{name}:{number}', words, says)


def tool_commands(tool: Path) -> Iterator[Command]:
    """Commands of the docstring of a tool; its text says what the capitals stand for."""
    doc = ast.get_docstring(ast.parse(tool.read_text(encoding='utf-8'))) or ''
    for line in re.sub(r'\\\n', ' ', doc).splitlines():
        if re.match(r' *python ', line):
            for words in simple_commands(line):
                yield Command(f'{tool.relative_to(ROOT)}:1', words, says_needs=True)


def all_commands() -> list[Command]:
    """Every documented command."""
    commands: list[Command] = []
    for collect, paths in (
        (page_commands, PAGES),
        (config_commands, CONFIGS),
        (tool_commands, TOOLS),
    ):
        for path in paths:
            commands += collect(path)
    return commands
