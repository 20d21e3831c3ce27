# The same model in pretraining, which evaluates it zero-shot.
_base_ = './tiny_zeroshot.py'
_segmentor = {{_base_.model}}
val_cfg = dict(type='ZeroShotValLoop', segmentor=_segmentor)
val_dataloader = {{_base_.test_dataloader}}
val_evaluator = {{_base_.test_evaluator}}
model = dict(
    _delete_=True,
    type='GroupViTPretrainer',
    data_preprocessor=dict(
        type='mmengine.ImgDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone={{_base_.model.backbone}},
    text_encoder={{_base_.model.decode_head.text_encoder}},
    image_projector={{_base_.model.decode_head.image_projector}},
    text_projector={{_base_.model.decode_head.text_projector}},
    loss_contrastive=dict(type='ImageTextContrastiveLoss'),
    loss_multi_label=dict(type='MultiLabelContrastiveLoss'),
)
