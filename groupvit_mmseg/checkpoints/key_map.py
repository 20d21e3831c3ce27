"""Names of tensors in the official release, in Hugging Face's ``GroupViTModel`` and here.

Each table pairs a name pattern of another implementation with that of :class:`GroupViTPretrainer`.
``*`` stands for an index; a pattern that ends in ``.`` is a prefix. The first that fits is used, in
either direction.
"""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

_GROUPING = {
    'norm_tokens.': 'norm_groups.',
    'norm_x.': 'norm_tokens.',
    'mlp_inter.': 'group_mlp.',
    'norm_post_tokens.': 'norm_query.',
    'pre_assign_attn.attn.': 'cross_attention.attn.',
    'pre_assign_attn.norm2.': 'cross_attention.norm.',
    'pre_assign_attn.mlp.': 'cross_attention.mlp.',
    'pre_assign_attn.norm_post.': 'cross_attention.norm_post.',
    'assign.': 'assign.',
    'norm_new_x.': 'norm_out.',
    'mlp_channels.': 'mlp_out.',
    'reduction.': 'reduce.',
}

# Where widths differ, the first two parts are one deeper and a norm and a linear layer follow.
_NESTED = {'0.0.': 'norm.', '0.1.': 'mlp.'}
_GROUP_PROJECTOR = {
    **_NESTED,  # first: they also begin like '0.'
    '0.': 'norm.',
    '1.fc1.': 'mlp.fc1.',
    '1.fc2.': 'mlp.fc2.',
    '1.': 'expand.0.',
    '2.': 'expand.1.',
}


def _under(source: str, target: str, names: Mapping[str, str]) -> dict[str, str]:
    """A table with prefixes put before both sides."""
    return {source + theirs: target + ours for theirs, ours in names.items()}


_OFFICIAL_PROJECTOR = 'img_encoder.layers.*.group_projector.'
OFFICIAL = {
    'logit_scale': 'loss_contrastive.logit_scale',
    'multi_label_logit_scale': 'loss_multi_label.logit_scale',
    'img_encoder.pos_embed': 'backbone.pos_embed',
    'img_encoder.patch_embed.': 'backbone.patch_embed.',
    'img_encoder.norm.': 'backbone.norm.',
    'img_encoder.layers.*.group_token': 'backbone.stages.*.group_tokens',
    'img_encoder.layers.*.blocks.*.': 'backbone.stages.*.blocks.*.',
    **_under('img_encoder.layers.*.downsample.', 'backbone.stages.*.grouping.', _GROUPING),
    **_under(_OFFICIAL_PROJECTOR, 'backbone.stages.*.group_projector.', _GROUP_PROJECTOR),
    'text_encoder.positional_embedding': 'text_encoder.pos_embed',
    'text_encoder.token_embedding.': 'text_encoder.token_embedding.',
    'text_encoder.ln_final.': 'text_encoder.norm.',
    **_under(
        'text_encoder.transformer.resblocks.*.',
        'text_encoder.blocks.*.',
        {
            'ln_1.': 'norm1.',
            'ln_2.': 'norm2.',
            'attn.in_proj_weight': 'attn.qkv.weight',
            'attn.in_proj_bias': 'attn.qkv.bias',
            'attn.out_proj.': 'attn.proj.',
            'mlp.c_fc.': 'mlp.fc1.',
            'mlp.c_proj.': 'mlp.fc2.',
        },
    ),
    'img_projector.linear_hidden.': 'image_projector.hidden.',
    'img_projector.linear_out.': 'image_projector.out.',
    'text_projector.linear_hidden.': 'text_projector.hidden.',
    'text_projector.linear_out.': 'text_projector.out.',
}

