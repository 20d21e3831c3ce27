# The scenes as things + background: every ground is class 0, as in Pascal VOC. To evaluate on.
_base_ = ['scenes.py']
val_dataloader = dict(
    dataset=dict(
        metainfo=dict(
            classes=['background', *_base_.things],
            palette=[[0, 0, 0], *_base_.palette[: len(_base_.things)]],
        ),
        data_prefix=dict(seg_map_path='SegmentationClass'),
    )
)
