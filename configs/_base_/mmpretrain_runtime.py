# What runs of MMPretrain's models share: plain names are MMPretrain's, the plugin's say mmseg.
# Checkpoints are read and written as in default_runtime.py.
_base_ = ['default_runtime.py']
default_scope = 'mmpretrain'
runner_type = 'mmseg.GroupViTRunner'
default_hooks = dict(
    step_seed=dict(type='mmseg.StepSeedHook'),
    summary=dict(type='mmseg.RunSummaryHook'),
    throughput=dict(type='mmseg.ThroughputHook'),
    image_text=dict(type='mmseg.ImageTextDataHook'),
    checkpoint=dict(type='mmseg.AtomicCheckpointHook', save_best='accuracy/top1'),
    visualization=dict(_delete_=True, type='VisualizationHook', enable=False),
)
visualizer = dict(type='UniversalVisualizer')
tta_model = dict(type='AverageClsScoreTTA', _delete_=True)
