"""Optimizer states divided among processes: the same weights as with whole states, with less memory per process."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.optim import OPTIMIZERS
from pellucid.recipe.tables import Distributed
from pellucid.run.weights import read_weights
from pellucid.training.checkpoint import OPTIMIZER_PREFIX
from pellucid.training.distributed import Processes
from pellucid.training.partition import Partition
from tests.forked import run_forked, run_group
from tests.training import divided


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parts_of_a_tensor_are_updated_as_the_whole_tensor(name, dtype):
    rng = torch.Generator().manual_seed(0)
    optimizer = OPTIMIZERS[name]()
    full_tensor = torch.randn(307, 11, generator=rng, dtype=dtype)
    split_tensor, bounds = full_tensor.clone(), [0, 3, 64, 1001, full_tensor.numel()]
    parts = [split_tensor.view(-1)[i:j] for i, j in pairwise(bounds)]
    state, states = optimizer.init([full_tensor]), optimizer.init(parts)
    for _ in range(3):
        grad = torch.randn(full_tensor.shape, generator=rng, dtype=dtype)
        optimizer.update([full_tensor], [grad], state, 0.1)
        optimizer.update(parts, [grad.view(-1)[i:j] for i, j in pairwise(bounds)], states, 0.1)
    assert torch.equal(full_tensor, split_tensor)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_each_value_of_the_state_is_kept_by_one_process(count):
    rng = torch.Generator().manual_seed(0)
    weights = [
        torch.randn(4, 3, 2, 2, generator=rng).contiguous(memory_format=torch.channels_last),
        torch.randn(1, generator=rng),
        torch.randn(7, 5, generator=rng),
    ]
    grads = [tensor.contiguous() + 1 for tensor in weights]  # gradients in another memory format than the weights
    sizes = []
    result = [torch.zeros_like(tensor) for tensor in weights]
    for rank in range(count):
        partition = Partition(weights, Processes(rank, count))
        own_parts = partition.own_parts(weights)
        sizes.append(sum(map(len, own_parts)))
        targets = Partition(result, Processes(rank, count)).own_parts(result)
        for part, grad, target in zip(own_parts, partition.own_parts(grads), targets, strict=True):
            assert torch.equal(grad, part + 1)
            target.add_(part)
    assert sum(sizes) == 48 + 1 + 35
    assert max(sizes) - min(sizes) <= 1
    assert all(torch.equal(actual, expected) for actual, expected in zip(result, weights, strict=True))


def assert_equal_to_one_process(count, function, *arguments):
    """Compare the results of processes with divided states with the result of one process with a whole state."""
    code, expected = run_forked(function, *arguments, False)
    assert code == 0
    for process in run_group(count, function, *arguments, True):
        assert process.code == 0, process.error
        assert process.result == expected


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_divided_states_give_the_same_weights(count):
    assert_equal_to_one_process(count, divided.weights, 4)


@pytest.mark.slow
def test_processes_keep_equal_parts_of_the_state():
    _, (full_size,) = run_forked(divided.state_sizes, True)
    for code, sizes, error in run_group(2, divided.state_sizes, True):
        assert code == 0, error
        assert sum(sizes) == full_size
        assert max(sizes) - min(sizes) <= 3  # one value for each of AMSGrad's three tensors


def state_of(run) -> dict[str, Tensor]:
    """Return the optimizer's state in the last checkpoint of a run."""
    tensors, _ = read_weights(run / "weights" / "last.safetensors")
    return {name: tensor for name, tensor in tensors.items() if name.startswith(OPTIMIZER_PREFIX)}


@pytest.mark.heavy
@pytest.mark.slow
def test_checkpoints_do_not_depend_on_the_number_of_processes(tmp_path):
    code, expected = run_forked(divided.train_resumed, tmp_path / "one", 6, False)
    assert code == 0
    for epochs, count in [(2, 2), (4, 3)]:
        for process in run_group(count, divided.train_resumed, tmp_path / "many", epochs, True):
            assert process.code == 0, process.error
    code, actual = run_forked(divided.train_resumed, tmp_path / "many", 6, False)
    assert (code, actual) == (0, expected)
    full_state, divided_state = state_of(tmp_path / "one"), state_of(tmp_path / "many")
    assert full_state.keys() == divided_state.keys()
    assert all(torch.equal(full_state[name], divided_state[name]) for name in full_state)


@pytest.mark.slow
def test_only_an_elementwise_optimizer_is_divided():
    _, (normalized_adam, sign_optimizer) = run_forked(divided.train_user_optimizers, False)
    for code, result, error in run_group(2, divided.train_user_optimizers, True):
        assert code == 0, error
        assert result[0] == (
            "fit: shard_optimizer: NormalizedAdam does not say that it updates each value by its own gradient and "
            "state; leave out shard_optimizer, or set elementwise = True in the class if it does"
        )
        assert result[1] == sign_optimizer != normalized_adam


def test_shard_optimizer_is_off_by_default_and_must_be_a_bool():
    assert Distributed().shard_optimizer is False
    with pytest.raises(PellucidError, match="fit: shard_optimizer must be True or False, not 'yes'"):
        divided.model_with_all_settings().fit(divided.digits(0, 20), epochs=1, shard_optimizer="yes")
