"""Sphinx configuration of the documentation; ``make docs`` builds it, every warning an error."""

import re
from pathlib import Path

import groupvit_mmseg

project = 'GroupViT for MMSegmentation'
author = 'The groupvit-mmseg authors'
project_copyright = 'the groupvit-mmseg authors, Apache License 2.0'
version = release = groupvit_mmseg.__version__

extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx.ext.viewcode',
    'sphinx_copybutton',
]
exclude_patterns = ['_build']
html_theme = 'furo'
html_title = project

# Pages are Markdown that also reads on a code host; headings are link targets as there.
myst_heading_anchors = 3

autodoc_default_options = {'members': True, 'show-inheritance': True, 'member-order': 'bysource'}
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# A role in a docstring must resolve. Types in signatures need not: most belong to other projects,
# whose references a build without a network cannot resolve.
nitpicky = True
nitpick_ignore_regex = [
    ('py:class', r'(?!groupvit_mmseg).*'),
    ('py:exc', '.*'),
    # Type variables.
    ('py:(class|obj)', r'groupvit_mmseg\..*\.(ConfigT|Content|LoaderT|Output|Result)'),
]

PACKAGE = Path(groupvit_mmseg.__file__).parent
# Pages of the reference in the order in which a user meets them; further modules follow.
FIRST_PAGES = (
    'inference',
    'results',
    'models',
    'text',
    'datasets',
    'engine',
    'engine.hooks',
    'engine.optimizers',
    'engine.runner',
    'evaluation',
    'benchmark',
    'checkpoints',
    'conversion',
    'export',
    'visualization',
)
REFERENCE = """
Every public class and function of the package, by subpackage. The shapes of tensors use the letters
of :mod:`groupvit_mmseg.models`.

.. toctree::
   :maxdepth: 1

"""


def setup(app) -> None:
    """Write the pages that are generated from other files before Sphinx collects pages."""
    app.connect('builder-inited', lambda app: write_reference(Path(app.srcdir, 'api')))
    app.connect('builder-inited', lambda app: write_config_pages(Path(app.srcdir, 'configs')))
    app.connect('source-read', link_config_pages)


def write_config_pages(folder: Path) -> None:
    """Write a page for the README of each config folder; links to Python files become names."""
    folder.mkdir(exist_ok=True)
    for readme in sorted((folder.parents[1] / 'configs').glob('*/README.md')):
        text = readme.read_text(encoding='utf-8').replace('](../../docs/', '](../')
        text = re.sub(r'\[([^]]+)\]\([\w./-]+\.py\)', r'\1', text)
        write_if_changed(folder / f'{readme.parent.name}.md', text)


def link_config_pages(app, docname: str, source: list[str]) -> None:
    """Let links to the READMEs lead to their pages."""
    source[0] = re.sub(r'\]\(\.\./configs/(\w+)/README\.md', r'](configs/\1.md', source[0])


def write_reference(folder: Path) -> None:
    """Write a page for each package and each top-level module, and ``index.rst`` with a list."""
    pages = {}
    for path in sorted(PACKAGE.rglob('*.py')):
        parts = path.relative_to(PACKAGE.parent).with_suffix('').parts
        if path.name == '__init__.py' or path.stem.startswith('_'):
            continue
        page = '.'.join(parts[:-1] if len(parts) > 2 else parts)
        pages.setdefault(page, []).append('.'.join(parts))
    folder.mkdir(exist_ok=True)
    for path in folder.glob('*.rst'):
        if path.stem not in {*pages, 'index'}:  # of a module that has gone
            path.unlink()
    for page, modules in pages.items():
        write_if_changed(folder / f'{page}.rst', page_text(page, modules))
    first = [page for name in FIRST_PAGES if (page := f'{PACKAGE.name}.{name}') in pages]
    order = [*first, *(page for page in pages if page not in first)]
    index = heading('API reference', '=') + REFERENCE
    write_if_changed(folder / 'index.rst', index + ''.join(f'   {page}\n' for page in order))


def page_text(page: str, modules: list[str]) -> str:
    """Text of a page: the docstring of the package, then every module."""
    if modules == [page]:
        return heading(page, '=') + f'\n.. automodule:: {page}\n'
    text = heading(page, '=') + f'\n.. automodule:: {page}\n   :no-members:\n'
    for module in modules:
        text += '\n' + heading(module, '-') + f'\n.. automodule:: {module}\n'
    return text


def heading(text: str, underline: str) -> str:
    """Format a heading in reStructuredText."""
    return f'{text}\n{underline * len(text)}\n'


def write_if_changed(path: Path, text: str) -> None:
    """Write a page only if its text changed, so that a second build reads only changed pages."""
    if not path.is_file() or path.read_text(encoding='utf-8') != text:
        path.write_text(text, encoding='utf-8')
