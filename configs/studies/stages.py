# One and two grouping stages on the scenes: the paper's table 3 in miniature.
#   python tools/dataset_converters/make_scenes.py --out data/scenes
#   python tools/study.py stages
# Paper: two stages are better than one.
# Time: about 9 runs of 6 to 9 minutes on one thread
# Numbers: docs/results.md, two seeds
_base_ = '../_base_/studies/scenes.py'
title = 'Stages'
question = 'Are two grouping stages better than one?'
variants = {
    'one-stage': {},
    # As many blocks as two stages have, so that depth alone explains no difference.
    'one-stage-2-blocks': {'model.backbone.depths': [2]},
    'two-stages': {
        'model.backbone.depths': [1, 1],
        'model.backbone.num_heads': [2, 2],
        'model.backbone.num_group_tokens': [64, 32],
        'model.backbone.num_output_groups': [64, 32],
    },
}
