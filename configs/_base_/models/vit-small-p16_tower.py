# ViT-S/16 instead of GroupViT: as many blocks of the same width, no groups, no class token.
tower = dict(
    type='ImageTower',
    backbone=dict(
        type='mmpretrain.VisionTransformer',
        arch='deit-small',
        img_size=224,
        patch_size=16,
        with_cls_token=False,
        out_type='featmap',
        drop_path_rate=0.1,
    ),
    embed_dims=384,
    patch_size=16,
)
