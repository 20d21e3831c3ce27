"""Read and check ``model-index.yml`` and the metafiles that it imports.

They are in OpenMMLab's model-index format; ``Summary``, ``Status``, ``Source``, ``Command``,
``Hardware``, ``Date``, ``Note``, ``Same As`` and ``Weights Name`` are keys of this project.
"""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import yaml

UNMEASURED = 'not yet measured'
METRICS = {
    'Semantic Segmentation': 'mIoU',
    'Zero-shot Semantic Segmentation': 'mIoU',
    'Image Classification': 'Top 1 Accuracy',
    'Zero-shot Image Classification': 'Top 1 Accuracy',
}
"""dict[str, str]: The metric of each task."""
# Keys that a result must have beside Task, Dataset, Metrics and Status, and keys that it may have.
NEEDED = {'published': {'Source'}, 'measured': {'Source', 'Command', 'Hardware'}, UNMEASURED: set()}
ALLOWED = {'published': set(), 'measured': {'Date', 'Note'}, UNMEASURED: set()}


class Folder(NamedTuple):
    """A metafile.

    Attributes:
        path (str): Its folder, relative to the repository.
        collection (dict): Its one collection.
        models (list[dict]): Its models.
    """

    path: str
    collection: dict
    models: list


class UniqueKeyLoader(yaml.SafeLoader):
    """Loader that refuses a duplicate key in a mapping; YAML would use the last one."""

    def construct_mapping(self, node, deep=False):
        """Construct a mapping with unique keys."""
        names = Counter(str(key.value) for key, _ in node.value)
        twice = [name for name, count in names.items() if count > 1]
        if twice:
            problem = f'the key {twice[0]!r} stands twice'
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        return super().construct_mapping(node, deep=deep)


def read_text(root, path):
    """Return the text of a file of the repository."""
    require((root / path).is_file(), path, 'there is no such file.')
    try:
        return (root / path).read_text(encoding='utf-8')
    except UnicodeDecodeError as error:
        raise ValueError(f'{path}: not UTF-8 text at byte {error.start}.') from None


def read_yaml(root, path):
    """Return the content of a YAML file."""
    try:
        return yaml.load(read_text(root, path), Loader=UniqueKeyLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, 'problem_mark', None)
        line = f' (line {mark.line + 1})' if mark else ''
        problem = getattr(error, 'problem', None) or str(error)
        raise ValueError(f'{path}{line}: not valid YAML, {problem}.') from None


def require(condition, where, sentence):
    """Raise ``where: sentence`` unless the condition holds."""
    if not condition:
        raise ValueError(f'{where}: {sentence}')


def read_folders(root):
    """Return all metafiles that ``model-index.yml`` imports, checked.

    Raises:
        ValueError: If a metafile is missing or says something that cannot be true.
    """
    index = read_yaml(root, 'model-index.yml')
    paths = index.get('Import') if isinstance(index, dict) else None
    listed = isinstance(paths, list) and all(isinstance(path, str) for path in paths)
    require(listed, 'model-index.yml', 'Import is not a list of metafiles.')
    folders = [read_folder(root, path) for path in paths]
    check_index(root, folders)
    return folders


def read_folder(root, path):
    """Return one metafile, checked."""
    content = read_yaml(root, path)
    require(isinstance(content, dict), path, 'Collections and Models are missing.')
    for key in ('Collections', 'Models'):
        require(isinstance(content.get(key), list) and content[key], path, f'{key} is not a list.')
    require(len(content['Collections']) == 1, path, 'one collection per folder, please.')
    (collection,) = content['Collections']
    check_keys(collection, {'Name', 'Summary', 'Paper', 'README'}, f'{path}: the collection')
    for number, model in enumerate(content['Models'], start=1):
        where = f'{path}: model {number}'
        check_keys(model, {'Name', 'In Collection', 'Config', 'Metadata', 'Results'}, where)
        check_model(root, model, f'{path}: {model["Name"]}')
        known = model['In Collection'] == collection['Name']
        require(known, f'{path}: {model["Name"]}', f'no collection {model["In Collection"]!r}.')
    return Folder(str(Path(path).parent), collection, content['Models'])


def check_keys(mapping, needed, where):
    """Require keys of a mapping."""
    require(isinstance(mapping, dict), where, 'is not a mapping.')
    missing = sorted(key for key in needed if mapping.get(key) is None)
    require(not missing, where, f'{", ".join(missing)} missing.')


