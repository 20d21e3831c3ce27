# SCLIP: query-query and key-key attention in the last block of CLIP.
# CHECKPOINT: the folder of openai/clip-vit-base-patch16, as transformers saves it.
# Command: python tools/evaluate.py CHECKPOINT --config THIS_FILE --sets voc20 --out DIR
custom_imports = dict(imports=['dense_clip'])
model = dict(
    type='OpenVocabularySegmentor',
    model=dict(type='DenseCLIP', attention='sclip'),
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[122.7709, 116.7460, 104.0937],
        std=[68.5005, 66.6322, 70.3232],
        bgr_to_rgb=True,
    ),
)
