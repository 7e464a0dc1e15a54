"""Batches that leave a single example, for networks that can and that cannot be trained on one."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, TensorDataset

from pellucid import BatchNorm, Conv2d, Dense, Flatten, Model, ReLU, Sequential
from pellucid.base.errors import PellucidError
from pellucid.combine.base import Layer
from pellucid.data import Batch
from pellucid.layers import AdaptiveAvgPool2d, Dropout, LayerNorm
from pellucid.objective import Objective
from pellucid.training import loop as loop_module
from tests.training.small import StopAt, Stopped

RNG = torch.Generator().manual_seed(0)
X = torch.rand(200, 2, 4, 4, generator=RNG)
Y = torch.randint(0, 3, (200,), generator=RNG)


@dataclass(frozen=True)
class Fussy(Layer):
    """A user's layer that raises an error of its own for a single example in training."""

    def init(self, shape: Any, rng: torch.Generator) -> Any:
        return {}, shape

    def forward(self, params: Any, x: Any, mode: Any) -> Any:
        if mode.train and len(x) < 2:
            raise ValueError("needs two")
        return x, None

    def backward(self, params: Any, cache: Any, dy: Any) -> Any:
        return dy, {}


def after_dense() -> Sequential:
    return Sequential(flat=Flatten(), dense=Dense(6), norm=BatchNorm(), relu=ReLU(), scores=Dense(3))


def after_pooling() -> Sequential:
    return Sequential(conv=Conv2d(4, 3), pool=AdaptiveAvgPool2d(1), norm=BatchNorm(), flat=Flatten(), scores=Dense(3))


def with_own_layer() -> Sequential:
    return Sequential(flat=Flatten(), fussy=Fussy(), scores=Dense(3))


def over_pixels() -> Sequential:
    return Sequential(conv=Conv2d(4, 3), norm=BatchNorm(), relu=ReLU(), flat=Flatten(), scores=Dense(3))


def without_statistics() -> Sequential:
    return Sequential(flat=Flatten(), dense=Dense(6), norm=LayerNorm(), drop=Dropout(0.1), scores=Dense(3))


NEED_TWO = [after_dense, after_pooling, with_own_layer]
TAKE_ONE = [over_pixels, without_statistics]


