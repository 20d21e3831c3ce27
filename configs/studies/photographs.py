# Photographs: grouping against the same towers without it, and against the paper's objective.
#   python tools/study.py photographs
# Data: configs/_base_/datasets/photographs_48.py says which; VOC 2012 to evaluate on, of which
# every tenth photograph chooses the background threshold and is not tested.
# `k-means` and `spectral` cluster the tokens of the same weights, `patches` names each of them
# alone, and `colours` clusters the mean colours and positions of patches. `ungrouped` are the same
# towers without groups. In `cosines` and `paper` segments are projected as in the paper (9.3
# instead of 8.9 M parameters) and groups learn from captions alone: in the former words match
# patches, the latter is the paper's objective. `cosines-two-stages` has two stages of 32 and 16
# segments with the two changes that they need on the scenes (docs/results.md), and
# `cosines-beside-pooled-W` adds the paper's loss of prompts to `cosines` with weight W. In
# `skipped` half of the photographs of a step skip the self-attention before the grouping.
# Time: 24 runs of 10 to 18 minutes on one thread with AVX512_BF16, 100 to 110 with AVX2 alone
# beside other programs, and 15 evaluations
# Numbers: docs/results.md; `spectral`, `colours`, `patches`, `cosines`, `cosines-two-stages` and
# `cosines-beside-pooled-W` of one seed, `skipped` and `skipped-k-means` of two
_base_ = '../_base_/studies/photographs.py'
title = 'Photographs'
question = 'Is where things are learnt from words, and is grouping needed for it?'
backbone, pool = 'model.backbone', 'model.image_projector.pool_projected'
means, grouping = f'{backbone}.assignment.mean_of_tokens', 'model.loss_grouping'
segments = {pool: False, means: False, grouping: None, f'{backbone}.assign_scale': 8.0}
cosines = {**segments, 'model.loss_multi_label.level': 'patches'}
patches = dict(type='MultiLabelContrastiveLoss', level='patches', match_equal_prompts=True)
pooled = dict(type='MultiLabelContrastiveLoss')
neck = 'val_cfg.segmentor.neck'
cluster = dict(type='PatchClustering', num_clusters=16)
variants = {
    'groupvit': {},
    'k-means': {'weights_of': 'groupvit', neck: dict(cluster, method='kmeans')},
    'spectral': {'weights_of': 'groupvit', neck: dict(cluster, method='spectral')},
    'colours': {
        'weights_of': 'groupvit',
        neck: dict(cluster, method='kmeans', features='colours'),
    },
    # more clusters than patches: each is its own
    'patches': {
        'weights_of': 'groupvit',
        neck: dict(cluster, method='kmeans', num_clusters=1000),
    },
    'ungrouped': {
        f'{backbone}.num_group_tokens': [0],
        f'{backbone}.num_output_groups': [],
        means: False,
        grouping: None,
        # without GroupUsageHook, which has no groups to measure
        'custom_hooks': [dict(type='EMAHook', momentum=0.002, update_buffers=True)],
    },
    # half of the photographs of a step skip the self-attention before the grouping
    'skipped': {f'{backbone}.attn_drop_path': 0.5},
    'skipped-k-means': {
        'weights_of': 'skipped',
        neck: dict(cluster, method='kmeans'),
    },
    'cosines': cosines,
    'cosines-two-stages': {
        **cosines,
        f'{backbone}.depths': [1, 1],
        f'{backbone}.num_heads': [3, 3],
        f'{backbone}.num_group_tokens': [32, 16],
        f'{backbone}.num_output_groups': [32, 16],
        f'{backbone}.assignment.kind': 'soft',
        f'{backbone}.assignment.later_query_weight': 0.01,
    },
    'cosines-beside-pooled-0.5': {
        **segments,
        'model.loss_multi_label': [patches, dict(pooled, loss_weight=0.5)],
    },
    'cosines-beside-pooled-1': {**segments, 'model.loss_multi_label': [patches, pooled]},
    'paper': {
        **segments,
        'model.loss_contrastive.match_equal_captions': False,
        'model.loss_multi_label.match_equal_prompts': False,
    },
}
del backbone, pool, means, grouping, segments, cosines, patches, pooled, neck, cluster
evaluations = {
    'words': {
        **_base_.evaluations.threshold,
        'val_cfg.segmentor.decode_head.affinity': 'contrast',
        'val_cfg.segmentor.decode_head.background_words': [
            *('grass', 'water', 'snow', 'sand', 'street', 'road', 'sky', 'tree', 'wall', 'floor'),
            *('field', 'building', 'beach', 'ocean', 'rock', 'mountain', 'room', 'carpet', 'bed'),
            *('fence', 'dirt'),
        ],
    },
    # averages over five sizes of each photograph, mirrored too
    'views': {
        **_base_.evaluations.threshold,
        'val_cfg.segmentor.test_cfg.tta_scales': (0.6, 0.8, 1.0, 1.3, 1.6),
        'val_cfg.segmentor.test_cfg.tta_flip': True,
        'val_cfg.segmentor.test_cfg.with_group_map': False,
    },
}
metrics = [
    'threshold: foreground/mIoU',
    'threshold: tag_foreground/mIoU',
    'threshold: mIoU',
    'views: foreground/mIoU',
    'views: mIoU',
    'words: mIoU',
    'words: tag_center/mIoU',
    'threshold: probing/jaccard',
    'threshold: oracle/mIoU',
    'threshold: boundary/mIoU',
]
