"""The examples in docstrings run, and the classes and functions that users call have one."""

import doctest
import importlib
import logging
import pkgutil

import pytest
from mmengine.logging import MMLogger

import groupvit_mmseg

# Named in configs, or made by functions that have an example.
WITHOUT_EXAMPLE = {
    'BoundaryIoUMetric',
    'COCOObjectDataset',
    'ClassFileDataset',
    'EvaluatedSegmentor',  # a type
    'ForegroundIoUMetric',
    'ImageTagIoUMetric',
    'GroupViTOutput',
    'ImageTextBatch',
    'ImageTextDataHook',
    'InferenceResult',
    'LoadImageFromFile',
    'OracleIoUMetric',
    'PackImageText',
    'PascalVOC20Dataset',
    'PerClassIoUMetric',
    'SegmentPrediction',
    'ThresholdCalibration',
    'calibrate_segmentor',
    'check_loader',
    'collect_predictions',
    'load_evaluated',  # as GroupViTInferencer
    'load_segmentor',  # as GroupViTInferencer
}
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


# What is logged belongs to no example: the handler keeps the stream of its first moment.
MMLogger.get_current_instance()


def examples():
    """Every docstring of the package that has an example."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    for info in pkgutil.walk_packages(groupvit_mmseg.__path__, 'groupvit_mmseg.'):
        module = importlib.import_module(info.name)
        yield from (test for test in finder.find(module) if test.examples)


EXAMPLES = sorted(examples(), key=lambda test: test.name)


@pytest.mark.parametrize('test', EXAMPLES, ids=lambda test: test.name)
def test_example_runs(test, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # A logger that an example were the first to use would write into the output of the example.
    MMLogger.get_current_instance()
    printed = []
    logging.disable(logging.INFO)  # whether mmengine prints its log depends on earlier tests
    try:
        doctest.DocTestRunner(optionflags=FLAGS).run(test, out=printed.append)
    finally:
        logging.disable(logging.NOTSET)
    assert not printed, ''.join(printed)


def test_the_names_that_users_call_have_an_example():
    """Those that the packages export; hooks and loops are used in configs, which they show."""
    packages = ('text', 'datasets', 'models', 'checkpoints', 'evaluation', 'inference')
    with_example = {test.name.rpartition('.')[2] for test in EXAMPLES}
    without = {
        f'{package}.{name}'
        for package in packages
        for name in importlib.import_module(f'groupvit_mmseg.{package}').__all__
        if name not in with_example and name not in WITHOUT_EXAMPLE and not name.isupper()
    }
    assert not without, sorted(without)
