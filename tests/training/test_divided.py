"""Optimizers' states that are divided among processes: the bits of whole ones, in a part of the memory."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.optim import OPTIMIZERS
from pellucid.recipe.tables import Distributed
from pellucid.run.weights import read_weights
from pellucid.training.checkpoint import OPTIMIZER
from pellucid.training.distributed import Processes
from pellucid.training.partition import Partition
from tests.forked import forked, group
from tests.training import divided


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parts_of_tensors_are_updated_as_the_whole(name, dtype):
    rng = torch.Generator().manual_seed(0)
    optimizer = OPTIMIZERS[name]()
    whole = torch.randn(307, 11, generator=rng, dtype=dtype)
    divided, cuts = whole.clone(), [0, 3, 64, 1001, whole.numel()]
    parts = [divided.view(-1)[i:j] for i, j in pairwise(cuts)]
    state, states = optimizer.init([whole]), optimizer.init(parts)
    for _ in range(3):
        grad = torch.randn(whole.shape, generator=rng, dtype=dtype)
        optimizer.update([whole], [grad], state, 0.1)
        optimizer.update(parts, [grad.view(-1)[i:j] for i, j in pairwise(cuts)], states, 0.1)
    assert torch.equal(whole, divided)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_each_value_of_the_state_is_kept_by_one_process(count):
    rng = torch.Generator().manual_seed(0)
    weights = [
        torch.randn(4, 3, 2, 2, generator=rng).contiguous(memory_format=torch.channels_last),
        torch.randn(1, generator=rng),
        torch.randn(7, 5, generator=rng),
    ]
    grads = [tensor.contiguous() + 1 for tensor in weights]  # in another memory format
    sizes = []
    result = [torch.zeros_like(tensor) for tensor in weights]
    for rank in range(count):
        partition = Partition(weights, Processes(rank, count))
        own = partition.own(weights)
        sizes.append(sum(map(len, own)))
        targets = Partition(result, Processes(rank, count)).own(result)
        for part, grad, target in zip(own, partition.own(grads), targets, strict=True):
            assert torch.equal(grad, part + 1)
            target.add_(part)
    assert sum(sizes) == 48 + 1 + 35
    assert max(sizes) - min(sizes) <= 1
    assert all(torch.equal(one, other) for one, other in zip(result, weights, strict=True))


def as_one(count, function, *arguments):
    """Compare what some processes return, whose states are divided, with what one process does."""
    code, expected = forked(function, *arguments, False)
    assert code == 0
    for one in group(count, function, *arguments, True):
        assert one.code == 0, one.error
        assert one.result == expected


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_divided_states_give_the_same_weights(count):
    as_one(count, divided.weights, 4)


@pytest.mark.slow
def test_processes_keep_equal_parts_of_the_state():
    _, (whole,) = forked(divided.sizes_of_state, True)
    for code, sizes, error in group(2, divided.sizes_of_state, True):
        assert code == 0, error
        assert sum(sizes) == whole
        assert max(sizes) - min(sizes) <= 3  # a value of each of the three tensors of AMSGrad


def state_of(run) -> dict[str, Tensor]:
    """The optimizer's state in a run's checkpoint."""
    tensors, _ = read_weights(run / "weights" / "last.safetensors")
    return {name: tensor for name, tensor in tensors.items() if name.startswith(OPTIMIZER)}


@pytest.mark.slow
def test_checkpoints_do_not_depend_on_the_number_of_processes(tmp_path):
    code, expected = forked(divided.resumed, tmp_path / "one", 6, False)
    assert code == 0
    for epochs, count in [(2, 2), (4, 3)]:
        for one in group(count, divided.resumed, tmp_path / "many", epochs, True):
            assert one.code == 0, one.error
    code, actual = forked(divided.resumed, tmp_path / "many", 6, False)
    assert (code, actual) == (0, expected)
    whole, parts = state_of(tmp_path / "one"), state_of(tmp_path / "many")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.slow
def test_an_optimizer_is_divided_only_if_it_says_that_it_can():
    _, (by_norm, signs) = forked(divided.of_users, False)
    for code, result, error in group(2, divided.of_users, True):
        assert code == 0, error
        assert result[0] == (
            "fit: shard_optimizer: ByNorm does not say that it updates each value by its own gradient and state; leave "
            "out shard_optimizer, or set elementwise = True in the class if it does"
        )
        assert result[1] == signs != by_norm


def test_a_recipe_divides_the_state_as_fit_does():
    assert Distributed().shard_optimizer is False
    with pytest.raises(PellucidError, match="fit: shard_optimizer must be True or False, not 'yes'"):
        divided.everything().fit(divided.digits(0, 20), epochs=1, shard_optimizer="yes")
