# ImageNet-1k, validation split (50,000 images) in folders per class or with meta/val.txt.
# Short side 256, centre crop 224. Read by tools/evaluate.py.
# Another folder: --data-root or --root imagenet=FOLDER
test_dataloader = dict(
    dataset=dict(
        type='mmpretrain.ImageNet',
        data_root='data/imagenet',
        split='val',
        pipeline=[
            dict(type='mmseg.LoadImageFromFile'),
            dict(type='mmpretrain.ResizeEdge', scale=256, edge='short'),
            dict(type='mmpretrain.CenterCrop', crop_size=224),
            dict(type='mmpretrain.PackInputs'),
        ],
    ),
)
