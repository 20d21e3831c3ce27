# MMPretrain's classifier on the paper's backbone: a linear layer on the mean of the segments.
data_preprocessor = dict(
    type='ClsDataPreprocessor',
    num_classes=1000,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
model = dict(
    type='ImageClassifier',
    data_preprocessor=data_preprocessor,
    backbone=dict(
        type='mmseg.GroupViT',
        img_size=224,
        out_type='pooled',
        init_cfg=dict(
            # Download: docs/weights.md. Also hf://nvidia/groupvit-gcc-yfcc; None: from scratch.
            type='Pretrained',
            checkpoint='checkpoints/group_vit_gcc_yfcc_30e-879422e0.pth',
        ),
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=384,
        loss=dict(type='CrossEntropyLoss'),
        topk=(1, 5),
    ),
)
