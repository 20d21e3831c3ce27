"""The generator of the model zoo's pages on a small repository of its own."""

import copy

import pytest
import yaml

from loading import load_file

FOLDER = 'configs/heads'
NUMBERS = {
    'Task': 'Semantic Segmentation',
    'Dataset': 'ADE20K',
    'Metrics': {
        'mIoU (published, big)': 40.5,
        'mIoU (published, small)': 30,
        'aAcc (published)': 80.1,
    },
    'Status': 'published',
    'Source': 'the paper',
}
MEASURED = {
    'Task': 'Semantic Segmentation',
    'Dataset': 'ADE20K',
    'Metrics': {'mIoU': 41.25},
    'Status': 'measured',
    'Source': 'docs/how.md',
    'Command': 'python measure.py',
    'Hardware': 'one core',
    'Note': 'seed 0',
}
NOTHING = {
    'Task': 'Image Classification',
    'Dataset': 'ImageNet-1k',
    'Metrics': {},
    'Status': 'not yet measured',
}
MODEL = {
    'Name': 'head_2xb8-4k_ade20k',
    'In Collection': 'Heads',
    'Config': f'{FOLDER}/head_2xb8-4k_ade20k.py',
    'Metadata': {
        'Training Data': ['ADE20K', 'More'],
        'Batch Size': 16,
        'Iterations': 4000,
        'Parameters': 1_250_000,
        'FLOPs': 7_269_000_000,
    },
    'Results': [NUMBERS, MEASURED],
}
OTHER = {
    'Name': 'test_imagenet',
    'In Collection': 'Heads',
    'Config': f'{FOLDER}/test_imagenet.py',
    'Metadata': {'Parameters': 30_000_000},
    'Results': [NOTHING],
    'Same As': 'head_2xb8-4k_ade20k',
}
COLLECTION = {'Name': 'Heads', 'Summary': 'Two heads.', 'Paper': {'URL': ''}, 'README': 'README.md'}
TABLE = """\
| config | training | size | tested on | published | measured here |
|---|---|---|---|---|---|
| [`head_2xb8-4k_ade20k`](head_2xb8-4k_ade20k.py) | ADE20K, More; 4,000 steps of batch 16 \
| 1.2 M, 7.27 GFLOP | ADE20K, mIoU | 40.5 (big), 30 (small); the paper \
| 41.25 ([how.md](../../docs/how.md)) |
| | | | ADE20K, aAcc | 80.1; the paper | not yet measured |
| [`test_imagenet`](test_imagenet.py) | none: tests a checkpoint | 30.0 M \
| ImageNet-1k, Top 1 Accuracy | as `head_2xb8-4k_ade20k` | not yet measured |

How the numbers of the last column were measured:

- `head_2xb8-4k_ade20k`, ADE20K: one core; seed 0.

  ```bash
  python measure.py
  ```
"""


@pytest.fixture(scope='module')
def zoo():
    return load_file('docs/generate_model_zoo.py', imports_siblings=True)


@pytest.fixture
def repository(tmp_path, zoo):
    """Two configs, their metafile, and pages without tables."""
    pages = (tmp_path / 'docs/model_zoo.md', tmp_path / FOLDER / 'README.md')
    for page in pages:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(f'# Title\n\n{zoo.BEGIN}\nold\n{zoo.END}\n\nThe end.\n')
    for model in (MODEL, OTHER):
        (tmp_path / model['Config']).write_text('')
    (tmp_path / 'configs/_base_').mkdir()
    (tmp_path / 'configs/_base_/part.py').write_text('')
    (tmp_path / 'model-index.yml').write_text(f'Import: [{FOLDER}/metafile.yaml]\n')
    write(tmp_path, [MODEL, OTHER])
    return tmp_path


def write(root, models, **changes):
    content = {'Collections': [COLLECTION], 'Models': models} | changes
    (root / FOLDER / 'metafile.yaml').write_text(yaml.safe_dump(content, sort_keys=False))


def files(root):
    return {path: path.read_bytes() for path in root.rglob('*') if path.is_file()}


