# A segmentor on the paper's backbone in four levels: the patches' own tokens of stage 1, then each
# patch's segment of stages 1, 2 and 3. A child adds heads; a leaf sets the number of classes.
# SyncBN where processes have GPUs, by `sync_bn` of the runtime.
norm_cfg = dict(type='BN')
data_preprocessor = dict(
    type='SegDataPreProcessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    size=(512, 512),
    seg_pad_val=255,
)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=data_preprocessor,
    backbone=dict(
        type='GroupViT',
        img_size=512,
        out_indices=(0, 0, 1, 2),
        out_type=('raw', 'featmap', 'featmap', 'featmap'),
        init_cfg=dict(
            # Download: docs/weights.md. Also hf://nvidia/groupvit-gcc-yfcc; None: from scratch.
            type='Pretrained',
            checkpoint='checkpoints/group_vit_gcc_yfcc_30e-879422e0.pth',
        ),
    ),
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)),
)
