# GroupViT as in the paper: ViT-S width, groupings into 64 and 8 segments, 224 px, patches of 16 px.
# `model` pretrains; `segmentor` reads the same checkpoint and segments whole images or windows.
backbone = dict(
    type='GroupViT',
    img_size=224,
    patch_size=16,
    embed_dims=384,
    embed_factors=(1, 1, 1),
    depths=(6, 3, 3),
    num_heads=(6, 6, 6),
    num_group_tokens=(64, 8, 0),
    num_output_groups=(64, 8),
    drop_path_rate=0.1,
)
text_encoder = dict(type='GroupViTTextEncoder', context_length=77, embed_dims=256, num_layers=12)
image_projector = dict(
    type='GroupViTProjector', in_channels=384, hidden_channels=4096, out_channels=256
)
text_projector = dict(
    type='GroupViTProjector', in_channels=256, hidden_channels=4096, out_channels=256
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
    loss_contrastive=dict(type='ImageTextContrastiveLoss'),
    loss_multi_label=dict(type='MultiLabelContrastiveLoss'),
    text_buckets=4,  # captions are three times as long as prompts
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
        bg_thresh='official',
    ),
    test_cfg=dict(mode='slide', crop_size=(448, 448), stride=(224, 224)),
)