def test_pages_are_filled_between_their_marks(zoo, repository, capsys):
    assert zoo.main(['--root', str(repository)]) == 0
    assert capsys.readouterr().out.split() == [
        'wrote',
        'docs/model_zoo.md',
        'wrote',
        f'{FOLDER}/README.md',
    ]
    text = (repository / FOLDER / 'README.md').read_text()
    assert text == f'# Title\n\n{zoo.BEGIN}\n\n{TABLE}\n{zoo.END}\n\nThe end.\n'
    page = (repository / 'docs/model_zoo.md').read_text()
    assert '2 configs; 1 have a published number to compare with, 1 have been measured' in page
    assert '## heads\n\nTwo heads. Commands: [configs/heads](../configs/heads/README.md).' in page
    assert '(../configs/heads/head_2xb8-4k_ade20k.py)' in page
    assert '| 41.25 ([how.md](how.md)) |' in page


def test_writing_again_changes_nothing(zoo, repository, capsys):
    zoo.main(['--root', str(repository)])
    before = files(repository)
    capsys.readouterr()
    assert zoo.main(['--root', str(repository)]) == 0
    assert capsys.readouterr().out == ''
    assert files(repository) == before


def test_check_names_stale_pages_and_writes_nothing(zoo, repository, capsys):
    before = files(repository)
    assert zoo.main(['--root', str(repository), '--check']) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == f'{FOLDER}/README.md is not what the metafiles say: run make zoo.'
    assert files(repository) == before
    zoo.main(['--root', str(repository)])
    assert zoo.main(['--root', str(repository), '--check']) == 0


def change(path, value):
    """The first model with another value somewhere; ``None`` takes the key away."""
    model = copy.deepcopy(MODEL)
    node = model
    *parents, last = path
    for key in parents:
        node = node[key]
    if value is None:
        del node[last]
    else:
        node[last] = value
    return model


FAULTS = [
    (('Name',), 'head', 'the name is not that of configs/heads/head_2xb8-4k_ade20k.py.'),
    (('Config',), f'{FOLDER}/x.py', 'there is no config configs/heads/x.py.'),
    (('In Collection',), 'Tails', "no collection 'Tails'."),
    (('Results',), None, 'Results missing.'),
    (('Results',), [], 'of no numbers say "Status: not yet measured"'),
    (('Metadata', 'Parameters'), None, 'Metadata: Parameters missing.'),
    (('Metadata', 'FLOPs'), '7e9', "FLOPs is '7e9', not a whole number above 0."),
    (('Metadata', 'Training Data'), 'ADE20K', "Training Data is 'ADE20K', not a list of names."),
    (('Metadata', 'Iterations'), None, 'a training needs Batch Size and one of'),
    (('Results', 0, 'Source'), None, 'result 1: Source missing.'),
    (('Results', 0, 'Status'), 'guessed', "Status 'guessed' is none of published, measured,"),
    (('Results', 0, 'Task'), 'Segmentation', "Task 'Segmentation' is none of"),
    (('Results', 0, 'Dataset'), 20, 'Dataset is 20, not a text.'),
    (('Results', 0, 'Metrics'), {'mIoU (published)': '52.3 %'}, "is '52.3 %', not a percentage."),
    (('Results', 0, 'Metrics'), {'mIoU (published)': 523}, 'is 523, not a percentage.'),
    (('Results', 0, 'Metrics'), {}, 'Metrics has 0 entries, but Status is published.'),
    (('Results', 0, 'Metrics'), {'mIoU': 52.3}, '"(published" belongs into the name'),
    (('Results', 1, 'Metrics'), {'mIoU (published)': 1}, '"(published" belongs into the name'),
    (('Results', 1, 'Command'), None, 'result 2: Command missing.'),
    (('Results', 1, 'Hardwear'), 'x', 'Hardwear cannot stand where Status is measured.'),
    (
        ('Results', 1, 'Status'),
        'not yet measured',
        'cannot stand where Status is not yet measured.',
    ),
    (('Results', 0, 'Metrics'), {52.3: 1}, '52.3 is not the name of a metric.'),
    (('Same As',), 'nobody', 'Same As names nobody, which is no entry.'),
    (('Same As',), ['nobody'], "Same As is ['nobody'], not a name."),
    (('Alias',), 'short', "Alias is 'short', not a list of names."),
    (('Alias',), ['Short'], "Alias: ['Short'] is not in lower case."),
    (('Alias',), ['short'], 'has an Alias but no Weights to load by it.'),
]


