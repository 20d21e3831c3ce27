"""What the pages of the model zoo say beside their generated tables."""

import re
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
READMES = sorted(ROOT.glob('configs/*/README.md'))
PAGES = [ROOT / 'docs/model_zoo.md', *READMES]


@cache
def metafile(readme):
    return yaml.safe_load(readme.with_name('metafile.yaml').read_text(encoding='utf-8'))


def test_every_folder_of_configs_has_a_readme():
    folders = {path.parent for path in ROOT.glob('configs/[!_]*/*.py')}
    folders -= {ROOT / 'configs/studies'}  # no models: docs/experiments.md lists them
    assert len(folders) == 9
    assert folders == {readme.parent for readme in READMES}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.parent.name)
def test_files_that_a_page_names_exist(page):
    text = page.read_text(encoding='utf-8')
    links = re.findall(r'\]\((?!https?://)([^)#\s]+)', text)
    named = re.findall(r'\b(?:configs|tools|demo)/[\w./-]+\.(?:py|sh)\b', text)
    assert links
    assert not [link for link in links if not (page.parent / link).exists()]
    assert not [name for name in named if not (ROOT / name).is_file()]


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.parent.name)
def test_numbers_in_prose_are_those_of_the_metafiles(page):
    text = page.read_text(encoding='utf-8')
    prose = re.sub('<!-- begin.*<!-- end', '', text, flags=re.DOTALL)
    assert len(prose) < len(text)
    models = [model for readme in READMES for model in metafile(readme)['Models']]
    results = [result for model in models for result in model['Results']]
    values = {str(value) for result in results for value in result['Metrics'].values()}
    numbers = set(re.findall(r'(?<![\w.])\d{1,2}\.\d{1,2}(?![\w.])', prose))
    assert numbers <= values


@pytest.mark.parametrize('readme', READMES, ids=lambda readme: readme.parent.name)
def test_readme_says_what_a_reader_needs(readme):
    text = readme.read_text(encoding='utf-8')
    headings = re.findall('^## (.*)', text, re.MULTILINE)
    assert headings == ['Abstract', 'How to use', 'Configs and numbers', 'Citation']
    assert metafile(readme)['Collections'][0]['Paper']['URL'] in text
    assert '```bash\n' in text
    assert '@inproceedings{xu2022groupvit,' in text
    assert text.count('{') == text.count('}')
