# GroupViT small enough for photographs on two CPU cores: one grouping stage, 16 segments.
backbone = dict(
    type='GroupViT',
    img_size=112,
    patch_size=16,
    embed_dims=192,
    depths=(2, 1),
    num_heads=(3, 3),
    num_group_tokens=(16, 0),
    num_output_groups=(16,),
    drop_path_rate=0.0,
    assign_scale=8.0,
    group_token_std=1.0,
)
