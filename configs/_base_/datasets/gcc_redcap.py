# CC3M + CC12M + RedCaps12M, mixed by size: 25,914,635 pairs an epoch. See docs/data_preparation.md.
_base_ = './gcc.py'

train_pipeline = [
    *_base_.train_pipeline[:-2],
    dict(type='CaptionPrompts', num_prompts=0),
    dict(type='PackImageText', context_length=77),
]
redcap12m = dict(
    name='redcap12m',
    data_root='data/redcap12m_shards',
    shards='redcap12m-{000000..001211}.tar',
    length=11_866_987,
)
train_dataloader = dict(
    dataset=dict(pipeline=train_pipeline, sources=[*_base_.gcc_sources, redcap12m])
)
