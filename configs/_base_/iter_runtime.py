# The runtime of schedules that count steps: masks in an endless order.
_base_ = ['default_runtime.py']
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=4000),
)
log_processor = dict(by_epoch=False)
