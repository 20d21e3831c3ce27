"""Training and validation on masks name a file that does not fit the classes."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from groupvit_mmseg.engine.hooks.segmentation_checks_hook import classes_of

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]


@pytest.fixture
def masks(tiny_data, tmp_path):
    """A copy of the tiny data's images and masks."""
    for folder in ('images', 'masks'):
        shutil.copytree(tiny_data / folder, tmp_path / 'set' / folder)
    return tmp_path / 'set/masks'


@pytest.fixture
def make_supervised(make_runner, tiny_config, masks):
    """Builds a runner that trains a 1 x 1 convolution on masks, two steps."""
    dataset = dict(
        tiny_config.val_dataloader.dataset, data_root=str(masks.parent), pipeline=PIPELINE
    )
    loader = dict(_delete_=True, batch_size=2, num_workers=0, dataset=dataset)
    head = dict(
        type='FCNHead',
        in_channels=16,
        in_index=0,
        channels=16,
        num_convs=0,
        concat_input=False,
        dropout_ratio=0.0,
        num_classes=3,
        loss_decode=dict(type='CrossEntropyLoss'),
    )

    def make(workers=0, head_changes=None, **changes):
        model = dict(
            type='EncoderDecoder',
            data_preprocessor=dict(type='SegDataPreProcessor', size=(16, 16), seg_pad_val=255),
            backbone=dict(
                tiny_config.model.backbone, out_indices=(0,), out_type=('raw',), init_cfg=None
            ),
            decode_head=dict(head, **(head_changes or {})),
            test_cfg=dict(mode='whole'),
        )
        loaders = {
            name: dict(loader, num_workers=workers, sampler=dict(type='DefaultSampler', shuffle=s))
            for name, s in (('train_dataloader', True), ('val_dataloader', False))
        }
        return make_runner(
            model=dict(_delete_=True, **model),
            **loaders,
            custom_hooks=[],
            val_cfg=dict(_delete_=True, type='ValLoop'),
            train_cfg=dict(max_epochs=1),
            **changes,
        )

    return make


def spoil(masks, label, name='3.png', dtype=np.uint8):
    mask = np.array(Image.open(masks / name)).astype(dtype)
    mask[0, 0] = label
    Image.fromarray(mask).save(masks / name)


@pytest.mark.filterwarnings('ignore::UserWarning')
def test_good_masks_train_and_the_preset_names_of_the_config_stay(make_supervised):
    runner = make_supervised()
    runner.train()
    assert runner.iter == 2
    assert runner.cfg.train_dataloader.dataset.pipeline[1].type == 'LoadAnnotations'


@pytest.mark.filterwarnings('ignore::UserWarning')
@pytest.mark.parametrize(
    'label, dtype, message',
    [
        (3, np.uint8, r'3\.png has label 3, but there are only 3 classes'),
        (258, np.uint16, r'3\.png \(uint16\) has label 258'),
    ],
)
def test_a_label_without_a_class_names_the_file_before_the_loss(
    make_supervised, masks, label, dtype, message
):
    spoil(masks, label, dtype=dtype)
    with pytest.raises(ValueError, match=message):
        make_supervised().train()


@pytest.mark.filterwarnings('ignore::UserWarning')
def test_heads_and_sets_with_other_classes_are_refused_before_the_first_step(make_supervised):
    with pytest.raises(ValueError, match='has 3 classes, but the class list has 4'):
        make_supervised(head_changes=dict(num_classes=4)).train()


@pytest.mark.filterwarnings('ignore::UserWarning')
def test_validation_alone_is_checked(make_supervised, masks):
    spoil(masks, 3)
    with pytest.raises(ValueError, match='has label 3, but there are only 3 classes'):
        make_supervised().val()
    for path in masks.iterdir():
        Image.fromarray(np.full((16, 16), 255, np.uint8)).save(path)
    with pytest.raises(ValueError, match=r'In all 4 masks .* every pixel has the label 255'):
        make_supervised().val()


def test_heads_that_disagree_are_named():
    from mmseg.registry import MODELS

    options = dict(in_channels=4, channels=4, num_convs=0, concat_input=False)
    heads = [MODELS.build(dict(type='FCNHead', num_classes=n, **options)) for n in (3, 5)]
    model = torch.nn.ModuleDict(dict(decode_head=heads[0], auxiliary_head=heads[1]))
    with pytest.raises(ValueError, match="'decode_head': 3, 'auxiliary_head': 5"):
        classes_of(model)
    assert classes_of(heads[1]) == 5
    assert classes_of(torch.nn.Linear(1, 1)) is None


def binary(masks):
    for path in masks.iterdir():
        mask = np.zeros((16, 16), np.uint8)
        mask[:8] = 255
        Image.fromarray(mask).save(path)


def uppercase(masks):
    for path in (masks.parent / 'images').iterdir():
        path.rename(path.with_suffix('.PNG'))


@pytest.mark.parametrize(
    'damage, error, message',
    [
        (binary, ValueError, 'are 0 and 255 only'),
        (uppercase, ValueError, "4 that end in '.PNG': set img_suffix"),
        (lambda masks: (masks / '2.png').unlink(), FileNotFoundError, r'There is no mask .*2\.png'),
    ],
)
def test_a_pretraining_checks_the_set_it_is_validated_on_before_its_first_step(
    make_runner, masks, damage, error, message
):
    damage(masks)
    runner = make_runner(val_dataloader=dict(dataset=dict(data_root=str(masks.parent))))
    with pytest.raises(error, match=message):
        runner.train()
    assert runner.iter == 0


def test_a_pretraining_refuses_to_validate_on_a_set_of_other_classes(make_runner):
    segmentor = dict(decode_head=dict(class_names=['red', 'green']))
    with pytest.raises(ValueError, match='has 3 classes, but the class list has 2'):
        make_runner(val_cfg=dict(segmentor=segmentor)).train()
