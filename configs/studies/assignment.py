# Hard and soft assignment on the scenes: the paper's table 1 in miniature, and two of its choices.
#   python tools/dataset_converters/make_scenes.py --out data/scenes
#   python tools/study.py assignment
# Paper (VOC 2012, CC12M, one stage, with the multi-label loss): hard 39.3 mIoU, soft 25.1.
# `hard-then-soft` trains hard and segments soft.
# Time: about 15 runs of 3 to 7 minutes on one thread
# Numbers: docs/results.md
_base_ = '../_base_/studies/scenes.py'
title = 'Assignment'
question = 'Do segments need the hard assignment, its Gumbel noise, and an eps of 1 in their mean?'
variants = {
    'hard': {},
    'soft': {'model.backbone.assignment.kind': 'soft'},
    'hard-then-soft': {
        'weights_of': 'hard',
        'val_cfg.segmentor.backbone.assignment.kind': 'soft',
    },
    'no-noise': {'model.backbone.assignment.gumbel_noise': False},
    'soft-no-noise': {
        'model.backbone.assignment.kind': 'soft',
        'model.backbone.assignment.gumbel_noise': False,
    },
    'eps-1e-10': {'model.backbone.assignment.eps': 1e-10},
}
