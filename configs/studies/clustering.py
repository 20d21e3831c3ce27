# Grouping against towers without grouping on the scenes: the paper's table 4.
#   python tools/dataset_converters/make_scenes.py --out data/scenes
#   python tools/study.py clustering
# As there: each patch alone (`argmax`), k-means, mean shift and spectral clustering of a ViT's
# tokens. `colours` clusters mean colours and positions instead, and names the clusters by tokens.
# Time: about 6 runs of 3 to 7 minutes on one thread, and 12 evaluations of 1 to 5 minutes; with
# AVX2 alone beside other programs 8 to 24, of spectral clusters more than an hour
# Numbers: docs/results.md; spectral and colours of two seeds
_base_ = '../_base_/studies/scenes.py'
title = 'Clustering'
question = 'Is the grouping better than clusters of a tower that does not group?'
neck = 'val_cfg.segmentor.neck'
cluster = dict(type='PatchClustering', num_clusters=32)
variants = {
    'groupvit': {},
    'argmax': {'config': '../baselines/vit-tiny-p4_1xb64-coslr-6e_scenes-40px.py'},
    'k-means': {'weights_of': 'argmax', neck: dict(cluster, method='kmeans')},
    'mean-shift': {
        'weights_of': 'argmax',
        neck: dict(cluster, method='mean_shift', num_clusters=64),
    },
    'spectral': {'weights_of': 'argmax', neck: dict(cluster, method='spectral')},
    'colours': {
        'weights_of': 'argmax',
        neck: dict(cluster, method='kmeans', features='colours'),
    },
}
del neck, cluster
