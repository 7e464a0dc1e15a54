"""Batch norm over parts of a batch, with threads as processes, against PyTorch's on the whole batch."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.fuse import BatchParts, freeze, fuse, sync_norms
from pellucid.fuse.parts import SyncedNorm
from pellucid.layers import BatchNorm, Dense, Mode


class Threads:
    """Threads that replace processes; `gather` returns the rows of all threads when the last has called it."""

    def __init__(self, count):
        self.rows, self.barrier = [None] * count, Barrier(count, timeout=10)

    def batch_parts(self, rank, weight=1.0):
        def gather(row):
            self.rows[rank] = row
            self.barrier.wait()
            rows = torch.stack(self.rows)
            self.barrier.wait()
            return rows

        return BatchParts(gather, weight)


def run_parts(sizes, weights, shape):
    """Return x, dy, params and each part's (y, dx, dparams, params); dy of the whole batch is drawn."""
    rng = torch.Generator().manual_seed(0)
    x = 3 + torch.randn(sum(sizes), *shape, generator=rng, dtype=torch.float64)
    dy = torch.randn(x.shape, generator=rng, dtype=torch.float64)
    params = {
        name: torch.rand(shape[0], generator=rng, dtype=torch.float64)
        for name in ("weight", "bias", "running_mean", "running_var")
    }
    total, threads, layer = sum(weights), Threads(len(sizes)), BatchNorm(momentum=0.3)

    def run_part(rank):
        part_params = {name: value.clone() for name, value in params.items()}
        norm = SyncedNorm(layer, threads.batch_parts(rank, weights[rank]))
        y, cache = norm.forward(part_params, x.split(sizes)[rank], Mode(True))
        # The loss of the batch is the weighted mean of the parts' losses; this is the gradient of the part's loss.
        dx, dparams = norm.backward(part_params, cache, dy.split(sizes)[rank] * total / weights[rank])
        return y, dx * weights[rank] / total, {n: v * weights[rank] / total for n, v in dparams.items()}, part_params

    with ThreadPoolExecutor(len(sizes)) as pool:
        return x, dy, params, [*pool.map(run_part, range(len(sizes)))]


@pytest.mark.parametrize("shape", [(4,), (4, 3, 5)])
@pytest.mark.parametrize(
    ("sizes", "weights"), [([3, 3], [1.0, 1.0]), ([5, 1, 2], [2.0, 7.0, 0.5]), ([4, 0], [4.0, 1.0])]
)
def test_the_parts_have_the_statistics_and_gradients_of_the_whole_batch(sizes, weights, shape):
    x, dy, params, result = run_parts(sizes, weights, shape)
    x.requires_grad_(True)
    weight, bias = (params[name].clone().requires_grad_(True) for name in ("weight", "bias"))
    means, variances = params["running_mean"].clone(), params["running_var"].clone()
    y = F.batch_norm(x, means, variances, weight, bias, True, 0.3, 1e-5)
    dx, dweight, dbias = torch.autograd.grad(y, [x, weight, bias], dy)
    ys, dxs, dparams, params_of_parts = zip(*result, strict=True)
    tolerances = {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(torch.cat(ys), y.detach(), **tolerances)
    torch.testing.assert_close(torch.cat(dxs), dx, **tolerances)
    torch.testing.assert_close(sum(dparam["weight"] for dparam in dparams), dweight, **tolerances)
    torch.testing.assert_close(sum(dparam["bias"] for dparam in dparams), dbias, **tolerances)
    for part_params in params_of_parts:
        torch.testing.assert_close(part_params["running_mean"], means, **tolerances)
        torch.testing.assert_close(part_params["running_var"], variances, **tolerances)


def test_a_batch_with_one_value_per_channel_over_all_parts_is_refused():
    with pytest.raises(PellucidError, match="all parts of the batch together have one value per channel"):
        run_parts([1], [1.0], (4,))


def test_evaluation_uses_the_running_statistics():
    layer = BatchNorm()
    params, _ = layer.init((4,), torch.Generator())
    x = torch.rand(3, 4)
    norm = SyncedNorm(layer, BatchParts(pytest.fail))
    y, cache = norm.forward(params, x, Mode())
    expected, expected_cache = layer.forward(params, x, Mode())
    assert torch.equal(y, expected)
    assert torch.equal(norm.backward(params, cache, y)[0], layer.backward(params, expected_cache, y)[0])


def test_norms_are_replaced_unless_they_are_frozen():
    net = Sequential(first=BatchNorm(), dense=Dense(3), second=BatchNorm())
    params, _ = net.init((2,), torch.Generator().manual_seed(0))
    frozen = freeze(net, params, ["first.weight", "first.bias"])
    replaced = fuse(sync_norms(frozen, BatchParts(pytest.fail))).layers
    assert [isinstance(layer, SyncedNorm) for layer in replaced.values()] == [False, False, True]
