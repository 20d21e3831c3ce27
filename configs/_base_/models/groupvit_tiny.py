# GroupViT for the scenes: one grouping stage, 32 segments, one block before the grouping and none
# after it. Shallow, so that tokens stay local; docs/scenes.md has what else mattered.
backbone = dict(
    type='GroupViT',
    img_size=40,
    patch_size=4,
    embed_dims=64,
    depths=(1,),
    num_heads=(2,),
    num_group_tokens=(32,),
    num_output_groups=(32,),
    drop_path_rate=0.0,
    # Half of the images of a training step skip the self-attention, so that patches have to be
    # known by themselves. Else water may be named tent where a tent is in the image, too
    # (docs/scenes.md).
    attn_drop_path=0.5,
    assign_scale=8.0,
    group_token_std=1.0,
)
text_encoder = dict(type='GroupViTTextEncoder', context_length=32, embed_dims=64, num_layers=1)
projector = dict(type='GroupViTProjector', in_channels=64, hidden_channels=256, out_channels=128)
data_preprocessor = dict(
    type='ImgDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
)
model = dict(
    type='GroupViTPretrainer',
    data_preprocessor=data_preprocessor,
    backbone=backbone,
    text_encoder=text_encoder,
    image_projector=projector,
    text_projector=projector,
    loss_contrastive=dict(type='ImageTextContrastiveLoss'),
    loss_multi_label=dict(
        type='MultiLabelContrastiveLoss', level='patches', match_equal_prompts=True
    ),
    text_buckets=1,  # twelve words: most prompts of a batch are equal, and are encoded once
)
segmentor = dict(
    type='GroupViTSegmentor',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=data_preprocessor['mean'],
        std=data_preprocessor['std'],
        bgr_to_rgb=True,
        size_divisor=1,
    ),
    backbone=backbone,
    decode_head=dict(
        type='GroupViTZeroShotHead',
        text_encoder=text_encoder,
        image_projector=projector,
        text_projector=projector,
        # All words compete: level='patches' trains what patches say, not the mean that ranks words.
        top_k=12,
        affinity='cosine',  # trained softmax affinities end near 1: no threshold tells things apart
    ),
    test_cfg=dict(mode='whole', with_group_map=True),
)
