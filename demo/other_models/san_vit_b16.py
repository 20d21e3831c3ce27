# SAN of MMSegmentation; every model of a config can be adapted so.
# CHECKPOINT: the file of san-vit-b16_20k_coco-stuff164k-640x640 in its model zoo.
# Command: python tools/evaluate.py CHECKPOINT --config THIS_FILE --sets voc20 --out DIR
custom_imports = dict(imports=['mmseg_san'])
model = dict(
    type='OpenVocabularySegmentor',
    model=dict(type='SAN', segmentor='san/san-vit-b16_coco-stuff164k-640x640.py'),
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[122.7709, 116.7460, 104.0937],
        std=[68.5005, 66.6322, 70.3232],
        bgr_to_rgb=True,
    ),
)
