"""Segmentation sets of a few drawn images, and a run of two steps of any config on them."""

import itertools

import numpy as np
import pytest
from mmengine.config import Config, ConfigDict
from PIL import Image

SIZE = (80, 64)  # width, height
SCALE = 8  # what sizes of crops and images in configs are divided by
COUNTER = itertools.count()

# Shallow and with few groups, but with the widths, heads and stages of the paper.
SHALLOW = dict(
    img_size=64,
    depths=(1, 1, 1),
    num_group_tokens=(8, 4, 0),
    num_output_groups=(8, 4),
    init_cfg=None,
)


@pytest.fixture(autouse=True)
def _unformatted_configs(monkeypatch):
    """A run writes its config four times, and formatting takes a second each time."""
    text = property(lambda cfg: '\n'.join(f'{key} = {value!r}' for key, value in cfg.items()))
    monkeypatch.setattr(Config, 'pretty_text', text)


@pytest.fixture(scope='session')
def segmentation_sets(tmp_path_factory):
    """Roots of VOC 2012 with SBD, ADE20K and Cityscapes, four images each, by type of data set."""
    root = tmp_path_factory.mktemp('sets')
    draw_voc(root / 'voc')
    draw_ade20k(root / 'ade')
    draw_cityscapes(root / 'cityscapes')
    return dict(
        PascalVOCDataset=root / 'voc',
        ADE20KDataset=root / 'ade',
        CityscapesDataset=root / 'cityscapes',
    )


def draw(index, image_path, mask_path, classes):
    """Noise of another brightness in each half, and a mask with two classes and an ignored line."""
    rng = np.random.RandomState(index)
    mask = np.full(SIZE[::-1], classes[index % len(classes)], dtype=np.uint8)
    mask[:, SIZE[0] // 2 :] = classes[(index + 1) % len(classes)]
    image = rng.randint(0, 128, (*mask.shape, 3)).astype(np.uint8)
    image[:, SIZE[0] // 2 :] += 127
    mask[SIZE[1] // 2] = 255
    for path, array in ((image_path, image), (mask_path, mask)):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)


def draw_voc(root):
    splits = root / 'ImageSets' / 'Segmentation'
    splits.mkdir(parents=True)
    for split, indices in (('train', (0, 1)), ('val', (2,)), ('aug', (3,))):
        masks = root / ('SegmentationClassAug' if split == 'aug' else 'SegmentationClass')
        for i in indices:
            draw(i, root / 'JPEGImages' / f'{i}.jpg', masks / f'{i}.png', (0, 7, 20))
        (splits / f'{split}.txt').write_text('\n'.join(map(str, indices)))


def draw_ade20k(root):
    for i, split in enumerate(('training', 'training', 'training', 'validation')):
        image, mask = (root / kind / split for kind in ('images', 'annotations'))
        draw(i, image / f'{i}.jpg', mask / f'{i}.png', (1, 150, 40))


def draw_cityscapes(root):
    for i, split in enumerate(('train', 'train', 'train', 'val')):
        image, mask = (root / kind / split / 'town' for kind in ('leftImg8bit', 'gtFine'))
        names = (f'town_{i}_leftImg8bit.png', f'town_{i}_gtFine_labelTrainIds.png')
        draw(i, image / names[0], mask / names[1], (0, 18, 5))


@pytest.fixture
def shrunk(segmentation_sets, tmp_path):
    """Makes a config one of seconds on a CPU: two steps, one image in validation."""

    def shrink(cfg):
        cfg = cfg.copy()
        walk(cfg, lambda node: at_drawn_images(node, segmentation_sets))
        for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            cfg[name].update(num_workers=0, persistent_workers=False)
        cfg.train_dataloader.batch_size = 2
        cfg.merge_from_dict(
            dict(
                work_dir=str(tmp_path / 'run'),
                launcher='none',
                log_level='ERROR',
                experiment_name=f'{tmp_path.name}-{next(COUNTER)}',
                train_cfg=dict(max_iters=2, val_interval=2),
                default_hooks=dict(checkpoint=None),
            )
        )
        cfg.default_hooks.pop('visualization', None)
        cfg.param_scheduler = None
        cfg.visualizer.name = f'visualizer-{cfg.experiment_name}'
        return cfg

    return shrink


def walk(node, visit):
    """Visit every dict in a config."""
    if isinstance(node, (Config, ConfigDict, dict)):
        visit(node)
        for key in list(node):
            walk(node[key], visit)
    elif isinstance(node, (list, tuple)):
        for item in node:
            walk(item, visit)


def at_drawn_images(node, roots):
    """Point a data set at drawn images; divide sizes in pixels."""
    if node.get('type') in roots:
        node['data_root'] = str(roots[node['type']])
        node['serialize_data'] = False  # would collect garbage, a second each time
    for key in ('crop_size', 'size', 'stride', 'scale'):
        if isinstance(node.get(key), (list, tuple)):
            node[key] = tuple(value // SCALE for value in node[key])


@pytest.fixture
def two_steps():
    """Trains a shrunken config for two steps, then tests an image.

    Returns the losses, the score, the model, the parameters that moved, and those that would learn
    but got no gradient, for which DDP would wait.
    """

    def run(cfg, runner_class):
        runner = runner_class.from_cfg(cfg)
        before = {name: p.detach().clone() for name, p in runner.model.named_parameters()}
        waiting = {name for name, p in runner.model.named_parameters() if p.requires_grad}
        for name, p in runner.model.named_parameters():
            if p.requires_grad:
                p.register_post_accumulate_grad_hook(lambda _, name=name: waiting.discard(name))
        runner.train()
        moved = {n for n, p in runner.model.named_parameters() if not p.equal(before[n])}
        hub = runner.message_hub
        losses = hub.get_scalar('train/loss').data[0]
        return losses, hub.get_scalar('val/mIoU').current(), runner.model, moved, waiting

    return run


@pytest.fixture(scope='session')
def shallow_backbone():
    return SHALLOW
