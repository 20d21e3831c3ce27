# 1,000 pairs of one's own: from scratch, or from weights that learned from other photographs?
#   python tools/study.py own_pairs
# Data: those of configs/_base_/datasets/photographs_48.py. `given` are weights that learned from
# 36,500 pairs of Flickr8k and Tiny ImageNet; own are 1,028 photographs of VOC, captions made of
# labels, which are weak labels of images. The others see only these, most of them 20 times, from
# the weights of `given` or from scratch. Warm-up and the average of the weights last an eighth and
# a sixth of a training.
# Time: for each seed a run of 13 minutes on one thread, one of 6 and ten of 2, 3 to evaluate each
# Numbers: docs/experiments.md, one seed
_base_ = '../_base_/studies/photographs.py'
title = "1,000 pairs of one's own"
question = 'How do 1,000 pairs serve best?'
data, rate = 'train_dataloader.dataset', 'optim_wrapper.optimizer.lr'
average, warm_up = 'custom_hooks.0.momentum', 'param_scheduler.0.end'
hooks = [  # for 320 steps
    dict(type='EMAHook', momentum=0.02, update_buffers=True),
    dict(type='GroupUsageHook', interval=50),
]
own = {
    f'{data}.sources': [
        dict(name='own', data_root='data/voc_words_128', shards='voc-train-{000..002}.tar')
    ],
    'custom_hooks': hooks,
    warm_up: 40,
    'max_epochs': 20,
}
adapted = {**own, 'starts_from': 'given'}
freeze = dict(type='FreezeHook')
variants = {
    'given': {
        f'{data}.sources': [
            dict(
                name='flickr8k',
                data_root='data/flickr8k_128',
                shards='flickr8k-train-{000000..000014}.tar',
                weight=0.2,
            ),
            dict(
                name='tiny_imagenet',
                data_root='data/tiny_imagenet_64',
                shards='tiny-train-{000..028}.tar',
                weight=0.8,
            ),
        ],
    },
    'all-free': adapted,
    'text-frozen': {**adapted, 'custom_hooks': [*hooks, dict(freeze, patterns=['text_encoder'])]},
    'image-frozen': {**adapted, 'custom_hooks': [*hooks, dict(freeze, patterns=['backbone'])]},
    'projectors-alone': {
        **adapted,
        'custom_hooks': [*hooks, dict(freeze, patterns=['backbone', 'text_encoder'])],
    },
    'sixth-of-the-rate': {**adapted, rate: 1e-4},
    '5-epochs': {**adapted, 'max_epochs': 5, average: 0.08, warm_up: 10},
    'batch-16': {**adapted, 'train_dataloader.batch_size': 16, average: 0.005, warm_up: 160},
    'batch-256': {**adapted, 'train_dataloader.batch_size': 256, average: 0.08, warm_up: 10},
    'whole-photographs': {**adapted, f'{data}.pipeline.0.crop_ratio_range': (1.0, 1.0)},
    'scratch': own,
    'scratch-80-epochs': {**own, 'max_epochs': 80, average: 0.005, warm_up: 160},
}
del data, rate, average, warm_up, hooks, own, adapted, freeze
metrics = [
    'threshold: foreground/mIoU',
    'threshold: tag_foreground/mIoU',
    'threshold: mIoU',
    'threshold: probing/jaccard',
    'threshold: oracle/mIoU',
]
