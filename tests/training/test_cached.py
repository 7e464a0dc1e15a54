"""Cached features of frozen layers: the same results as computing the features in every step."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine import Graph, Sequential
from pellucid.data import Batch
from pellucid.layers import AdaptiveAvgPool2d, BatchNorm, Conv2d, Dense, Dropout, Flatten, ReLU
from pellucid.metrics import Metric
from pellucid.model import Model
from pellucid.nested import flatten
from pellucid.operators import Attention
from pellucid.optim import Adam
from pellucid.training.cached import split_network
from tests.training.small import StopAt, Stopped, digits


def network(dropout: float = 0.0) -> Sequential:
    drop = {"dropout": Dropout(dropout)} if dropout else {}
    return Sequential(
        features=Sequential(
            conv=Conv2d(6, 3, padding=1, bias=False), norm=BatchNorm(), relu=ReLU(), conv2=Conv2d(8, 3), relu2=ReLU()
        ),
        head=Sequential(pool=AdaptiveAvgPool2d(2), flatten=Flatten(), **drop, scores=Dense(10)),
    )


def frozen_model(dropout: float = 0.0, *frozen: str) -> Model:
    model = Model(network(dropout), optimizer=Adam(0.02), input_shape=(1, 8, 8), classes=10, seed=3)
    model.freeze(*(frozen or ("features.*",)))
    return model


def no_augmentation(x: Tensor, rng: torch.Generator) -> Tensor:
    """Return the input unchanged; with any augmentation, no features are cached."""
    return x


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_cached_features_give_equal_weights(dropout: float) -> None:
    cached, plain = frozen_model(dropout), frozen_model(dropout)
    data, validation = digits(0, 200), digits(200, 300)
    cached_history = cached.fit(data, epochs=3, batch_size=32, validation=validation, verbose=False)
    plain_history = plain.fit(
        data, epochs=3, batch_size=32, validation=validation, augment=no_augmentation, verbose=False
    )
    for path, tensor in plain.weights.items():
        torch.testing.assert_close(cached.weights[path], tensor, rtol=1e-4, atol=1e-5, msg=path)
    for name in ("train_loss", "val_loss"):
        assert cached_history[name] == pytest.approx(plain_history[name], rel=1e-4)
    assert cached_history["val_accuracy"] == plain_history["val_accuracy"]
    assert cached_history.layers
    assert {row["path"] for row in cached_history.layers} == {row["path"] for row in plain_history.layers}


def test_a_metric_that_reads_images_receives_images() -> None:
    image_shapes: set[tuple[int, ...]] = set()

    class Sides(Metric):
        def update(self, outputs: Tensor, targets: Tensor) -> None:
            raise AssertionError("update_batch is called in its place")

        def update_batch(self, outputs: Tensor, batch: Batch) -> None:
            image_shapes.add(tuple(batch.images.shape[1:]))

        def compute(self) -> dict[str, float]:
            return {"sides": float(len(image_shapes))}

    model = Model(network(), metrics=[Sides()], input_shape=(1, 8, 8), classes=10)
    model.freeze("features.*")
    model.fit(digits(0, 40), epochs=1, validation=digits(40, 60), verbose=False)
    assert image_shapes == {(1, 8, 8)}


def test_dropout_in_frozen_layers_is_off_with_and_without_the_cache() -> None:
    def new_model() -> Model:
        features = Sequential(conv=Conv2d(4, 3), relu=ReLU(), flatten=Flatten(), drop=Dropout(0.5))
        model = Model(
            Sequential(features=features, head=Sequential(scores=Dense(10))), input_shape=(1, 8, 8), classes=10, seed=1
        )
        model.freeze("features.*")
        return model

    cached, plain, data = new_model(), new_model(), digits(0, 120)
    cached.fit(data, epochs=2, batch_size=30, verbose=False)
    plain.fit(data, epochs=2, batch_size=30, augment=no_augmentation, verbose=False)
    for path, tensor in plain.weights.items():
        torch.testing.assert_close(cached.weights[path], tensor, rtol=1e-4, atol=1e-5, msg=path)


def test_the_whole_model_is_saved_and_a_stopped_training_is_resumed_exactly(tmp_path: Path) -> None:
    data, validation = digits(0, 200), digits(200, 300)
    uninterrupted = frozen_model(0.3)
    uninterrupted.fit(data, epochs=4, batch_size=32, validation=validation, run=tmp_path / "straight", verbose=False)
    with pytest.raises(Stopped):
        frozen_model(0.3).fit(
            data,
            epochs=4,
            batch_size=32,
            validation=validation,
            run=tmp_path / "run",
            verbose=False,
            callbacks=[StopAt(9)],
        )
    resumed = frozen_model(0.3)
    resumed.fit(data, epochs=4, batch_size=32, validation=validation, run=tmp_path / "run", verbose=False, resume=True)
    assert resumed.sha256() == uninterrupted.sha256()
    for run in ("straight", "run"):
        best = Model.load(tmp_path / run / "weights" / "best.safetensors")
        assert best.weights.keys() == uninterrupted.weights.keys()
        assert best.evaluate(validation)["n"] == 100


@pytest.mark.parametrize(
    ("frozen", "front_layers"),
    [
        (("features.*",), {"features.conv", "features.norm", "features.relu", "features.conv2", "features.relu2",
                           "head.pool", "head.flatten"}),
        (("features.conv.*", "features.norm.*"), {"features.conv", "features.norm", "features.relu"}),
        (("features.conv.*",), {"features.conv"}),  # the running statistics of `norm` are updated
        (("features.conv2.*",), set()),
        (("head.*",), set()),
    ],
)  # fmt: skip
def test_features_are_cached_up_to_the_first_trained_layer(frozen: tuple[str, ...], front_layers: set[str]) -> None:
    model = frozen_model(0.0, *frozen)
    parts = split_network(model.net, model.params, model.frozen)
    if not front_layers:
        assert parts is None
        return
    assert parts is not None
    expected = {path for path in model.weights if path.rpartition(".")[0] in front_layers}
    assert flatten(parts.front_params).keys() == expected
    assert flatten(parts.back_params).keys() == model.weights.keys() - expected


@pytest.mark.parametrize(("rate", "is_split"), [(0.0, True), (0.5, False)])
def test_attention_with_dropout_before_frozen_layers_prevents_caching(rate: float, is_split: bool) -> None:
    attend = Graph({"y": (Attention(rate=rate), "x", "x", "x")}, ("y",), ("x",))
    net = Sequential(attend=attend, conv=Conv2d(2, 3), flatten=Flatten(), dense=Dense(10))
    model = Model(net, input_shape=(1, 8, 8), classes=10)
    model.freeze("conv.*")
    assert (split_network(model.net, model.params, model.frozen) is not None) == is_split


def test_dropout_before_frozen_layers_prevents_caching() -> None:
    model = Model(
        Sequential(dropout=Dropout(0.5), conv=Conv2d(2, 3), flatten=Flatten(), dense=Dense(10)),
        input_shape=(1, 8, 8),
        classes=10,
    )
    model.freeze("conv.*")
    assert split_network(model.net, model.params, model.frozen) is None


def test_a_network_without_trained_layers_is_refused() -> None:
    with pytest.raises(PellucidError, match="every parameter is frozen"):
        frozen_model(0.0, "*").fit(digits(), epochs=1, batch_size=10, verbose=False)
