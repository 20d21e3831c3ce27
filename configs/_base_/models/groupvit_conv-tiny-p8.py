# GroupViT for few, small photographs on a CPU: convolutions make the patches, one block, one
# grouping stage of 16 segments.
embed_dims = 192
backbone = dict(
    type='GroupViT',
    img_size=48,
    patch_size=8,
    embed_dims=embed_dims,
    depths=(1,),
    num_heads=(3,),
    num_group_tokens=(16,),
    num_output_groups=(16,),
    drop_path_rate=0.0,
    assign_scale=32.0,
    group_token_std=1.0,
    assignment=dict(mean_of_tokens=True),
    conv_stem=dict(channels=(48, 96, 192), num_blocks=(0, 1, 1)),
)
text_encoder = dict(type='GroupViTTextEncoder', context_length=32, embed_dims=128, num_layers=1)
image_projector = dict(
    type='GroupViTProjector',
    in_channels=embed_dims,
    hidden_channels=512,
    out_channels=128,
    pool_projected=True,
)
text_projector = dict(
    type='GroupViTProjector', in_channels=128, hidden_channels=512, out_channels=128
)
mean = [123.675, 116.28, 103.53]
std = [58.395, 57.12, 57.375]
model = dict(
    type='GroupViTPretrainer',
    data_preprocessor=dict(type='ImgDataPreprocessor', mean=mean, std=std, bgr_to_rgb=True),
    backbone=backbone,
    text_encoder=text_encoder,
    image_projector=image_projector,
    text_projector=text_projector,
    loss_contrastive=dict(type='ImageTextContrastiveLoss', match_equal_captions=True),
    loss_multi_label=dict(type='MultiLabelContrastiveLoss', match_equal_prompts=True),
    # Captions alone do not separate groups (docs/experiments.md): they are clusters of patches. The
    # small weight spares the towers; for the layers of groups themselves the optimiser makes steps
    # whose length does not depend on it.
    loss_grouping=dict(type='GroupClusteringLoss', loss_weight=0.01),
    text_buckets=1,
)
data_preprocessor = dict(
    type='SegDataPreProcessor', mean=mean, std=std, bgr_to_rgb=True, size_divisor=1
)
segmentor = dict(
    type='GroupViTSegmentor',
    data_preprocessor=data_preprocessor,
    backbone=backbone,
    decode_head=dict(
        type='GroupViTZeroShotHead',
        text_encoder=text_encoder,
        image_projector=image_projector,
        text_projector=text_projector,
        class_names='pascal_voc',
        with_background=True,
        # Other words that captions have for the same things.
        aliases=dict(
            aeroplane=['airplane'],
            bicycle=['bike'],
            motorbike=['motorcycle'],
            person=['man', 'woman', 'boy', 'girl', 'child'],
            sofa=['couch'],
            monitor=['computer', 'television'],
        ),
        bg_thresh=0.5,
        affinity='cosine',
        top_k=2,
    ),
    test_cfg=dict(mode='whole', with_group_map=True),
)
