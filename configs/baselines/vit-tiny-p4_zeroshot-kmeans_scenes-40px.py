# The tiny vision transformer on the scenes, its patches grouped by k-means.
#   python tools/test.py configs/baselines/vit-tiny-p4_zeroshot-kmeans_scenes-40px.py \
#     work_dirs/vit-tiny-p4_1xb64-coslr-6e_scenes-40px/epoch_6.pth
# Weights: those of vit-tiny-p4_1xb64-coslr-6e_scenes-40px.py
# Numbers: docs/measurements.md.
_base_ = './vit-tiny-p4_1xb64-coslr-6e_scenes-40px.py'
val_cfg = dict(segmentor=dict(neck=dict(type='PatchClustering', method='kmeans')))
