# What every run shares. A leaf that sets custom_imports or custom_hooks replaces the whole list.
default_scope = 'mmseg'
custom_imports = dict(imports=['groupvit_mmseg'], allow_failed_imports=False)
runner_type = 'GroupViTRunner'

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),  # gloo where there is no GPU
)
sync_bn = 'torch'  # only where processes have GPUs
randomness = dict(seed=0)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    step_seed=dict(type='StepSeedHook'),
    summary=dict(type='RunSummaryHook'),
    throughput=dict(type='ThroughputHook'),
    image_text=dict(type='ImageTextDataHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    checkpoint=dict(
        type='AtomicCheckpointHook', interval=1, max_keep_ckpts=2, save_best='mIoU', rule='greater'
    ),
    visualization=dict(type='SegVisualizationHook'),  # draws with test.py --show-dir
)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='SegLocalVisualizer', vis_backends=vis_backends, name='visualizer')
tta_model = dict(type='SegTTAModel')  # test.py --tta; its pipeline is the data set's
log_processor = dict(by_epoch=True, window_size=20)
log_level = 'INFO'
load_from = None
resume = False