def check_model(root, model, where):
    """Require a valid config and valid results of a model."""
    config = str(model['Config'])
    require((root / config).is_file(), where, f'there is no config {config}.')
    require(Path(config).stem == model['Name'], where, f'the name is not that of {config}.')
    alias = model.get('Same As', '')
    require(isinstance(alias, str), where, f'Same As is {alias!r}, not a name.')
    check_aliases(model, where)
    check_metadata(model['Metadata'], f'{where}: Metadata')
    listed = isinstance(model['Results'], list) and model['Results']
    require(listed, where, f'Results is not a list; of no numbers say "Status: {UNMEASURED}".')
    for number, result in enumerate(model['Results'], start=1):
        check_result(result, f'{where}: result {number}')
    both = sorted(datasets_of(model, 'measured') & datasets_of(model, UNMEASURED))
    require(not both, where, f'{", ".join(both)} cannot be measured and {UNMEASURED}.')


def check_aliases(model, where):
    """Require aliases that are texts in lower case, because mmengine and mim look for those."""
    names = model.get('Alias', [])
    listed = isinstance(names, list) and all(isinstance(name, str) for name in names)
    require(listed, where, f'Alias is {names!r}, not a list of names.')
    require(
        names == [name.lower() for name in names], where, f'Alias: {names} is not in lower case.'
    )
    require(not names or 'Weights' in model, where, 'has an Alias but no Weights to load by it.')


def check_metadata(data, where):
    """Require integers, and the length of a training if the model has one."""
    check_keys(data, {'Parameters'}, where)
    for key in ('Parameters', 'FLOPs', 'Batch Size', 'Epochs', 'Iterations'):
        number = data.get(key, 1)
        whole = isinstance(number, int) and not isinstance(number, bool) and number > 0
        require(whole, where, f'{key} is {number!r}, not a whole number above 0.')
    if 'Training Data' in data:
        names = data['Training Data']
        listed = isinstance(names, list) and all(isinstance(name, str) for name in names)
        require(listed and names, where, f'Training Data is {names!r}, not a list of names.')
        has_length = 'Batch Size' in data and ('Epochs' in data) != ('Iterations' in data)
        require(has_length, where, 'a training needs Batch Size and one of Epochs and Iterations.')


def datasets_of(model, status):
    """Return the data sets for which a model has a result of a status."""
    return {result['Dataset'] for result in model['Results'] if result['Status'] == status}


def check_result(result, where):
    """Require the source of the numbers of a result."""
    check_keys(result, {'Task', 'Dataset', 'Metrics', 'Status'}, where)
    for key in set(result) - {'Metrics'}:
        require(isinstance(result[key], str), where, f'{key} is {result[key]!r}, not a text.')
    status, task = result['Status'], result['Task']
    require(task in METRICS, where, f'Task {task!r} is none of {", ".join(METRICS)}.')
    require(status in NEEDED, where, f'Status {status!r} is none of {", ".join(NEEDED)}.')
    check_keys(result, NEEDED[status], where)
    known = {'Task', 'Dataset', 'Metrics', 'Status'} | NEEDED[status] | ALLOWED[status]
    strange = sorted(map(str, set(result) - known))
    require(not strange, where, f'{", ".join(strange)} cannot stand where Status is {status}.')
    check_metrics(result['Metrics'], status, where)


def check_metrics(metrics, status, where):
    """Require percentages, under names that distinguish published from measured ones.

    Other tools read the names and know nothing of ``Status``.
    """
    require(isinstance(metrics, dict), where, 'Metrics is not a mapping.')
    fits = bool(metrics) == (status != UNMEASURED)
    require(fits, where, f'Metrics has {len(metrics)} entries, but Status is {status}.')
    for name, value in metrics.items():
        require(isinstance(name, str), where, f'{name!r} is not the name of a metric.')
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        require(number and 0 <= value <= 100, where, f'{name} is {value!r}, not a percentage.')
        fits = ('(published' in name) == (status == 'published')
        require(fits, where, f'"(published" belongs into the name where Status is so: {name}.')


def check_index(root, folders):
    """Require every config to have one model, and every folder of configs a metafile."""
    models = [model for folder in folders for model in folder.models]
    names = Counter(name for model in models for name in (model['Name'], *model.get('Alias', [])))
    twice = sorted(name for name, count in names.items() if count > 1)
    require(not twice, 'model-index.yml', f'{", ".join(twice)} has more than one entry.')
    configs = {model['Name'] for model in models}
    lost = sorted({model['Same As'] for model in models if 'Same As' in model} - configs)
    require(not lost, 'model-index.yml', f'Same As names {", ".join(lost)}, which is no entry.')
    leaves = {
        path.relative_to(root).as_posix()
        for path in (root / 'configs').rglob('*.py')
        if not {'_base_', 'studies'} & set(path.relative_to(root).parts)  # studies are no models
    }
    missing = sorted(leaves - {model['Config'] for model in models})
    require(not missing, 'model-index.yml', f'no metafile has an entry for {", ".join(missing)}.')
