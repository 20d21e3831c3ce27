# CC3M + CC12M + YFCC14M, mixed by size: 28,663,147 pairs an epoch. See docs/data_preparation.md.
_base_ = './gcc.py'

yfcc14m = dict(
    name='yfcc14m',
    data_root='data/yfcc14m_shards',
    shards='yfcc14m-{000000..001888}.tar',
    length=14_615_499,
)
train_dataloader = dict(dataset=dict(sources=[*_base_.gcc_sources, yfcc14m]))
