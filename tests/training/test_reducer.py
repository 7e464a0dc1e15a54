"""The exchange of gradients during the backward pass, with a simulated second process that computes the same."""

from dataclasses import dataclass, field

import pytest
import torch
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.data import Batch
from pellucid.layers import Dense
from pellucid.model import Model
from pellucid.optim import SGD
from pellucid.recipe.tables import Distributed
from pellucid.training.distributed import Processes
from pellucid.training.process import StopSignals
from pellucid.training.reducer import BUCKET_MB, MEGABYTE, Reducer
from pellucid.training.shards import ShardedStep
from pellucid.training.step import NotFiniteError, TrainingStep


@dataclass(frozen=True)
class Twin(Processes):
    """One of two processes with equal values; `events` records the number of values of each exchange."""

    count: int = 2
    events: list = field(default_factory=list)

    def begin_all_reduce(self, values):
        self.events.append(values.numel())
        return lambda: values.mul_(2.0)

    def begin_gather(self, row):
        return lambda: torch.stack([row, row])


@dataclass(frozen=True)
class LoggedDense(Dense):
    """A Dense layer that records its backward pass in `log`."""

    log: list = field(default_factory=list, compare=False)

    def backward(self, params, cache, dy):
        self.log.append(f"backward {self.units}")
        return super().backward(params, cache, dy)


LR = 0.5
BUCKET_BYTES = 90.0  # less than the 96 bytes of the last layer's gradients, which thus fill a bucket


def make_sharded_step(twin, size=BUCKET_BYTES):
    layers = {f"layer{n}": LoggedDense(n, log=twin.events) for n in (6, 5, 4)}
    model = Model(Sequential(**layers), optimizer=SGD(LR), input_shape=(3,), seed=0)
    return model, ShardedStep(model, TrainingStep.of(model, 16), twin, 2, StopSignals(), bucket_mb=size / MEGABYTE)


def batch():
    rng = torch.Generator().manual_seed(0)
    return Batch(torch.rand(8, 3, generator=rng), torch.randint(0, 4, (8,), generator=rng))


def train_by_autograd(weights, steps):
    """Train the same network by PyTorch; two equal halves of a batch have the mean gradients of one half."""
    params = {path: tensor.clone().requires_grad_() for path, tensor in weights.items()}
    optimizer = torch.optim.SGD(params.values(), lr=LR)
    for _ in range(steps):
        y = batch().images
        for n in (6, 5, 4):
            y = F.linear(y, params[f"layer{n}.weight"], params[f"layer{n}.bias"])
        optimizer.zero_grad()
        F.cross_entropy(y, batch().targets).backward()
        optimizer.step()
    return params


def test_full_buckets_are_exchanged_during_the_backward_pass_from_the_second_step():
    twin = Twin()
    model, step = make_sharded_step(twin)
    expected = train_by_autograd(model.weights, 3)
    logs = []
    for number in range(3):
        twin.events.clear()
        step([batch()], LR, number)
        logs.append([*twin.events])
    assert logs[0] == ["backward 4", "backward 5", "backward 6", 24, 30, 24, 6]  # 24: 23 gradients and one more
    assert logs[1] == logs[2] == ["backward 4", 24, "backward 5", 30, "backward 6", 24, 6]
    for path, tensor in model.weights.items():
        torch.testing.assert_close(tensor, expected[path].detach(), rtol=1e-5, atol=1e-6)


def test_one_bucket_is_exchanged_after_the_backward_pass():
    twin = Twin()
    _, step = make_sharded_step(twin, 1000.0)
    for number in range(2):
        step([batch()], LR, number)
    assert twin.events == ["backward 4", "backward 5", "backward 6", 84] * 2


def test_a_process_whose_loss_is_nan_takes_part_in_the_exchange():
    twin = Twin()
    model, step = make_sharded_step(twin)
    step([batch()], LR, 0)
    before = {path: tensor.clone() for path, tensor in model.weights.items()}
    twin.events.clear()
    images, targets = batch()
    with pytest.raises(NotFiniteError):
        step([Batch(images * float("nan"), targets)], LR, 1)
    assert twin.events == [24, 30, 24, 6]
    assert all(torch.equal(tensor, before[path]) for path, tensor in model.weights.items())


def test_a_gradient_added_in_place_by_two_calls_is_exchanged_as_their_sum():
    reducer = Reducer(Twin(), 2, [])
    for number in range(2):
        reducer.begin_turn()
        reducer.begin_shard(0, 3.0)
        first, second, other = (torch.full((2,), value + number) for value in (1.0, 10.0, 100.0))
        reducer.watch("twice", Dense(1), None, None, {"weight": first})
        reducer.watch("once", Dense(1), None, None, {"weight": other})
        reducer.watch("twice", Dense(1), None, None, {"weight": second})
        first += second
        reducer.end_shard({"twice": {"weight": first}, "once": {"weight": other}})
        result = reducer.finish_turn(6.0)  # two processes with the weight 3 each
        assert result["twice.weight"].tolist() == [11.0 + 2 * number] * 2
        assert result["once.weight"].tolist() == [100.0 + number] * 2


def test_gradients_that_differ_from_those_of_the_first_step_are_refused():
    reducer = Reducer(Twin(), 2, [])
    layer, gradient = Dense(1), torch.zeros(2)
    for handed_indices, returned_indices in [((0,), (0,)), ((0, 1), (1,))]:
        tensors = [gradient.clone(), gradient.clone()]
        reducer.begin_turn()
        reducer.begin_shard(0, 1.0)
        for k in handed_indices:
            reducer.watch("", layer, None, None, {"weight": tensors[k]})
        if handed_indices == returned_indices:
            reducer.end_shard({"weight": tensors[returned_indices[0]]})
            reducer.finish_turn(1.0)
    with pytest.raises(PellucidError, match="gradients of other parameters for another shard"):
        reducer.end_shard({"weight": tensors[1]})


@pytest.mark.parametrize("size", [0, -1.0, True, float("inf"), "4"])
def test_an_invalid_bucket_size_is_refused(size):
    with pytest.raises(PellucidError, match="fit: bucket_mb must be a number above 0"):
        make_sharded_step(Twin())[0].fit(batch().images, batch().targets, epochs=1, bucket_mb=size)


def test_bucket_mb_of_a_recipe_has_the_default_of_fit_and_must_be_above_0():
    assert Distributed().bucket_mb == BUCKET_MB
    with pytest.raises(PellucidError, match=r"distributed\.bucket_mb must be above 0, at most 1,000,000, not 0"):
        Distributed(bucket_mb=0)
