# GroupViT of Hugging Face, to compare its forward pass with this package's.
# CHECKPOINT: the folder of nvidia/groupvit-gcc-yfcc, as transformers saves it.
# Command: python tools/evaluate.py CHECKPOINT --config THIS_FILE --sets voc20 --out DIR
custom_imports = dict(imports=['hf_groupvit'])
model = dict(
    type='OpenVocabularySegmentor',
    model=dict(type='HuggingFaceGroupViT'),
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
)
