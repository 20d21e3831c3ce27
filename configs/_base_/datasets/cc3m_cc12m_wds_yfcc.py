# The frozen crawls of CC3M and CC12M with YFCC14M, 28,489,992 pairs an epoch. YFCC14M has no frozen
# crawl: its shards are made of the published table (url_tables.py of tools/dataset_converters).
_base_ = './cc3m_cc12m_wds.py'

yfcc14m = dict(
    name='yfcc14m',
    data_root='data/yfcc14m_shards',
    shards='yfcc14m-{000000..001888}.tar',
    length=14_615_499,
)
train_dataloader = dict(dataset=dict(sources=[*_base_.cc_sources, yfcc14m]))
