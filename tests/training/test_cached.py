"""Frozen features that are computed once give what computing them in every step gives."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pellucid.combine import Sequential
from pellucid.data import Batch
from pellucid.errors import PellucidError
from pellucid.layers import AdaptiveAvgPool2d, BatchNorm, Conv2d, Dense, Dropout, Flatten, ReLU
from pellucid.metrics import Metric
from pellucid.model import Model
from pellucid.nested import flatten
from pellucid.optim import Adam
from pellucid.training.cached import split
from tests.training.small import StopAt, Stopped, digits


def network(dropout: float = 0.0) -> Sequential:
    drop = {"dropout": Dropout(dropout)} if dropout else {}
    return Sequential(
        features=Sequential(
            conv=Conv2d(6, 3, padding=1, bias=False), norm=BatchNorm(), relu=ReLU(), conv2=Conv2d(8, 3), relu2=ReLU()
        ),
        head=Sequential(pool=AdaptiveAvgPool2d(2), flatten=Flatten(), **drop, scores=Dense(10)),
    )


def model(dropout: float = 0.0, *frozen: str) -> Model:
    made = Model(network(dropout), optimizer=Adam(0.02), input_shape=(1, 8, 8), classes=10, seed=3)
    made.freeze(*(frozen or ("features.*",)))
    return made


def unchanged(x: Tensor, rng: torch.Generator) -> Tensor:
    """An augmentation that changes nothing, with which nothing is cached."""
    return x


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_cached_features_give_equal_weights(dropout: float) -> None:
    cached, plain = model(dropout), model(dropout)
    data, held = digits(0, 200), digits(200, 300)
    one = cached.fit(data, epochs=3, batch_size=32, validation=held, verbose=False)
    two = plain.fit(data, epochs=3, batch_size=32, validation=held, augment=unchanged, verbose=False)
    for path, tensor in plain.weights.items():
        torch.testing.assert_close(cached.weights[path], tensor, rtol=1e-4, atol=1e-5, msg=path)
    for name in ("train_loss", "val_loss"):
        assert one[name] == pytest.approx(two[name], rel=1e-4)
    assert one["val_accuracy"] == two["val_accuracy"]
    assert one.layers
    assert {row["path"] for row in one.layers} == {row["path"] for row in two.layers}


def test_a_metric_that_reads_images_gets_images() -> None:
    seen: set[tuple[int, ...]] = set()

    class Sides(Metric):
        def update(self, outputs: Tensor, targets: Tensor) -> None:
            raise AssertionError("update_batch is called in its place")

        def update_batch(self, outputs: Tensor, batch: Batch) -> None:
            seen.add(tuple(batch.images.shape[1:]))

        def compute(self) -> dict[str, float]:
            return {"sides": float(len(seen))}

    made = Model(network(), metrics=[Sides()], input_shape=(1, 8, 8), classes=10)
    made.freeze("features.*")
    made.fit(digits(0, 40), epochs=1, validation=digits(40, 60), verbose=False)
    assert seen == {(1, 8, 8)}


def test_dropout_in_a_frozen_part_is_off_as_without_the_cache() -> None:
    def made() -> Model:
        features = Sequential(conv=Conv2d(4, 3), relu=ReLU(), flatten=Flatten(), drop=Dropout(0.5))
        model = Model(
            Sequential(features=features, head=Sequential(scores=Dense(10))), input_shape=(1, 8, 8), classes=10, seed=1
        )
        model.freeze("features.*")
        return model

    cached, plain, data = made(), made(), digits(0, 120)
    cached.fit(data, epochs=2, batch_size=30, verbose=False)
    plain.fit(data, epochs=2, batch_size=30, augment=unchanged, verbose=False)
    for path, tensor in plain.weights.items():
        torch.testing.assert_close(cached.weights[path], tensor, rtol=1e-4, atol=1e-5, msg=path)


def test_the_whole_model_is_saved_and_a_stopped_training_goes_on_exactly(tmp_path: Path) -> None:
    data, held = digits(0, 200), digits(200, 300)
    straight = model(0.3)
    straight.fit(data, epochs=4, batch_size=32, validation=held, run=tmp_path / "straight", verbose=False)
    with pytest.raises(Stopped):
        model(0.3).fit(
            data, epochs=4, batch_size=32, validation=held, run=tmp_path / "run", verbose=False, callbacks=[StopAt(9)]
        )
    resumed = model(0.3)
    resumed.fit(data, epochs=4, batch_size=32, validation=held, run=tmp_path / "run", verbose=False, resume=True)
    assert resumed.sha256() == straight.sha256()
    for run in ("straight", "run"):
        best = Model.load(tmp_path / run / "weights" / "best.safetensors")
        assert best.weights.keys() == straight.weights.keys()
        assert best.evaluate(held)["n"] == 100


@pytest.mark.parametrize(
    ("frozen", "front"),
    [
        (("features.*",), {"features.conv", "features.norm", "features.relu", "features.conv2", "features.relu2",
                           "head.pool", "head.flatten"}),
        (("features.conv.*", "features.norm.*"), {"features.conv", "features.norm", "features.relu"}),
        (("features.conv.*",), {"features.conv"}),  # the running statistics behind it move
        (("features.conv2.*",), set()),
        (("head.*",), set()),
    ],
)  # fmt: skip
def test_features_are_cached_up_to_the_first_trained_layer(frozen: tuple[str, ...], front: set[str]) -> None:
    result = model(0.0, *frozen)
    cut = split(result.net, result.params, result.frozen)
    if not front:
        assert cut is None
        return
    assert cut is not None
    expected = {path for path in result.weights if path.rpartition(".")[0] in front}
    assert flatten(cut.front_params).keys() == expected
    assert flatten(cut.back_params).keys() == result.weights.keys() - expected


def test_dropout_is_drawn_in_every_step() -> None:
    made = Model(
        Sequential(dropout=Dropout(0.5), conv=Conv2d(2, 3), flatten=Flatten(), dense=Dense(10)),
        input_shape=(1, 8, 8),
        classes=10,
    )
    made.freeze("conv.*")
    assert split(made.net, made.params, made.frozen) is None


def test_a_network_without_trained_layers_is_refused() -> None:
    with pytest.raises(PellucidError, match="every parameter is frozen"):
        model(0.0, "*").fit(digits(), epochs=1, batch_size=10, verbose=False)
