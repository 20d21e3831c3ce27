"""Cross-entropy in chunks against the plain one: values, gradients, and what it keeps."""

import pytest
import torch
import torch.nn.functional as F

from groupvit_mmseg.models.chunked_cross_entropy import chunked_cross_entropy, uniform_targets

ROWS, COLUMNS, WIDTH = 11, 7, 5


def draw(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    rows, columns = (torch.randn(n, WIDTH, generator=generator) for n in (ROWS, COLUMNS))
    indices = torch.randint(COLUMNS, (ROWS,), generator=generator)
    probabilities = torch.rand(ROWS, COLUMNS, generator=generator).softmax(dim=1).to(dtype)
    inputs = [tensor.to(dtype).requires_grad_() for tensor in (rows, columns)]
    return *inputs, dict(indices=indices, probabilities=probabilities)


@pytest.mark.parametrize('kind', ['indices', 'probabilities'])
@pytest.mark.parametrize('chunk_size', [1, 4, 5, 10, 11, 1024])  # of 11 rows most leave a rest
def test_chunks_have_the_value_and_gradients_of_the_plain_form(chunk_size, kind):
    rows, columns, targets = draw()
    value = chunked_cross_entropy(
        lambda rows, targets: (rows @ columns.T, targets),
        rows,
        targets[kind],
        chunk_size=chunk_size,
    )
    plain = F.cross_entropy(rows @ columns.T, targets[kind])
    torch.testing.assert_close(value, plain, rtol=1e-14, atol=1e-14)
    gradients = zip(
        torch.autograd.grad(value, (rows, columns)),
        torch.autograd.grad(plain, (rows, columns)),
        strict=True,
    )
    for ours, theirs in gradients:
        torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=1e-14)
        assert chunk_size < ROWS or torch.equal(ours, theirs)
    assert chunk_size < ROWS or torch.equal(value, plain)


def test_logits_of_one_chunk_exist_at_a_time():
    rows, columns, targets = draw()
    sizes, shapes = [], []

    def logits_and_targets(rows, targets):
        shapes.append(len(rows))
        return rows @ columns.T, targets

    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: sizes.append(tensor.numel()) or tensor, lambda tensor: tensor
    ):
        value = chunked_cross_entropy(
            logits_and_targets, rows, targets['probabilities'], chunk_size=4
        )
    assert shapes == [4, 4, 3]
    assert max(sizes, default=0) <= 4 * COLUMNS
    value.backward()
    assert sorted(shapes[3:]) == [3, 4, 4]  # computed again


def test_rows_that_fit_in_one_chunk_are_computed_once():
    rows, columns, targets = draw()
    calls = []

    def logits_and_targets(rows, targets):
        calls.append(len(rows))
        return rows @ columns.T, targets

    chunked_cross_entropy(logits_and_targets, rows, targets['indices'], chunk_size=ROWS).backward()
    assert calls == [ROWS]


def test_rows_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match='shorter'):
        chunked_cross_entropy(
            lambda rows, targets: (rows, targets),
            torch.zeros(8, COLUMNS),
            torch.zeros(4, dtype=torch.long),
            chunk_size=2,
        )


def test_a_chunk_without_rows_is_refused():
    with pytest.raises(ValueError, match='chunk_size is 0: a chunk needs at least one row'):
        chunked_cross_entropy(lambda rows: (rows, rows), torch.zeros(2, 3), chunk_size=0)


def test_uniform_targets():
    positives = torch.tensor([[True, False, True], [False, True, False], [True, True, True]])
    for dtype in (torch.float32, torch.float64):
        expected = torch.tensor([[0.5, 0, 0.5], [0, 1, 0], [1 / 3] * 3], dtype=dtype)
        assert torch.equal(uniform_targets(positives, dtype), expected)
