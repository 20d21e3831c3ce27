"""These tests run on a CUDA device (`make test-gpu`), and in the default run on the CPU.

On the CPU they check themselves, so that no minute on a rented card is lost to a mistake in a test.
"""

import os

import pytest
import torch
import torch.distributed as dist
from mmengine.logging import MMLogger


@pytest.fixture(autouse=True)
def _own_log(request):
    """Models write about their initial weights into the newest log, which may be closed."""
    MMLogger.get_instance(request.node.nodeid)


@pytest.fixture(params=['cpu', pytest.param('cuda', marks=pytest.mark.gpu)])
def device(request):
    """The kind of device."""
    if request.param == 'cuda' and not torch.cuda.is_available():
        pytest.skip('there is no CUDA device')
    return request.param


@pytest.fixture
def one_rank(device, tmp_path):
    """A process group of one rank, of the kind that the device's ranks use."""
    backend = 'nccl' if device == 'cuda' else 'gloo'
    place = dict(rank=0, world_size=1)
    dist.init_process_group(backend, init_method=f'file://{tmp_path}/store', **place)
    os.environ['LOCAL_RANK'] = '0'
    yield backend
    os.environ.pop('LOCAL_RANK')
    dist.destroy_process_group()
