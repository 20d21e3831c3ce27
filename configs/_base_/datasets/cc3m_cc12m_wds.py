# The frozen crawls of CC3M and CC12M, 13,874,493 pairs an epoch: the shards of Hugging Face's data
# sets pixparse/cc3m-wds and pixparse/cc12m-wds as they are. Of the published addresses about two
# thirds still answer, so that each new crawl is another set; these stay.
#   huggingface-cli download --repo-type dataset pixparse/cc3m-wds --local-dir data/cc3m-wds
#   huggingface-cli download --repo-type dataset pixparse/cc12m-wds --local-dir data/cc12m-wds
# Streamed instead: data_root='hf://datasets/pixparse/cc3m-wds' (docs/data_preparation.md).
_base_ = './image_text_224.py'

cc_sources = [
    dict(
        name='cc3m_wds',
        data_root='data/cc3m-wds',
        shards='cc3m-train-{0000..0575}.tar',
        length=2_905_954,
    ),
    dict(
        name='cc12m_wds',
        data_root='data/cc12m-wds',
        shards='cc12m-train-{0000..2175}.tar',
        length=10_968_539,
    ),
]
train_dataloader = dict(dataset=dict(sources=cc_sources))
