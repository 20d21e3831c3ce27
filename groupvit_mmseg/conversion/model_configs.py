"""Configs of a structure for the plugin, ``transformers`` and the official release."""

from mmengine.config import Config

from groupvit_mmseg.checkpoints.architecture import (
    BackboneConfig,
    ProjectorConfig,
    Structure,
    TextEncoderConfig,
)
from groupvit_mmseg.checkpoints.architecture_hints import Decoding
from groupvit_mmseg.checkpoints.decoding_text import within_limits
from groupvit_mmseg.checkpoints.settings_readers import end_token
from groupvit_mmseg.dataset_meta import dataset_meta_of
from groupvit_mmseg.openmmlab_entries import add_openmmlab_entries
from groupvit_mmseg.text.vocabulary import class_names

PAPER = Structure(
    BackboneConfig(
        type='GroupViT',
        img_size=224,
        patch_size=16,
        in_channels=3,
        embed_dims=384,
        embed_factors=[1, 1, 1],
        depths=[6, 3, 3],
        num_heads=[6, 6, 6],
        num_group_tokens=[64, 8, 0],
        num_output_groups=[64, 8],
        mlp_ratio=4,
    ),
    TextEncoderConfig(
        type='GroupViTTextEncoder',
        context_length=77,
        embed_dims=256,
        num_layers=12,
        num_heads=4,
        vocab_size=49408,
    ),
    ProjectorConfig(
        type='GroupViTProjector',
        in_channels=384,
        num_layers=2,
        hidden_channels=4096,
        out_channels=256,
    ),
    ProjectorConfig(
        type='GroupViTProjector',
        in_channels=256,
        num_layers=2,
        hidden_channels=4096,
        out_channels=256,
    ),
    multi_label=True,
)
"""Structure: The paper's model, which the released weights have."""

AS_IN_THE_PAPER = Decoding()


def pretrainer_config(structure: Structure) -> dict[str, object]:
    """Return the config of a :class:`GroupViTPretrainer` without its data preprocessor."""
    config: dict[str, object] = dict(
        type='GroupViTPretrainer',
        backbone=structure.backbone,
        text_encoder=structure.text_encoder,
        image_projector=structure.image_projector,
        text_projector=structure.text_projector,
        loss_contrastive=dict(type='ImageTextContrastiveLoss'),
    )
    if structure.multi_label:
        config['loss_multi_label'] = dict(type='MultiLabelContrastiveLoss')
    if structure.backbone.get('assignment', {}).get('mean_of_tokens'):
        config.update(_losses_of_means(structure))
    return config


def _losses_of_means(structure: Structure) -> dict[str, object]:
    """Return a loss without which no pretrainer trains segments that are means of their tokens."""
    if structure.image_projector.get('pool_projected'):
        return dict(loss_grouping=dict(type='GroupClusteringLoss'))
    return dict(loss_multi_label=dict(type='MultiLabelContrastiveLoss', level='patches'))


def segmentor_config(structure: Structure, decoding: Decoding) -> dict[str, object]:
    """Return the config of a :class:`GroupViTSegmentor` for VOC.

    What ``decoding`` lacks is as in the paper. Official thresholds are for its affinity; with
    another one, things are what is nearer to a word than to none, above 0.5.
    """
    height, width = structure.image_shape
    mean, std, rgb = structure.normalization
    is_official = decoding.head.get('affinity', 'softmax') == 'softmax'
    test_cfg: dict[str, object] = dict(mode='whole', with_group_map=True)
    if decoding.mode != 'whole':
        size, stride = ((2 * height, 2 * width), (height, width))
        if decoding.mode == 'slide' and decoding.windows is not None:
            size, stride = decoding.windows
        test_cfg = dict(mode='slide', crop_size=size, stride=stride)
    return dict(
        type='GroupViTSegmentor',
        data_preprocessor=dict(
            type='SegDataPreProcessor',
            size_divisor=1,
            mean=list(mean),
            std=list(std),
            bgr_to_rgb=rgb,
        ),
        backbone=structure.backbone,
        decode_head=dict(
            type='GroupViTZeroShotHead',
            text_encoder=structure.text_encoder,
            image_projector=structure.image_projector,
            text_projector=structure.text_projector,
            class_names='pascal_voc',
            with_background=True,
            bg_thresh='official' if is_official else 0.5,
            **decoding.head,
        ),
        test_cfg=test_cfg,
    )


def segmentation_config_text(structure: Structure) -> str:
    """Return the text of :func:`zero_shot_voc_config`."""
    return zero_shot_voc_config(structure).pretty_text


def zero_shot_voc_config(structure: Structure, decoding: Decoding = AS_IN_THE_PAPER) -> Config:
    """Return a config for Pascal VOC 2012, and for any image in the demo.

    Args:
        structure (Structure): Of the model.
        decoding (Decoding): How it segments; what it lacks is as in the paper. Defaults to that.
    """
    decoding = within_limits(decoding, structure)
    short_side = max(1, round((decoding.size_factor or 2) * min(structure.image_shape)))
    resize: dict[str, object] = dict(scale=decoding.scale or (2048, short_side), keep_ratio=True)
    if decoding.interpolation is not None:
        resize['interpolation'] = decoding.interpolation
    dataset = dict(
        type='PascalVOCDataset',
        data_root='data/VOCdevkit/VOC2012',
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
        ann_file='ImageSets/Segmentation/val.txt',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', **resize),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs'),
        ],
        test_mode=True,
    )
    config = dict(
        default_scope='mmseg',
        custom_imports=dict(imports=['groupvit_mmseg'], allow_failed_imports=False),
        runner_type='GroupViTRunner',
        model=segmentor_config(structure, decoding),
        test_dataloader=dict(
            batch_size=1,
            num_workers=2,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=dataset,
        ),
        test_evaluator=dict(type='PerClassIoUMetric', iou_metrics=['mIoU']),
        test_cfg=dict(type='TestLoop'),
    )
    whole = Config(config)
    add_openmmlab_entries(whole)
    return whole


