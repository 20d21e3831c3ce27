"""The metafiles tell the truth about the configs, and what tools and pages make of them."""

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.infer import BaseInferencer
from mmengine.registry import DefaultScope
from mmpretrain.apis.model import ModelHub
from mmseg.registry import MODELS
from modelindex.load_model_index import load

from groupvit_mmseg.benchmark.published import PUBLISHED_BY
from groupvit_mmseg.benchmark.sets import BENCHMARKS

from loading import load_file

ROOT = Path(__file__).resolve().parents[2]
# What a metafile calls the data set of each type, the first one unless the config has photographs.
TEST_SETS = {
    'PascalVOCDataset': 'Pascal VOC 2012',
    'PascalVOC20Dataset': 'Pascal VOC 20',
    'PascalContextDataset': 'Pascal Context',
    'PascalContextDataset59': 'Pascal Context 59',
    'COCOObjectDataset': 'COCO-Object',
    'COCOStuffDataset': 'COCO-Stuff 164k',
    'CityscapesDataset': 'Cityscapes',
    'ADE20KDataset': 'ADE20K',
    'ImageNet': 'ImageNet-1k',
    'BaseSegDataset': 'Scenes (things and grounds)',
}
# Data sets of results beside that of the config's own test loader.
OTHER_SETS = {'Scenes (things and background)', 'VOC-446'}
ON_PHOTOGRAPHS = {
    'groupvit_vit-tiny-p16_1xb128-coslr-8e_flickr8k-112px',
    'groupvit_conv-tiny-p8_1xb64-coslr-4e_photographs-48px',
    'groupvit_conv-tiny-p8_1xb64-coslr-16e_photographs-64px',
    'groupvit_conv-tiny-p8_1xb64-coslr-12e_photographs-64px',
    'fcn_groupvit-tiny-p16_1xb16-300_voc-split-192x192',
}
SOURCES = dict(
    gcc3m='CC3M',
    gcc12m='CC12M',
    yfcc14m='YFCC14M',
    redcap12m='RedCaps12M',
    cc3m_wds='CC3M (frozen crawl)',
    cc12m_wds='CC12M (frozen crawl)',
    flickr8k='Flickr8k',
    tiny_imagenet='Tiny ImageNet (class names)',
    voc_words='Pascal VOC (class names)',
    mine='own pairs',
)
BENCHMARK_OF = {
    'Pascal VOC 2012': 'voc21',
    'Pascal Context': 'context60',
    'COCO-Object': 'coco_object',
    'Pascal VOC 20': 'voc20',
    'Pascal Context 59': 'context59',
    'COCO-Stuff 164k': 'coco_stuff',
    'Cityscapes': 'cityscapes',
    'ADE20K': 'ade150',
    'ImageNet-1k': 'imagenet',
}


ZOO = load_file('docs/generate_model_zoo.py', imports_siblings=True)
FOLDERS = ZOO.read_folders(ROOT)
ENTRIES = [model for folder in FOLDERS for model in folder.models]
RESULTS = [(model, result) for model in ENTRIES for result in model['Results']]
NAMES = [model['Name'] for model in ENTRIES]
every_model = pytest.mark.parametrize('model', ENTRIES, ids=NAMES)


@cache
def config_of(path):
    return Config.fromfile(ROOT / path)


def with_status(status):
    return [(model, result) for model, result in RESULTS if result['Status'] == status]


def test_lists_are_not_empty():
    assert len(FOLDERS) == 9
    assert len(ENTRIES) >= 38
    assert all(with_status(status) for status in ('published', 'measured', 'not yet measured'))


def test_pages_are_what_the_metafiles_say(capsys):
    assert ZOO.main(['--check']) == 0, capsys.readouterr().err


def test_every_config_is_in_the_metafile_of_its_folder():
    for folder in FOLDERS:
        there = {path.stem for path in (ROOT / folder.path).glob('*.py')}
        listed = {model['Name'] for model in folder.models}
        assert there
        assert listed - there <= {'groupvit_pretrain'}, folder.path  # a short name, one folder up
        assert there <= listed, folder.path
        assert folder.path == f'configs/{Path(folder.path).name}'


