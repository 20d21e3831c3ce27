# CC3M + CC12M, the sources that both pretraining sets begin with.
_base_ = './image_text_224.py'

gcc_sources = [
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
]
