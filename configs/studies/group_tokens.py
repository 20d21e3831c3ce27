# The number of group tokens and of segments on the scenes: the paper's table 2 in miniature.
#   python tools/dataset_converters/make_scenes.py --out data/scenes
#   python tools/study.py group_tokens
# The paper's model has 64 group tokens and segments in its first stage and 8 in its second.
# Time: about 18 runs of 3 to 7 minutes on one thread
# Numbers: docs/results.md
_base_ = '../_base_/studies/scenes.py'
title = 'Group tokens'
question = 'How many group tokens and how many segments does an image need?'
tokens, outputs = 'model.backbone.num_group_tokens', 'model.backbone.num_output_groups'
variants = {
    '4-tokens': {tokens: [4], outputs: [4]},
    '8-tokens': {tokens: [8], outputs: [8]},
    '16-tokens': {tokens: [16], outputs: [16]},
    '32-tokens': {},
    '64-tokens': {tokens: [64], outputs: [64]},
    '32-tokens-8-segments': {tokens: [32], outputs: [8]},
}
del tokens, outputs
baseline = '32-tokens'