@every_model
def test_training_is_the_configs(model):
    cfg, data = config_of(model['Config']), model['Metadata']
    if cfg.get('train_dataloader') is None:
        assert not {'Training Data', 'Batch Size', 'Epochs', 'Iterations'} & set(data)
        return
    assert data['Training Data'] == training_sets(model['Name'], cfg.train_dataloader.dataset)
    counted = re.search(r'_(\d+)xb(\d+)-', model.get('Same As', model['Name']))
    gpus, batch = map(int, counted.groups()) if counted else (1, data['Batch Size'])
    assert data['Batch Size'] == gpus * batch
    assert cfg.train_dataloader.batch_size == batch
    length = cfg.train_cfg.get('max_epochs'), cfg.train_cfg.get('max_iters')
    assert (data.get('Epochs'), data.get('Iterations')) == length


def training_sets(name, dataset):
    """What a metafile has to call the training data of a config."""
    if dataset.type == 'ImageTextDataset':
        names = [SOURCES.get(source.get('name')) for source in dataset.sources]
        return names if names != [None] else ['Scenes']
    if dataset.type == 'ConcatDataset':
        return ['Pascal VOC 2012 + Aug']
    return ['VOC-446'] if name in ON_PHOTOGRAPHS else [TEST_SETS[dataset.type]]


@every_model
def test_results_are_on_the_configs_test_set(model):
    cfg = config_of(model['Config'])
    loader = cfg.get('test_dataloader') or cfg.val_dataloader
    sets = [result['Dataset'] for result in model['Results']]
    own = TEST_SETS[loader.dataset.type.split('.')[-1]]
    assert sets[0] == ('VOC-446' if model['Name'] in ON_PHOTOGRAPHS else own)
    assert set(sets) <= set(TEST_SETS.values()) | OTHER_SETS
    segments = 'Segmentation' in model['Results'][0]['Task']
    assert segments == (own != 'ImageNet-1k')


def parameters(model):
    """Parameters of what a config builds, counted without memory where its layers allow it."""
    cfg = config_of(model['Config'])
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        try:
            with torch.device('meta'):
                network = MODELS.build(cfg.model)
        except RuntimeError:  # a layer looks at the values of a tensor
            network = MODELS.build(cfg.model)
    return sum(parameter.numel() for parameter in network.parameters())


def quick_first(models, quick):
    """Parameters of a test that is slow for all models but a few."""
    return [
        pytest.param(model, id=model['Name'], marks=() if model in quick else pytest.mark.slow)
        for model in models
    ]


@pytest.mark.parametrize('model', quick_first(ENTRIES, [f.models[-1] for f in FOLDERS]))
def test_parameters_are_the_configs(model):
    assert parameters(model) == model['Metadata']['Parameters']


COUNTED = [model for model in ENTRIES if 'FLOPs' in model['Metadata'] and 'Same As' not in model]
SMALL = [model for model in COUNTED if model['Metadata']['Parameters'] < 5e6]


def flops(model):
    """What tools/benchmarks/measure_cost.py counts for a pair with the config's prompts."""
    tool, cfg = load_file('tools/benchmarks/measure_cost.py'), config_of(model['Config'])
    (prompts,) = (
        step.num_prompts
        for step in cfg.train_dataloader.dataset.pipeline
        if step.type == 'CaptionPrompts'
    )
    args = tool.parse_args([model['Config'], '--batch-size', '2', '--prompts', str(prompts)])
    network = MODELS.build(cfg.model)
    return sum(tool.count_flops(network, *tool.make_batch(network, args)).values()) / 2


@pytest.mark.parametrize('model', quick_first(COUNTED, SMALL))
def test_flops_are_the_tools(model):
    assert flops(model) == pytest.approx(model['Metadata']['FLOPs'], rel=2e-3)


def test_flops_lists_are_not_empty():
    assert len(COUNTED) == 10
    assert len(SMALL) == 1


@every_model
def test_numbers_are_those_of_the_configs_header(model):
    text = (ROOT / model['Config']).read_text(encoding='utf-8')
    header = ' '.join(line.strip('# ') for line in re.match(r'(#.*\n)+', text)[0].splitlines())
    expected = header.partition('Expected: ')[2]
    measured = any(result['Status'] == 'measured' for result in model['Results'])
    assert not (measured and 'not yet measured' in expected)
    assert measured or not expected or 'not yet measured' in expected
    values = [value for result in model['Results'] for value in result['Metrics'].values()]
    for number in re.findall(r'\d+\.\d+', expected):
        places = len(number.partition('.')[2])
        assert number in [f'{value:.{places}f}' for value in values]