def segments_otherwise(decoding: Decoding, structure: Structure) -> bool:
    """Return whether a model is segmented otherwise than in the paper."""
    own, paper = zero_shot_voc_config(structure, decoding), zero_shot_voc_config(structure)
    return own.to_dict() != paper.to_dict()


def plugin_meta() -> dict[str, object]:
    """Return the entries of ``meta`` that OpenMMLab's tools read: the classes of the config."""
    return {'dataset_meta': dataset_meta_of(class_names('pascal_voc'))}


def hugging_face_config(structure: Structure) -> dict[str, object]:
    """Return the content of ``config.json`` for ``transformers.GroupViTModel``.

    Raises:
        ValueError: If Hugging Face's model cannot have this structure.
    """
    check_fits_hugging_face(structure)
    return dict(
        architectures=['GroupViTModel'],
        model_type='groupvit',
        projection_dim=structure.image_projector['out_channels'],
        projection_intermediate_dim=structure.image_projector['hidden_channels'],
        text_config=_hugging_face_text(structure.text_encoder),
        vision_config=_hugging_face_vision(structure.backbone),
    )


def _hugging_face_text(text: TextEncoderConfig) -> dict[str, object]:
    """Return the text tower's part of ``config.json``."""
    return dict(
        model_type='groupvit_text_model',
        hidden_size=text['embed_dims'],
        intermediate_size=4 * text['embed_dims'],
        num_hidden_layers=text['num_layers'],
        num_attention_heads=text['num_heads'],
        max_position_embeddings=text['context_length'],
        vocab_size=text['vocab_size'],
        bos_token_id=end_token(text['vocab_size']) - 1,
        eos_token_id=end_token(text['vocab_size']),
        hidden_act='quick_gelu',
        layer_norm_eps=1e-5,
    )


def _hugging_face_vision(backbone: BackboneConfig) -> dict[str, object]:
    """Return the image tower's part of ``config.json``."""
    width, groups = backbone['embed_dims'], list(backbone['num_output_groups'])
    return dict(
        model_type='groupvit_vision_model',
        hidden_size=width,
        intermediate_size=int(width * backbone['mlp_ratio']),
        num_hidden_layers=sum(backbone['depths']),
        depths=list(backbone['depths']),
        num_group_tokens=list(backbone['num_group_tokens']),
        # An entry for the stages that do not group is required, too.
        num_output_groups=groups + groups[-1:] * (len(backbone['depths']) - len(groups)),
        num_attention_heads=backbone['num_heads'][0],
        image_size=backbone['img_size'],
        patch_size=backbone['patch_size'],
        num_channels=backbone['in_channels'],
        assign_mlp_ratio=[0.5, backbone['mlp_ratio']],
        hidden_act='gelu',
        layer_norm_eps=1e-5,
        assign_eps=1.0,
    )


def check_fits_hugging_face(structure: Structure) -> None:
    """Raise ``ValueError`` for a structure that ``GroupViTModel`` cannot have."""
    backbone = structure.backbone
    projectors = (structure.image_projector, structure.text_projector)
    limits = {
        'one width': len(set(structure.widths)) == 1,
        'one number of heads': len(set(backbone['num_heads'])) == 1,
        'projectors of two layers': all(p['num_layers'] == 2 for p in projectors),
        'projectors of one shape': len({p.get('hidden_channels') for p in projectors}) == 1,
        'an integer mlp_ratio': float(backbone['mlp_ratio']).is_integer(),
        'images in RGB': structure.normalization.rgb or backbone['in_channels'] != 3,
    }
    broken = [limit for limit, is_met in limits.items() if not is_met]
    if broken:
        raise ValueError(
            f'transformers.GroupViTModel allows only {" and ".join(broken)}, which this model '
            'does not have: convert it to the official keys instead.'
        )


def official_config(structure: Structure) -> dict[str, object]:
    """Return the structure under the names of the official release's settings."""
    backbone, text = structure.backbone, structure.text_encoder
    return dict(
        img_encoder=dict(
            type='GroupViT',
            img_size=backbone['img_size'],
            patch_size=backbone['patch_size'],
            embed_dim=backbone['embed_dims'],
            embed_factors=list(backbone['embed_factors']),
            num_heads=list(backbone['num_heads']),
            depths=list(backbone['depths']),
            num_group_tokens=list(backbone['num_group_tokens']),
            num_output_groups=list(backbone['num_output_groups']),
        ),
        text_encoder=dict(
            type='TextTransformer',
            context_length=text['context_length'],
            width=text['embed_dims'],
            layers=text['num_layers'],
            vocab_size=text['vocab_size'],
        ),
        proj_num_layers=structure.image_projector['num_layers'],
        output_dim=structure.image_projector.get('out_channels', structure.widths[-1]),
    )