_HUGGING_FACE_BLOCK = {
    'self_attn.q_proj.': 'attn.qkv.q.',
    'self_attn.k_proj.': 'attn.qkv.k.',
    'self_attn.v_proj.': 'attn.qkv.v.',
    'self_attn.out_proj.': 'attn.proj.',
    'layer_norm1.': 'norm1.',
    'layer_norm2.': 'norm2.',
    'mlp.': 'mlp.',
}
_HUGGING_FACE_GROUPING = {
    'pre_assign_attn.attn.out_proj.': 'cross_attention.attn.proj.',
    **_GROUPING,
}
_HUGGING_FACE_PROJECTION = {'0.': 'hidden.0.', '1.': 'hidden.1.', '3.': 'out.'}
_STAGE = ('vision_model.encoder.stages.*.', 'backbone.stages.*.')
_OF_ONE_WIDTH = {k: v for k, v in _GROUP_PROJECTOR.items() if 'mlp.fc' in v or k == '0.'}

HUGGING_FACE = {
    'logit_scale': 'loss_contrastive.logit_scale',
    'vision_model.embeddings.position_embeddings': 'backbone.pos_embed',
    'vision_model.embeddings.patch_embeddings.projection.': 'backbone.patch_embed.proj.',
    'vision_model.embeddings.layernorm.': 'backbone.patch_embed.norm.',
    'vision_model.layernorm.': 'backbone.norm.',
    f'{_STAGE[0]}group_token': f'{_STAGE[1]}group_tokens',
    **_under(f'{_STAGE[0]}layers.*.', f'{_STAGE[1]}blocks.*.', _HUGGING_FACE_BLOCK),
    **_under(f'{_STAGE[0]}downsample.', f'{_STAGE[1]}grouping.', _HUGGING_FACE_GROUPING),
    **_under(f'{_STAGE[0]}group_projector.', f'{_STAGE[1]}group_projector.', _OF_ONE_WIDTH),
    'text_model.embeddings.token_embedding.': 'text_encoder.token_embedding.',
    'text_model.embeddings.position_embedding.weight': 'text_encoder.pos_embed',
    'text_model.final_layer_norm.': 'text_encoder.norm.',
    **_under('text_model.encoder.layers.*.', 'text_encoder.blocks.*.', _HUGGING_FACE_BLOCK),
    **_under('visual_projection.', 'image_projector.', _HUGGING_FACE_PROJECTION),
    **_under('text_projection.', 'text_projector.', _HUGGING_FACE_PROJECTION),
}

_WIDENS = re.compile(r'(backbone\.stages\.\d+\.group_projector\.)expand\.')
_PROJECTION_WEIGHT = re.compile(r'(image|img|text)_projector\..*weight$')
_FUSED = re.compile(r'(.*\.attn\.qkv\.)(weight|bias)$')
_SPLIT = re.compile(r'(.*\.attn\.qkv\.)[qkv]\.(weight|bias)$')


def _matcher(pattern: str) -> re.Pattern[str]:
    """The pattern as a regular expression whose groups are the indices."""
    expression = re.escape(pattern).replace(r'\*', r'(\d+)')
    return re.compile(expression if pattern.endswith('.') else expression + '$')


def rename(key: str, table: Mapping[str, str]) -> str | None:
    """The name here of another implementation's tensor, None if the table lacks it."""
    for pattern, target in table.items():
        match = _matcher(pattern).match(key)
        if match:
            for index in match.groups():
                target = target.replace('*', index, 1)
            return target + key[match.end() :]
    return None


def inverse(table: Mapping[str, str]) -> dict[str, str]:
    """The same table read from right to left; where two lead to one name, the first counts."""
    turned: dict[str, str] = {}
    for theirs, ours in table.items():
        turned.setdefault(ours, theirs)
    return turned


def rename_all(state_dict: Mapping[str, Tensor], table: Mapping[str, str]) -> dict[str, Tensor]:
    """Every tensor under the name that a table gives it.

    Args:
        state_dict (Mapping[str, Tensor]): of the other implementation.
        table (Mapping[str, str]): such as ``OFFICIAL`` or ``HUGGING_FACE``.

    Returns:
        dict[str, Tensor]: the same tensors.

    Raises:
        ValueError: listing the names that the table lacks, or that become the same.
    """
    targets = {key: rename(key, table) for key in state_dict}
    unknown = [key for key, target in targets.items() if target is None]
    if unknown:
        raise ValueError(f'{len(unknown)} tensors have no place in GroupViT: {", ".join(unknown)}.')
    renamed = {str(targets[key]): value for key, value in state_dict.items()}
    if len(renamed) < len(state_dict):
        raise ValueError(f'Several tensors have the same meaning: {_doubles(targets)}.')
    return renamed


