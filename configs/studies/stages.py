# One and two grouping stages on the scenes: the paper's table 3 in miniature.
#   python tools/dataset_converters/make_scenes.py --out data/scenes
#   python tools/study.py stages
# Paper: two stages are better than one. The other variants ask what the second stage suffers from
# here: noise that is drawn twice, a hard choice that is made twice, empty segments (64 for 100
# patches leave many empty), or queries that have seen the whole image.
# Time: about 24 runs of 2 to 6 minutes on one thread
# Numbers: docs/results.md
_base_ = '../_base_/studies/scenes.py'
title = 'Stages'
question = 'Are two grouping stages better than one?'
backbone = 'model.backbone'
two_stages = {
    f'{backbone}.depths': [1, 1],
    f'{backbone}.num_heads': [2, 2],
    f'{backbone}.num_group_tokens': [64, 32],
    f'{backbone}.num_output_groups': [64, 32],
}
variants = {
    'one-stage': {},
    # As many blocks as two stages have, so that depth alone explains no difference.
    'one-stage-2-blocks': {f'{backbone}.depths': [2]},
    'two-stages': two_stages,
    'two-stages-no-noise': {**two_stages, f'{backbone}.assignment.gumbel_noise': False},
    'two-stages-soft': {**two_stages, f'{backbone}.assignment.kind': 'soft'},
    'two-stages-16-and-8': {
        **two_stages,
        f'{backbone}.num_group_tokens': [16, 8],
        f'{backbone}.num_output_groups': [16, 8],
    },
}
query = f'{backbone}.assignment.later_query_weight'
variants['two-stages-query-0.01'] = {**two_stages, query: 0.01}
variants['two-stages-soft-query-0.01'] = {**variants['two-stages-soft'], query: 0.01}
del backbone, two_stages, query
