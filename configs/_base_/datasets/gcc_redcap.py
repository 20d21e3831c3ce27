# CC3M + CC12M + RedCaps12M, mixed by size: 25,914,635 pairs an epoch. See docs/data_preparation.md.
_base_ = './image_text_224.py'

train_pipeline = [
    *_base_.train_pipeline[:-2],
    dict(type='CaptionPrompts', num_prompts=0),
    dict(type='PackImageText', context_length=77),
]
train_dataloader = dict(
    dataset=dict(
        pipeline=train_pipeline,
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
                name='redcap12m',
                data_root='data/redcap12m_shards',
                shards='redcap12m-{000000..001211}.tar',
                length=11_866_987,
            ),
        ],
    )
)