def test_published_numbers_are_those_of_the_evaluation_tables():
    compared = []
    for model, result in with_status('published'):
        for name, value in result['Metrics'].items():
            whose = 'GroupViT ' + name.partition('(published, ')[2].rstrip(')')
            if whose in PUBLISHED_BY and result['Task'].startswith('Zero-shot'):
                published = BENCHMARKS[BENCHMARK_OF[result['Dataset']]].published
                assert value == published[PUBLISHED_BY.index(whose)], model['Name']
                compared.append((result['Dataset'], whose))
    assert {dataset for dataset, _ in compared} == set(BENCHMARK_OF)
    assert len({whose for _, whose in compared}) == 3


@pytest.mark.parametrize(
    'model,result', with_status('measured'), ids=lambda part: part.get('Name', part.get('Dataset'))
)
def test_measured_numbers_are_on_the_page_that_says_how(model, result):
    page = (ROOT / result['Source']).read_text(encoding='utf-8')
    numbers = set(re.findall(r'\d+(?:\.\d+)?', page))
    assert {str(value) for value in result['Metrics'].values()} <= numbers
    assert set(re.findall(r'\d+\.\d+', result.get('Note', ''))) <= numbers
    script = re.search(r'(tools|configs)/\S+\.py', result['Command'])
    assert script is None or (ROOT / script[0]).is_file()
    assert script or result['Command'] == 'make real'


def test_weights_are_third_party_files_with_their_terms():
    files = {model['Weights'].rpartition('/')[2] for model in ENTRIES if 'Weights' in model}
    pages = [(ROOT / f'docs/{name}.md').read_text() for name in ('weights', 'model_zoo')]
    assert len(files) == 2
    assert all(file in page for file in files for page in pages)
    for model in ENTRIES:
        assert ('Weights' in model) == ('Weights License' in model) == ('Weights Name' in model)
        assert 'non-commercial' in model.get('Weights License', 'non-commercial')


def test_model_index_package_reads_everything():
    index = load(str(ROOT / 'model-index.yml'))
    assert index.check(silent=True) == []
    assert [model.name for model in index.models] == NAMES
    assert {model.in_collection for model in index.models} == {c.name for c in index.collections}
    for ours, model in zip(ENTRIES, index.models, strict=True):
        assert model.full_model.paper['URL'].startswith('https://arxiv.org/abs/')
        assert model.full_model.readme_content().startswith('# ')
        assert model.metadata.data == ours['Metadata']
        for result, raw in zip(model.results, ours['Results'], strict=True):
            assert result.data == {key: raw[key] for key in ('Task', 'Dataset', 'Metrics')}


def test_tools_that_keep_one_number_per_metric_lose_none_and_mix_none():
    """As ``mim search`` does, which knows nothing of ``Status``."""
    for model in ENTRIES:
        keys = [(r['Dataset'], name) for r in model['Results'] for name in r['Metrics']]
        assert len(keys) == len(set(keys)), model['Name']
        assert model['Name'] == model['Name'].lower()  # mim looks for names in lower case


def test_mmpretrains_and_mmengines_readers_find_every_config(monkeypatch):
    monkeypatch.setattr(ModelHub, '_models_dict', {})
    ModelHub.register_model_index(ROOT / 'model-index.yml', config_prefix=ROOT)
    assert list(ModelHub._models_dict) == NAMES
    assert all(Path(model.config).is_file() for model in ModelHub._models_dict.values())
    read = list(BaseInferencer._get_models_from_metafile(str(ROOT)))
    assert [model['Name'] for model in read] == NAMES


@pytest.mark.slow
def test_what_is_installed_has_every_metafile_and_readme(tmp_path):
    command = [sys.executable, 'setup.py', '-q', 'build_py', '--build-lib', str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    installed = tmp_path / 'groupvit_mmseg/.mim'
    index = load(str(installed / 'model-index.yml'))
    assert index.check(silent=True) == []
    assert [model.name for model in index.models] == NAMES
    assert all((installed / model.config).is_file() for model in index.models)
    assert all((installed / folder.path / 'README.md').is_file() for folder in FOLDERS)
