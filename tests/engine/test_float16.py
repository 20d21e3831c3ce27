"""float16 with its gradient scaler, which torch has on CPUs too."""

from pathlib import Path

import pytest
import torch
from mmseg.registry import OPTIM_WRAPPERS

from groupvit_mmseg.engine import MixedPrecisionOptimWrapper

pytestmark = pytest.mark.skipif(
    not hasattr(torch.amp, 'GradScaler'), reason='float16 on a CPU needs torch 2.3'
)
SCALES = dict(init_scale=2.0**12, growth_interval=3)  # too high at first, and it grows soon


@OPTIM_WRAPPERS.register_module()
class Float16OnCPU(MixedPrecisionOptimWrapper):
    """Mixed precision as on a GPU without bfloat16."""

    def __init__(self, optimizer, **kwargs):
        super().__init__(optimizer, dtype='bfloat16', **kwargs)
        self.dtype = torch.float16
        self.scaler = torch.amp.GradScaler('cpu', **SCALES)


@pytest.fixture
def train(make_runner):
    """A finished run in float16, and its last checkpoint."""

    def run(name, **changes):
        runner = make_runner(name, optim_wrapper=dict(type='Float16OnCPU'), **changes)
        seen = []

        def look(module, inputs, output):
            seen.append(output.dtype)

        runner.model.backbone.stages[0].blocks[0].attn.register_forward_hook(look)
        runner.train()
        assert set(seen) == {torch.float16}
        path = Path(runner.work_dir) / f'epoch_{runner.epoch}.pth'
        return runner, torch.load(path, weights_only=True)

    return run


def test_a_run_finds_its_scale_and_resumes_bit_for_bit(train):
    runner, whole = train('whole')
    _, first = train('parts', train_cfg=dict(max_epochs=1))
    _, rest = train('parts', resume=True)
    scales = [content['optimizer']['scaler'] for content in (first, rest, whole)]
    assert scales[0]['scale'] < SCALES['init_scale']
    assert scales[0] != scales[1] == scales[2]
    skipped = [c['message_hub']['runtime_info']['skipped_steps'] for c in (first, rest, whole)]
    assert 1 <= skipped[0] <= skipped[1] == skipped[2] < 12
    steps = {int(state['step']) for state in whole['optimizer']['state'].values()}
    assert steps == {runner.iter - skipped[2]}  # the optimiser did not see the skipped ones
    weights = rest['state_dict']
    assert not [k for k, v in whole['state_dict'].items() if not torch.equal(weights[k], v)]
    losses = [c['message_hub']['log_scalars']['train/loss']['values'] for c in (rest, whole)]
    assert torch.equal(*losses)


def test_gradients_come_out_unscaled():
    layer = torch.nn.Linear(3, 2)
    wrapper = Float16OnCPU(torch.optim.SGD(layer.parameters(), lr=1.0))
    wrapper.scaler = torch.amp.GradScaler('cpu', init_scale=2.0**10)
    before = layer.weight.detach().clone()
    inputs = torch.tensor([[1.0, 2.0, 4.0]])
    with wrapper.optim_context(layer):
        loss = layer(inputs).float().sum()
    wrapper.update_params(loss)
    assert torch.equal(before - layer.weight, inputs.expand(2, 3))


def test_float16_resumes_in_full_precision(train, make_runner):
    _, half = train('half', train_cfg=dict(max_epochs=1))
    rest = make_runner('half', resume=True, train_cfg=dict(max_epochs=2))
    rest.train()
    content = torch.load(Path(rest.work_dir) / 'epoch_2.pth', weights_only=True)
    assert 'scaler' in half['optimizer']
    assert 'scaler' not in content['optimizer']
    assert rest.iter == 8
