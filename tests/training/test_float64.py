"""Models with precision="float64": weights, inputs and gradients."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pellucid import SGD, BatchNorm, Callback, Conv2d, Dense, Flatten, Model, PellucidError, ReLU, Reshape, Sequential
from pellucid.data.source import Arrays

RNG = np.random.default_rng(0)
X = 2 * RNG.random((100, 1))
Y = 5 + 7 * X[:, 0] + RNG.normal(size=100)


class EndedError(Exception):
    pass


class EndAfterThreeEpochs(Callback):
    def on_epoch_end(self, training, row) -> None:
        if training.epoch == 3:
            raise EndedError


def line_model() -> Model:
    return Model(Sequential(Dense(1)), "quadratic", SGD(0.2), metrics=(), precision="float64")


def fit_arguments(kind: str) -> tuple:
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    return {"arrays": (X, Y), "source": (Arrays(x, y),), "stream": (lambda: iter([(x.float(), y.float())]),)}[kind]


@pytest.mark.parametrize(("kind", "tolerance"), [("arrays", 1e-12), ("source", 1e-12), ("stream", 1e-6)])
def test_descent_reaches_the_least_squares_solution(kind: str, tolerance: float) -> None:
    model = line_model()
    steps = {"steps_per_epoch": 1} if kind == "stream" else {}
    model.fit(*fit_arguments(kind), epochs=1000, batch_size=100, verbose=False, **steps)
    expected = np.linalg.lstsq(np.c_[X, np.ones(100)], Y, rcond=None)[0]
    actual = [model["dense1"].params[name].item() for name in ("weight", "bias")]
    assert actual == pytest.approx(expected, rel=tolerance)
    assert model.evaluate(X, Y)["loss"] == pytest.approx(((X[:, 0] * actual[0] + actual[1] - Y) ** 2).mean() / 2)
    assert model.predict(X).dtype == model(X).dtype == torch.float64


def test_a_resumed_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    uninterrupted, resumed = line_model(), line_model()
    uninterrupted.fit(X, Y, epochs=4, batch_size=10, verbose=False)
    with pytest.raises(EndedError):
        resumed.fit(
            X,
            Y,
            epochs=4,
            batch_size=10,
            verbose=False,
            run=tmp_path,
            callbacks=[EndAfterThreeEpochs()],
            checkpoint_seconds=0,
        )
    resumed = line_model()
    resumed.fit(X, Y, epochs=4, batch_size=10, verbose=False, run=tmp_path, resume=True)
    assert torch.equal(uninterrupted["dense1"].params["weight"], resumed["dense1"].params["weight"])


def test_a_file_holds_the_weights_and_their_precision(tmp_path: Path) -> None:
    model = line_model()
    model.fit(X, Y, epochs=5, verbose=False)
    model.save(tmp_path / "line.safetensors")
    loaded = Model.load(tmp_path / "line.safetensors")
    assert loaded.precision == "float64"
    assert torch.equal(loaded["dense1"].params["weight"], model["dense1"].params["weight"])


@pytest.mark.slow
def test_verify_trace_and_explain_accept_float64() -> None:
    net = Sequential(Reshape((1, 4, 4)), Conv2d(3, 3), BatchNorm(), ReLU(), Flatten(), Dense(3))
    model = Model(net, precision="float64")
    x, y = RNG.random((50, 16)), RNG.integers(0, 3, 50)
    model.fit(x, y, epochs=2, validation=0.2, verbose=False)
    assert model.verify(x[:4], y[:4]).ok
    assert model.explain(x[:2], "lrp").dtype == torch.float64
    assert model.trace(x[:1], y[:1]).loss == pytest.approx(model.evaluate(x[:1], y[:1])["loss"], abs=1e-6)
    report = str(model.doctor(x, y))
    assert "dtype" not in report
    assert "double" not in report.lower()


def test_the_error_for_an_unknown_precision_lists_the_known_ones() -> None:
    with pytest.raises(PellucidError, match="float32 or bf16 or float64"):
        Model(Sequential(Dense(1)), "quadratic", precision="float16").fit(X, Y, epochs=1, verbose=False)