@pytest.mark.parametrize('path,value,sentence', FAULTS, ids=[str(fault[0]) for fault in FAULTS])
def test_a_faulty_entry_is_one_sentence(zoo, repository, capsys, path, value, sentence):
    write(repository, [change(path, value), OTHER])
    assert_refused(zoo, repository, capsys, sentence, 'metafile.yaml: ', 'model-index.yml: ')


def assert_refused(zoo, root, capsys, sentence, *places):
    before = files(root)
    assert zoo.main(['--root', str(root)]) == 2
    out, error = capsys.readouterr()
    assert (out, len(error.splitlines())) == ('', 1)
    assert sentence in error
    assert any(place in error for place in places)
    assert files(root) == before


def test_measured_and_not_yet_measured_exclude_each_other(zoo, repository, capsys):
    write(repository, [change(('Results',), [MEASURED, NOTHING | {'Dataset': 'ADE20K'}]), OTHER])
    sentence = 'ADE20K cannot be measured and not yet measured.'
    assert_refused(zoo, repository, capsys, sentence, f'metafile.yaml: {MODEL["Name"]}: ')


def test_a_config_without_an_entry_or_with_two_is_named(zoo, repository, capsys):
    write(repository, [MODEL])
    sentence = f'no metafile has an entry for {OTHER["Config"]}.'
    assert_refused(zoo, repository, capsys, sentence, 'model-index.yml: ')
    write(repository, [MODEL, MODEL, OTHER])
    sentence = 'head_2xb8-4k_ade20k has more than one entry.'
    assert_refused(zoo, repository, capsys, sentence, 'model-index.yml: ')


@pytest.mark.parametrize(
    'text,sentence',
    [
        ('Models: [', 'metafile.yaml (line 1): not valid YAML'),
        ('Models:\n  - a: 1\n    a: 2\n', "(line 2): not valid YAML, the key 'a' stands twice."),
        ('', 'Collections and Models are missing.'),
        ('Collections: {}', 'Collections is not a list.'),
        ('Collections: [{Name: Heads}]\nModels: [{}]', 'Paper, README, Summary missing.'),
    ],
)
def test_a_broken_metafile_is_one_sentence(zoo, repository, capsys, text, sentence):
    (repository / FOLDER / 'metafile.yaml').write_text(text)
    assert_refused(zoo, repository, capsys, sentence, 'metafile.yaml')


def test_a_metafile_that_is_not_text_is_named(zoo, repository, capsys):
    (repository / FOLDER / 'metafile.yaml').write_bytes(b'Models: \xff\xfe')
    assert_refused(zoo, repository, capsys, 'not UTF-8 text at byte 8.', f'{FOLDER}/metafile.yaml')


def test_a_page_without_marks_or_a_missing_file_is_named(zoo, repository, capsys):
    page = repository / FOLDER / 'README.md'
    page.write_text('# Title\n')
    assert_refused(zoo, repository, capsys, 'write the lines <!-- begin', f'{FOLDER}/README.md: ')
    page.unlink()
    assert_refused(zoo, repository, capsys, 'there is no such file.', f'{FOLDER}/README.md: ')
    (repository / 'model-index.yml').write_text('Import: [3]\n')
    assert_refused(zoo, repository, capsys, 'not a list of metafiles.', 'model-index.yml: ')
    (repository / 'model-index.yml').write_text('Import: [configs/gone/metafile.yaml]\n')
    assert_refused(zoo, repository, capsys, 'there is no such file.', 'configs/gone/metafile.yaml')
