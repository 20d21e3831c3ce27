"""Packaging; configs, tools, demo and the model index travel as ``groupvit_mmseg/.mim``."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.egg_info import egg_info

ROOT = Path(__file__).resolve().parent
PACKAGE = 'groupvit_mmseg'
MIM_FILES = ('configs', 'tools', 'demo', 'model-index.yml')

# The two builds install the same modules (mmengine, mmcv, mmseg, mmpretrain), so neither may be
# a plain requirement: it would be installed over the other.
ONEDL = [
    'onedl-mmengine>=0.10.12',
    'onedl-mmcv>=2.3.6',
    'onedl-mmsegmentation>=1.4.2',
    'onedl-mmpretrain>=1.3.6',
]
OPENMMLAB = [
    'mmengine>=0.10.7',
    'mmcv>=2.0.0,<2.2.0',
    'mmsegmentation>=1.2.2',
    'mmpretrain>=1.2.0',
    # What these packages were released for; newer OpenCV needs NumPy 2.
    'numpy<2',
    'opencv-python<4.12',
]
NLTK = ['nltk>=3.8']
HUB = ['huggingface_hub>=0.30']
CLUSTERING = ['scikit-learn>=1.3']
# Later Pythons compile it no more.
CRF = ['pydensecrf2>=1.1; python_version < "3.13"']
PARQUET = ['pyarrow>=14']
# Passes over shards on a cluster, and shards in object stores.
RAY = ['ray>=2.40']
S3 = ['s3fs>=2024.6']
# Masks as objects of supervision: InferenceResult.to_detections().
DETECTIONS = ['supervision>=0.20']
# The page of `groupvit web`.
WEB = ['gradio>=6']
# Exports to OpenVINO, through ONNX.
OPENVINO = ['openvino>=2024.4']
ONNX = ['onnx>=1.16', 'onnxruntime>=1.18', 'onnxscript>=0.5']
DEV = [
    'build',
    'ipykernel',
    'mypy>=1.10',
    'nbclient>=0.10',
    'nbformat>=5.9',
    'pre-commit',
    'pytest>=8',
    'pytest-cov',
    'pytest-xdist',
    'ruff>=0.9',
    'tensorboard',
    'transformers>=4.40',
    'types-PyYAML',
]


class BuildWithMim(build_py):
    """``build_py`` that adds ``.mim``: copies in a wheel, links in an editable install."""

    def run(self):
        super().run()
        base = ROOT if getattr(self, 'editable_mode', False) else Path(self.build_lib)
        mim = base / PACKAGE / '.mim'
        mim.mkdir(parents=True, exist_ok=True)
        for name in MIM_FILES:
            source, target = ROOT / name, mim / name
            if not source.exists():
                continue
            if target.is_symlink():
                target.unlink()
            if base == ROOT:
                target.symlink_to(Path('..', '..', name), target_is_directory=source.is_dir())
            elif source.is_dir():
                ignore = shutil.ignore_patterns('__pycache__')
                shutil.copytree(source, target, dirs_exist_ok=True, ignore=ignore)
            else:
                shutil.copy2(source, target)


class EggInfoOfPlugin(egg_info):
    """``egg_info`` that lists the plugin first: mmengine reads configs of the first package."""

    def write_file(self, what, filename, data):
        if what == 'top-level names':
            data = ''.join(f'{name}\n' for name in sorted(data.split(), key=PACKAGE.__ne__))
        super().write_file(what, filename, data)


def version():
    """Version string of the package, read without importing it."""
    text = (ROOT / PACKAGE / '__init__.py').read_text(encoding='utf-8')
    return re.search(r"^__version__ = '([^']+)'", text, re.MULTILINE).group(1)


def readme():
    """The README, where the checkout has one."""
    path = ROOT / 'README.md'
    return path.read_text(encoding='utf-8') if path.exists() else ''


setup(
    name='groupvit-mmseg',
    version=version(),
    description='GroupViT for MMSegmentation: segmentation by any class names, from captions',
    long_description=readme(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    license_files=['LICENSE'],
    packages=find_packages(include=['groupvit_mmseg*', 'groupvit_cli*', 'groupvit_web*']),
    entry_points={'console_scripts': ['groupvit = groupvit_cli.app:main']},
    include_package_data=True,
    package_data={
        PACKAGE: ['py.typed', '**/*.csv', '**/*.json', '**/*.txt'],
        'groupvit_web': ['static/*'],
    },
    cmdclass={'build_py': BuildWithMim, 'egg_info': EggInfoOfPlugin},
    python_requires='>=3.10',
    install_requires=[
        'filelock>=3.12',
        'ftfy>=6.1',
        'matplotlib>=3.6',
        'numpy>=1.23',
        'pillow>=9.2',
        'PyYAML>=5.4',
        'regex',
        'rich>=13',
        'safetensors>=0.4',
        'textblob>=0.18',
        'torch>=2.1',
        'torchvision>=0.16',
        'typer>=0.12',
        'webdataset>=0.2.100',
    ],
    extras_require={
        'onedl': ONEDL,
        'openmmlab': OPENMMLAB,
        'detections': DETECTIONS,
        'nltk': NLTK,
        'hub': HUB,
        'onnx': ONNX,
        'openvino': [*ONNX, *OPENVINO],
        'parquet': PARQUET,
        'ray': RAY,
        's3': S3,
        'crf': CRF,
        'web': WEB,
        'clustering': CLUSTERING,
        'dev': DEV,
    },
    classifiers=[
        'Intended Audience :: Science/Research',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    zip_safe=False,
)
