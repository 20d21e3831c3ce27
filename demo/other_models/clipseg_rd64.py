# CLIPSeg of Hugging Face.
# CHECKPOINT: the folder of CIDAS/clipseg-rd64-refined, as transformers saves it.
# Command: python tools/evaluate.py CHECKPOINT --config THIS_FILE --sets voc20 --out DIR
custom_imports = dict(imports=['clipseg'])
model = dict(
    type='OpenVocabularySegmentor',
    model=dict(type='CLIPSeg', side=352),
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
)
