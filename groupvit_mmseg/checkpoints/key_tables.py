"""Keys of tensors in the official release, in Hugging Face's ``GroupViTModel`` and here.

Each table pairs a key pattern of another implementation with that of :class:`GroupViTPretrainer`.
``*`` stands for an index; a pattern that ends in ``.`` is a prefix. The first that matches is used,
in either direction.
"""

from collections.abc import Mapping

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
NESTED = {'0.0.': 'norm.', '0.1.': 'mlp.'}
_GROUP_PROJECTOR = {
    **NESTED,  # first: they also begin like '0.'
    '0.': 'norm.',
    '1.fc1.': 'mlp.fc1.',
    '1.fc2.': 'mlp.fc2.',
    '1.': 'expand.0.',
    '2.': 'expand.1.',
}


def _under(source: str, target: str, names: Mapping[str, str]) -> dict[str, str]:
    """Return a table with prefixes before both sides."""
    return {source + theirs: target + ours for theirs, ours in names.items()}


OFFICIAL_PROJECTOR = 'img_encoder.layers.*.group_projector.'
OFFICIAL = {
    'logit_scale': 'loss_contrastive.logit_scale',
    'multi_label_logit_scale': 'loss_multi_label.logit_scale',
    'img_encoder.pos_embed': 'backbone.pos_embed',
    'img_encoder.patch_embed.': 'backbone.patch_embed.',
    'img_encoder.norm.': 'backbone.norm.',
    'img_encoder.layers.*.group_token': 'backbone.stages.*.group_tokens',
    'img_encoder.layers.*.blocks.*.': 'backbone.stages.*.blocks.*.',
    **_under('img_encoder.layers.*.downsample.', 'backbone.stages.*.grouping.', _GROUPING),
    **_under(OFFICIAL_PROJECTOR, 'backbone.stages.*.group_projector.', _GROUP_PROJECTOR),
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
