# The batch size on the scenes. Paper: 2,048 instead of 4,096 costs about 5 mIoU on VOC 2012.
#   python tools/dataset_converters/make_scenes.py --out data/scenes
#   python tools/study.py batch_size
# 8,000 scenes: 125 steps per epoch at 64, 31 at 256, 7 at 1,024. The learning rate is multiplied by
# the square root of the batch size over 64. Variants with `same-steps` take the 750 steps of
# the first, the others see as many pairs as it, in 6 epochs. The warm-up is always one epoch.
# Time: about 9 runs of 3 to 7 minutes, 3 of four times and 3 of 16 times as long, on one thread
# Numbers: docs/results.md, without `same-steps`
_base_ = '../_base_/studies/scenes.py'
title = 'Batch size'
question = 'Does a larger batch help at equal epochs, and at equal steps?'
variants = {
    '64': {},
    '256': {'train_dataloader.batch_size': 256, 'optim_wrapper.optimizer.lr': 2e-3},
    '1024': {'train_dataloader.batch_size': 1024, 'optim_wrapper.optimizer.lr': 4e-3},
    '256-same-steps': {
        'train_dataloader.batch_size': 256,
        'optim_wrapper.optimizer.lr': 2e-3,
        'max_epochs': 24,  # of 31 steps: 744
    },
    '1024-same-steps': {
        'train_dataloader.batch_size': 1024,
        'optim_wrapper.optimizer.lr': 4e-3,
        'max_epochs': 107,  # of 7 steps: 749
    },
}