def _doubles(targets: Mapping[str, str | None]) -> str:
    """The names that share their target with another one."""
    found = list(targets.values())
    return ', '.join(key for key, target in targets.items() if found.count(target) > 1)


def merge_qkv(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``attn.qkv.{q,k,v}.weight`` (and bias) as one ``attn.qkv.weight``, rows q, k, v.

    Raises:
        ValueError: listing the parts that lack their counterparts.
    """
    merged: dict[str, Tensor] = {}
    missing = []
    for key, value in state_dict.items():
        match = _SPLIT.match(key)
        if match is None:
            merged[key] = value
            continue
        name, kind = match.groups()
        parts = [f'{name}{part}.{kind}' for part in 'qkv']
        missing += [part for part in parts if part not in state_dict and part not in missing]
        if not missing and name + kind not in merged:
            merged[name + kind] = torch.cat([state_dict[part] for part in parts])
    if missing:
        raise ValueError(f'{len(missing)} tensors are missing: {_in_hugging_face(missing)}.')
    return merged


def split_qkv(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of :func:`merge_qkv`."""
    split = {}
    for key, value in state_dict.items():
        match = _FUSED.match(key)
        if match is None:
            split[key] = value
            continue
        for part, rows in zip('qkv', value.chunk(3), strict=True):
            split[f'{match[1]}{part}.{match[2]}'] = rows.clone()  # files refuse shared memory
    return split


def _in_hugging_face(keys: Iterable[str]) -> str:
    """Names here as a list of Hugging Face's."""
    turned = inverse(HUGGING_FACE)
    return ', '.join(rename(key, turned) or key for key in keys)


def from_official(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of :class:`GroupViTPretrainer` from the official release's ``model`` entry.

    Projectors may hold conv1d weights ``(out, in, 1)`` or linear ones ``(out, in)``.

    Raises:
        ValueError: listing names that are not GroupViT's.
    """
    renamed = rename_all(state_dict, OFFICIAL)
    return {
        key: value.squeeze(-1) if _PROJECTION_WEIGHT.match(key) and value.dim() == 3 else value
        for key, value in renamed.items()
    }


def to_official(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The official release's ``model`` entry from a :class:`GroupViTPretrainer`'s state dict.

    Raises:
        ValueError: listing names that are not the pretrainer's.
    """
    widening = tuple({match[1] for key in state_dict if (match := _WIDENS.match(key))})
    nested = {_OFFICIAL_PROJECTOR + part for part in _NESTED}
    tables = {
        True: inverse(OFFICIAL),
        False: inverse({k: v for k, v in OFFICIAL.items() if k not in nested}),
    }
    renamed: dict[str, Tensor] = {}
    for widens, table in tables.items():
        part = {k: v for k, v in state_dict.items() if k.startswith(widening) == widens}
        renamed.update(rename_all(part, table))
    return {
        key: value.unsqueeze(-1) if _PROJECTION_WEIGHT.match(key) and value.dim() == 2 else value
        for key, value in renamed.items()
    }


def from_hugging_face(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of :class:`GroupViTPretrainer` from ``transformers.GroupViTModel``'s.

    Raises:
        ValueError: listing names that are not GroupViT's, or missing parts of an attention.
    """
    kept = {k: v for k, v in state_dict.items() if not k.endswith('position_ids')}
    return merge_qkv(rename_all(kept, HUGGING_FACE))


def to_hugging_face(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of ``transformers.GroupViTModel`` from a :class:`GroupViTPretrainer`'s.

    Raises:
        ValueError: listing names that Hugging Face's model has no place for, such as those of a
            second logit scale or of other widths.
    """
    return rename_all(split_qkv(state_dict), inverse(HUGGING_FACE))
