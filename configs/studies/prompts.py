# The number of prompts per caption on the scenes: the multi-label loss of the paper's table 1.
#   python tools/dataset_converters/make_scenes.py --out data/scenes
#   python tools/study.py prompts
# Paper (VOC 2012, CC12M, one stage, hard): 36.7 mIoU without prompts, 39.3 with three.
# A caption of the scenes has two to four words that prompts are made of.
# Time: about 12 runs of 3 to 7 minutes on one thread
# Numbers: docs/experiments.md has three and four prompts, the others are not yet measured.
_base_ = '../_base_/studies/scenes.py'
title = 'Prompts'
question = 'How many prompts should be made of the words of a caption?'
variants = {
    '0-prompts': {
        'model.loss_multi_label': None,
        'train_dataloader.dataset.pipeline.2.num_prompts': 0,
    },
    '1-prompt': {'train_dataloader.dataset.pipeline.2.num_prompts': 1},
    '3-prompts': {'train_dataloader.dataset.pipeline.2.num_prompts': 3},
    '4-prompts': {},
}
baseline = '4-prompts'
