# The number of prompts per caption on the scenes: the multi-label loss of the paper's table 1.
#   python tools/dataset_converters/make_scenes.py --out data/scenes
#   python tools/study.py prompts
# Paper (VOC 2012, CC12M, one stage, hard): 36.7 mIoU without prompts, 39.3 with three.
# A caption of the scenes has two to four words that prompts are made of. If there are fewer words
# than prompts, the caption itself is the prompt that is missing, as in the paper, or with
# `repeated` one of the words again.
# Time: about 18 runs of 2 to 7 minutes on one thread
# Numbers: docs/experiments.md
_base_ = '../_base_/studies/scenes.py'
title = 'Prompts'
question = 'How many prompts should be made of the words of a caption?'
variants = {
    '0-prompts': {
        'model.loss_multi_label': None,
        'train_dataloader.dataset.pipeline.2.num_prompts': 0,
    },
    '1-prompt': {},
    '2-prompts': {'train_dataloader.dataset.pipeline.2.num_prompts': 2},
    '3-prompts': {'train_dataloader.dataset.pipeline.2.num_prompts': 3},
    '4-prompts': {'train_dataloader.dataset.pipeline.2.num_prompts': 4},
    '4-prompts-repeated': {
        'train_dataloader.dataset.pipeline.2.num_prompts': 4,
        'train_dataloader.dataset.pipeline.2.repeat_words': True,
    },
}
baseline = '1-prompt'
