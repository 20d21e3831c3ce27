# CC3M + CC12M + YFCC14M, mixed by size: 28,663,147 pairs an epoch. See docs/data_preparation.md.
_base_ = './image_text_224.py'

train_dataloader = dict(
    dataset=dict(
        sources=[
            dict(
                name='gcc3m',
                data_root='data/gcc3m_shards',
                shards='gcc-train-{000000..000436}.tar',
                length=2_891_445,
            ),
            dict(
                name='gcc12m',
                data_root='data/gcc12m_shards',
                shards='gcc-conceptual-12m-{000000..001943}.tar',
                length=11_156_203,
            ),
            dict(
                name='yfcc14m',
                data_root='data/yfcc14m_shards',
                shards='yfcc14m-{000000..001888}.tar',
                length=14_615_499,
            ),
        ]
    )
)
