# The objective on the scenes: the paper's (pooled, equal prompts are negatives) and ours.
#   python tools/dataset_converters/make_scenes.py --out data/scenes
#   python tools/study.py objectives
# `pooled-paper` is the paper's objective. `patches-weight-W` has weight W on the loss of prompts
# beside the paper's loss of captions, `contrastive-W` weight W on the latter, and `beside-pooled-W`
# adds the paper's loss of prompts with weight W.
# Time: 33 runs of 2 to 7 minutes on one thread
# Numbers: docs/results.md has all but `patches-weight-0`
_base_ = '../_base_/studies/scenes.py'
title = 'Objectives'
question = 'Which embeddings of an image should prompts be compared with, and with which weight?'
level, equal = 'model.loss_multi_label.level', 'model.loss_multi_label.match_equal_prompts'
weight = 'model.loss_multi_label.loss_weight'
patches = dict(type='MultiLabelContrastiveLoss', level='patches', match_equal_prompts=True)
pooled = dict(type='MultiLabelContrastiveLoss')
variants = {
    'patches': {},
    'pooled-paper': {level: 'pooled', equal: False},
    'pooled': {level: 'pooled'},
    'segments': {level: 'segments'},
    'patches-unequal': {equal: False},
    'patches-weight-0': {weight: 0.0},
    'patches-weight-0.5': {weight: 0.5},
    'contrastive-0': {'model.loss_contrastive.loss_weight': 0.0},
    'contrastive-0.5': {'model.loss_contrastive.loss_weight': 0.5},
    'beside-pooled-0.5': {'model.loss_multi_label': [patches, dict(pooled, loss_weight=0.5)]},
    'beside-pooled-1': {'model.loss_multi_label': [patches, pooled]},
}
del patches, pooled, level, equal, weight
baseline = 'patches'
