"""Types of the dicts that a training checkpoint consists of."""

from collections.abc import Sequence
from typing import Any, TypedDict

from torch import Tensor

from groupvit_mmseg.checkpoints.architecture_hints import MergedSettings


class CheckpointMeta(TypedDict, total=False):
    """The entry ``meta`` of a checkpoint; mmengine's own runner writes a part of these keys.

    Attributes:
        cfg (str): Text of the config.
        seed (int, optional): Seed of the run.
        epoch (int): Epochs done.
        iter (int): Iterations done.
        taken (Sequence[Sequence[int]]): Fields of the
            :class:`~groupvit_mmseg.datasets.epoch_remainder.GridProgress` of every grid of
            processes that has read a part of the unfinished epoch, in order.
        data_seed (int, optional): Seed of the order of samples; None if the sampler has none.
        validated (int): Epochs done at the last validation, in a run by epochs.
        validated_iter (int): Iterations done at the last validation, in a run by iterations.
        optimizer (str): Class of the optimiser.
        param_schedulers (list[str]): Classes of the schedules.
        dataset_meta (dict): Names and colours of the classes that the weights segment or classify.
        train_metainfo (dict, optional): ``metainfo`` of the training data set.
        experiment_name (str): Name of the run.
        time (str): Time of writing, ``YYYYmmdd_HHMMSS``.
        mmengine_version (str): Version of mmengine.
        torch_version (str): Version of torch.
    """

    cfg: str
    seed: int | None
    epoch: int
    iter: int
    taken: Sequence[Sequence[int]]
    data_seed: int | None
    validated: int
    validated_iter: int
    optimizer: str
    param_schedulers: list[str]
    dataset_meta: dict[str, Any]
    train_metainfo: dict[str, Any] | None
    experiment_name: str
    time: str
    mmengine_version: str
    torch_version: str


class MessageHubState(TypedDict, total=False):
    """State of mmengine's ``MessageHub``.

    Attributes:
        log_scalars (dict): Log histories by name.
        runtime_info (dict): Other values of the run: best score, paths of checkpoints, iteration.
        resumed_keys (dict): Whether an entry of the two is restored on resuming.
    """

    log_scalars: dict[str, Any]
    runtime_info: dict[str, Any]
    resumed_keys: dict[str, bool]


class OptimizerState(TypedDict, total=False):
    """``state_dict`` of an optimiser's wrapper; several optimisers have one by name instead.

    Attributes:
        state (dict): Tensors of each parameter, by its number.
        param_groups (list[dict]): Settings of each group and the numbers of its parameters.
        base_param_settings (dict): Settings that mmengine logs as ``base_lr``.
        scaler (dict): State of the gradient scaler, in mixed precision.
    """

    state: dict[int, dict[str, Any]]
    param_groups: list[dict[str, Any]]
    base_param_settings: dict[str, Any]
    scaler: dict[str, Any]


class Checkpoint(TypedDict, total=False):
    """A checkpoint as it is read or written; a file of weights has ``state_dict`` only.

    Attributes:
        meta (CheckpointMeta): Identification of the run and its progress.
        state_dict (dict[str, Tensor]): Weights and buffers; averaged ones with an ``EMAHook``.
        ema_state_dict (dict[str, Tensor]): State of the ``EMAHook``, the trained weights among it.
        message_hub (MessageHubState): Log histories and values of the run.
        optimizer (OptimizerState): State of the optimiser.
        param_schedulers (list[dict]): State of each schedule.
        settings (MergedSettings): Settings of the model, of weights that had the official or
            Hugging Face's keys in their file.
    """

    meta: CheckpointMeta
    state_dict: dict[str, Tensor]
    ema_state_dict: dict[str, Tensor]
    message_hub: MessageHubState
    optimizer: OptimizerState
    param_schedulers: list[dict[str, Any]]
    settings: MergedSettings
