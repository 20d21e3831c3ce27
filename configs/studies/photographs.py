# Photographs: grouping against the same towers without it, and against the paper's objective.
#   python tools/study.py photographs
# Data: configs/_base_/datasets/photographs_48.py says which; VOC 2012 to evaluate on, of which
# every tenth photograph chooses the background threshold and is not tested.
# `ungrouped` names each patch alone; `k-means` and `spectral` cluster its tokens, `colours` the
# mean colours and positions of its patches. `paper` is the paper's objective; `beside-pooled-W`
# adds the paper's loss of prompts with weight W to ours.
# Time: 15 runs of 10 to 16 minutes on one thread, and 9 evaluations
# Numbers: docs/results.md, those of the first four variants with seed 0
config = '../groupvit/groupvit_conv-tiny-p8_1xb64-coslr-4e_photographs-48px.py'
title = 'Photographs'
question = 'Is where things are learnt from words, and is grouping needed for it?'
prompts = 'model.loss_multi_label'
patches = dict(type='MultiLabelContrastiveLoss', level='patches', match_equal_prompts=True)
pooled = dict(type='MultiLabelContrastiveLoss', match_equal_prompts=True)
neck = 'val_cfg.segmentor.neck'
cluster = dict(type='PatchClustering', num_clusters=16)
variants = {
    'groupvit': {},
    'ungrouped': {
        'model.backbone.num_group_tokens': [0],
        'model.backbone.num_output_groups': [],
        # without GroupUsageHook, which has no groups to measure
        'custom_hooks': [dict(type='EMAHook', momentum=0.002, update_buffers=True)],
    },
    'k-means': {'weights_of': 'ungrouped', neck: dict(cluster, method='kmeans')},
    'spectral': {'weights_of': 'ungrouped', neck: dict(cluster, method='spectral')},
    'colours': {
        'weights_of': 'ungrouped',
        neck: dict(cluster, method='kmeans', features='colours'),
    },
    'paper': {
        'model.loss_contrastive.match_equal_captions': False,
        f'{prompts}.level': 'pooled',
        f'{prompts}.match_equal_prompts': False,
    },
    'beside-pooled-0.5': {prompts: [patches, dict(pooled, loss_weight=0.5)]},
    'beside-pooled-1': {prompts: [patches, pooled]},
}
del prompts, patches, pooled, neck, cluster
every_tenth = list(range(0, 446, 10))
others = [index for index in range(446) if index % 10]
indices = 'val_dataloader.dataset.indices'
evaluations = {
    'threshold': {indices: others, 'calibrate': {indices: every_tenth}},
    'words': {
        indices: others,
        'calibrate': {indices: every_tenth},
        'val_cfg.segmentor.decode_head.affinity': 'contrast',
        'val_cfg.segmentor.decode_head.background_words': [
            *('grass', 'water', 'snow', 'sand', 'street', 'road', 'sky', 'tree', 'wall', 'floor'),
            *('field', 'building', 'beach', 'ocean', 'rock', 'mountain', 'room', 'carpet', 'bed'),
            *('fence', 'dirt'),
        ],
    },
}
del every_tenth, others, indices
metrics = [
    'threshold: foreground/mIoU',
    'threshold: tag_foreground/mIoU',
    'threshold: mIoU',
    'words: mIoU',
    'words: tag_center/mIoU',
    'threshold: probing/jaccard',
    'threshold: oracle/mIoU',
    'threshold: boundary/mIoU',
]
