"""Predictions in int8: accuracy, the values that are accepted, and the messages for those that are not."""

import re
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.layers import Conv2d, Dense, Flatten, Layer, Mode
from pellucid.layers.base import Params, Shape
from pellucid.model import Model
from pellucid.training import engines
from tests.training.small import digits, small_conv

needs_vnni = pytest.mark.skipif(not torch.cpu._is_vnni_supported(), reason="the processor has no VNNI instructions")


@pytest.fixture(scope="module")
def model() -> Model:
    model = small_conv(input_shape=(1, 8, 8), classes=10)
    model.fit(digits(), epochs=2, batch_size=50, verbose=False)
    return model


@needs_vnni
def test_int8_predicts_almost_the_same_probabilities(model: Model) -> None:
    x = digits().x
    predict = model.predictor(precision="int8", calibration=x[:100])
    probabilities, expected = predict(x), model.predict(x)
    assert predict.engine == "onnxruntime"
    assert (probabilities - expected).abs().max() < 0.05
    assert (probabilities.argmax(1) == expected.argmax(1)).double().mean() > 0.98
    torch.testing.assert_close(probabilities.sum(1), torch.ones(len(x)))


@needs_vnni
def test_bytes_and_arrays_are_calibration_images_too() -> None:
    """With the model's standardization, as for `predict`."""
    model = Model(Sequential(conv=Conv2d(4, 3), flatten=Flatten(), dense=Dense(3)), input_shape=(3, 6, 6), seed=0)
    pictures = torch.randint(0, 256, (40, 3, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = model.predict(pictures)
    for calibration in (pictures, pictures / 255, (pictures / 255).numpy()):
        predict = model.predictor(precision="int8", calibration=calibration)
        torch.testing.assert_close(predict(pictures), expected, rtol=0, atol=0.05)


@needs_vnni
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_inputs_must_be_finite(model: Model, value: float) -> None:
    """A code cannot express NaN, which float32 would propagate to the predictions."""
    x = digits().x[:3].clone()
    x[1, 0, 2, 2] = value
    predict = model.predictor(precision="int8", calibration=digits().x[:50])
    with pytest.raises(PellucidError, match="x: example 1 contains NaN or infinity"):
        predict(x)


X = torch.rand(32, 1, 8, 8, generator=torch.Generator().manual_seed(0))
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"precision": "int4"}, "precision must be 'int8', or None for the model's own, not 'int4'"),
    ({"precision": "int8"}, "precision='int8' needs calibration=images, inputs (N, ...) like those to predict"),
    ({"calibration": X}, "calibration: images are only used with precision='int8'"),
    ({"precision": "int8", "calibration": X[:31]}, "calibration: 31 images; give at least 32"),
    (
        {"precision": "int8", "calibration": X[..., :7]},
        "calibration contains inputs of shape (1, 8, 7)",
    ),
    ({"precision": "int8", "calibration": X / 0}, "calibration: example 0 contains"),
    (
        {"precision": "int8", "calibration": torch.full_like(X, 0.5)},
        "calibration: all values of all images are 0.5; give images like those to predict",
    ),
    ({"precision": "int8", "calibration": "images"}, "calibration is 'images', not an array"),
    ({"precision": "int8", "calibration": X, "engine": "auto"}, "is computed by onnxruntime only"),
    (
        {"precision": "int8", "calibration": X, "threads": "auto"},
        "computed by onnxruntime only; leave out threads='auto'",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_wrong_arguments_are_refused(
    model: Model, arguments: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "check_int8_processor", lambda: None)  # on machines without VNNI too
    with pytest.raises(PellucidError, match=re.escape(message)) as refused:
        model.predictor(**arguments)
    assert "\n" not in str(refused.value)


@needs_vnni
def test_networks_without_convolutions_and_float64_are_refused() -> None:
    dense = Model(Sequential(flatten=Flatten(), dense=Dense(3)), input_shape=(1, 8, 8), seed=0)
    with pytest.raises(PellucidError, match="the network contains no Conv2d to quantize"):
        dense.predictor(precision="int8", calibration=X)
    net = Sequential(conv=Conv2d(3, 3), flatten=Flatten(), dense=Dense(3))
    model = Model(net, input_shape=(1, 8, 8), seed=0, precision="float64")
    with pytest.raises(PellucidError, match="computes in float32 on the CPU, and the model in float64 on cpu"):
        model.predictor(precision="int8", calibration=X)


@dataclass(frozen=True)
class Half(Layer):
    """A user-defined layer without a method `onnx`."""

    def init(self, shape: Shape, rng: torch.Generator) -> tuple[Params, Shape]:
        return {}, shape

    def forward(self, params: Params, x: Tensor, mode: Mode) -> tuple[Tensor, None]:
        return x / 2, None

    def backward(self, params: Params, cache: None, dy: Tensor) -> tuple[Tensor, Params]:
        return dy / 2, {}


@needs_vnni
def test_a_user_defined_layer_that_onnx_cannot_express_is_named() -> None:
    net = Sequential(conv=Conv2d(4, 3), mine=Half(), flatten=Flatten(), dense=Dense(3))
    model = Model(net, input_shape=(1, 8, 8), seed=0)
    with pytest.raises(PellucidError, match=r"^no ONNX operators for the layers Half"):
        model.predictor(precision="int8", calibration=X)


def test_processors_without_vnni_are_refused_before_images_are_read(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    with pytest.raises(PellucidError, match="this processor has no AVX-512 VNNI instructions"):
        model.predictor(precision="int8", calibration="images")