class Sizes:
    """An augmentation that keeps the sizes of the batches that it receives."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, images: Any, rng: torch.Generator) -> Any:
        self.sizes.append(len(images))
        return images


def trained(net: Sequential, n: int, batch_size: int, epochs: int = 1, **options: Any) -> tuple[Model, list[int]]:
    model, sizes = Model(net, input_shape=(2, 4, 4)), Sizes()
    model.fit(X[:n], Y[:n], epochs=epochs, batch_size=batch_size, augment=sizes, verbose=False, **options)
    return model, sizes.sizes


@pytest.mark.parametrize("make", NEED_TWO)
@pytest.mark.parametrize(("n", "batch_size"), [(33, 32), (17, 16), (65, 32), (7, 3), (5, 2), (21, 20)])
def test_a_last_batch_of_one_is_merged_into_the_batch_before(make: Callable[[], Sequential], n: int, batch_size: int):
    full = n // batch_size
    assert sorted(trained(make(), n, batch_size, epochs=2)[1]) == [batch_size] * 2 * (full - 1) + [batch_size + 1] * 2


@pytest.mark.parametrize("make", NEED_TWO)
@pytest.mark.parametrize(
    ("n", "batch_size", "shards"), [(34, 32, 2), (35, 32, 2), (36, 32, 4), (39, 32, 4), (11, 8, 3), (13, 8, 3)]
)
@pytest.mark.parametrize("option", ["shards", "accumulate"])
def test_the_same_holds_for_each_shard(
    make: Callable[[], Sequential], n: int, batch_size: int, shards: int, option: str
):
    sizes = trained(make(), n, batch_size, **{option: shards})[1]
    expected = [len(range(shard, n, shards)) for shard in range(shards)]
    assert sorted(sizes) == sorted(expected)
    assert min(sizes) >= 2


@pytest.mark.parametrize("make", TAKE_ONE)
@pytest.mark.parametrize(("n", "batch_size", "shards"), [(33, 32, 1), (7, 3, 1), (35, 32, 2), (1, 8, 1), (3, 1, 1)])
def test_other_networks_keep_their_batches(make: Callable[[], Sequential], n: int, batch_size: int, shards: int):
    sizes = trained(make(), n, batch_size, shards=shards)[1]
    starts = range(0, n, batch_size)
    totals = [min(batch_size, n - start) for start in starts]
    assert sorted(sizes) == sorted(len(range(shard, total, shards)) for total in totals for shard in range(shards))


@pytest.mark.parametrize("make", [*NEED_TWO, *TAKE_ONE])
@pytest.mark.parametrize(("n", "batch_size", "shards"), [(34, 16, 1), (32, 16, 1), (36, 16, 2), (33, 16, 2)])
def test_larger_last_batches_are_kept(make: Callable[[], Sequential], n: int, batch_size: int, shards: int):
    """33 examples in batches of 16 with two shards leave one out, as for every network."""
    remainder = n % batch_size if n % batch_size >= shards else 0
    assert sum(trained(make(), n, batch_size, shards=shards)[1]) == n // batch_size * batch_size + remainder


def test_merged_batches_train_as_the_same_batches_of_a_stream() -> None:
    model, _ = trained(after_dense(), 33, 16, epochs=2)
    other = Model(after_dense(), input_shape=(2, 4, 4))

    def batches(epoch: int) -> Iterator[Batch]:
        order = torch.cat([y for _, y in order_of(epoch)])
        for rows in (order[:16], order[16:]):
            yield Batch(X[rows], Y[rows])

    other.fit(batches, epochs=2, steps_per_epoch=2, verbose=False)
    assert other.sha256() == model.sha256()


def order_of(epoch: int) -> Iterator[tuple[Any, Any]]:
    from pellucid.data import Arrays, Loader

    return Loader(Arrays(X[:33], torch.arange(33)), 33, seed=0).epoch(epoch)


def test_a_frozen_norm_keeps_the_batches() -> None:
    model, sizes = Model(after_dense(), input_shape=(2, 4, 4)), Sizes()
    model.freeze("norm.*")
    model.fit(X[:33], Y[:33], epochs=1, batch_size=16, augment=sizes, verbose=False)
    assert sorted(sizes.sizes) == [1, 16, 16]


def test_without_exact_bits_merging_is_the_same() -> None:
    sizes = {norm: trained(after_dense(), 33, 16, exact=False, batch_norm=norm)[1] for norm in ("local", "sync")}
    assert sorted(sizes["local"]) == sorted(sizes["sync"]) == [16, 17]


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_training_with_a_merged_batch_is_resumed_exactly(tmp_path: Any, monkeypatch: Any, step: int) -> None:
    monkeypatch.setattr(loop_module, "TICK", 0.0)
    options = {"epochs": 2, "batch_size": 16, "verbose": False, "checkpoint_seconds": 0.0}
    whole = Model(after_dense(), input_shape=(2, 4, 4))
    whole.fit(X[:33], Y[:33], **options)
    interrupted = Model(after_dense(), input_shape=(2, 4, 4))
    with pytest.raises(Stopped):
        interrupted.fit(X[:33], Y[:33], run=tmp_path, callbacks=[StopAt(step)], **options)
    resumed = Model(after_dense(), input_shape=(2, 4, 4))
    resumed.fit(X[:33], Y[:33], run=tmp_path, resume=True, callbacks=[StopAt(-1)], **options)
    assert resumed.sha256() == whole.sha256()


REFUSED: dict[str, tuple[int, int, dict[str, int], str]] = {
    "batches of one": (20, 1, {}, "20 examples in batches of 1, a batch has .* give a batch size of at least 2$"),
    "one example": (1, 8, {}, "1 example in batches of 8, a batch has .* give at least 2 examples$"),
    "a shard for each": (20, 8, {"shards": 8}, "in batches of 8, one of 8 shards has .* batch size of at least 16$"),
    "a smaller shard": (20, 3, {"accumulate": 2}, "in batches of 3, one of 2 shards has .* batch size of at least 4$"),
    "few examples": (5, 32, {"shards": 4}, "5 examples in batches of 32, one of 4 shards has .* at least 8 examples$"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("make", NEED_TWO)
def test_what_cannot_be_merged_is_refused_before_the_first_step(
    name: str, make: Callable[[], Sequential], tmp_path: Any
) -> None:
    n, batch_size, options, message = REFUSED[name]
    model = Model(make(), input_shape=(2, 4, 4))
    weights = model.sha256()
    run = None if make is with_own_layer else tmp_path  # files cannot contain an unregistered layer
    with pytest.raises(PellucidError, match=message) as caught:
        model.fit(X[:n], Y[:n], epochs=1, batch_size=batch_size, run=run, verbose=False, **options)
    assert "\n" not in str(caught.value)
    assert model.sha256() == weights
    assert not list(tmp_path.glob("weights/*"))
    trained(without_statistics(), n, batch_size, **options)


@pytest.mark.parametrize("batch_size", [8, 16, 32])
def test_the_last_batch_of_a_data_loader_is_looked_at_before_the_first_step(batch_size: int) -> None:
    loader = DataLoader(TensorDataset(X[:33], Y[:33]), batch_size)
    model = Model(after_dense(), input_shape=(2, 4, 4))
    with pytest.raises(PellucidError, match=r"with a batch of 1 from the stream, .* drop_last=True$"):
        model.fit(loader, epochs=1, verbose=False)
    model.fit(DataLoader(TensorDataset(X[:33], Y[:33]), batch_size, drop_last=True), epochs=1, verbose=False)
    model.fit(loader, epochs=1, steps_per_epoch=33 // batch_size, verbose=False)
    Model(over_pixels(), input_shape=(2, 4, 4)).fit(loader, epochs=1, verbose=False)


def test_a_single_example_in_the_middle_of_a_stream_is_named() -> None:
    def batches() -> Iterator[Batch]:
        for rows in (slice(0, 8), slice(8, 9), slice(9, 17)):
            yield Batch(X[rows], Y[rows])

    with pytest.raises(PellucidError, match="each batch, and each shard of it, needs two examples"):
        Model(after_dense(), input_shape=(2, 4, 4)).fit(batches, epochs=1, steps_per_epoch=3, verbose=False)


@dataclass(frozen=True)
class Whitened(Objective):
    """An objective whose loss divides by the standard deviation over the batch, which is NaN for one example."""

    net: Layer
    untrained: ClassVar[tuple[str, ...]] = ()

    def gradients(self, params: Any, batch: Batch, mode: Any) -> Any:
        if len(batch.images) < 2:
            raise ValueError("no standard deviation")
        y, cache = self.net.forward(params["net"], batch.images, mode)
        return {"loss": y.square().mean()}, {"net": self.net.backward(params["net"], cache, 2 * y / y.numel())[1]}

    def predict(self, params: Any, images: Any) -> Any:
        return self.net.forward(params["net"], images, loop_module.Mode())[0]


def test_an_objective_that_needs_two_examples_gets_them() -> None:
    model, sizes = Model(Whitened(Sequential(flat=Flatten(), dense=Dense(2))), metrics=()), Sizes()
    model.fit(X[:17], torch.zeros(17), epochs=1, batch_size=8, augment=sizes, verbose=False)
    assert sorted(sizes.sizes) == [8, 9]
    assert math.isfinite(model.evaluate(X[:16], torch.zeros(16))["loss"])


def test_a_range_test_and_the_doctor_merge_too() -> None:
    model = Model(after_dense(), input_shape=(2, 4, 4))
    assert len(model.find_lr(X[:33], Y[:33], batch_size=16, steps=20).losses) == 20
    assert "batch-norm" not in model.doctor(X[:33], Y[:33], batch_size=16).names


@dataclass(frozen=True)
class Broken(Layer):
    """A user's layer with a mistake, for any number of examples."""

    def init(self, shape: Any, rng: torch.Generator) -> Any:
        return {}, shape

    def forward(self, params: Any, x: Any, mode: Any) -> Any:
        if mode.train:
            raise KeyError("typo")
        return x, None

    def backward(self, params: Any, cache: Any, dy: Any) -> Any:
        return dy, {}


@pytest.mark.parametrize(("n", "batch_size"), [(8, 1), (9, 8), (9, 4)])
def test_a_mistake_is_not_blamed_on_single_examples(n: int, batch_size: int) -> None:
    model = Model(Sequential(flat=Flatten(), broken=Broken(), scores=Dense(3)), input_shape=(2, 4, 4))
    with pytest.raises(Exception, match="typo") as caught:
        model.fit(X[:n], Y[:n], epochs=1, batch_size=batch_size)
    assert "single example" not in str(caught.value)


@pytest.mark.parametrize("batch_size", [4, 8, 16])
def test_the_last_batch_of_a_batch_sampler_is_looked_at_too(batch_size: int) -> None:
    data = TensorDataset(X[: 2 * batch_size + 1], Y[: 2 * batch_size + 1])
    sampler = BatchSampler(SequentialSampler(data), batch_size, drop_last=False)
    with pytest.raises(PellucidError, match="a batch of 1 from the stream, a batch has a single example"):
        Model(after_dense(), input_shape=(2, 4, 4)).fit(DataLoader(data, batch_sampler=sampler), epochs=1)
