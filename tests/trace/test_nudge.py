"""Effects of nudges on the loss of shipped models, against losses computed by PyTorch."""

import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.layers import Conv2d, Dense, Flatten, ReLU
from pellucid.losses import Quadratic
from pellucid.model import Model
from pellucid.trace import Trace, trace
from pellucid.trace.text import MINUS

TARGET = torch.tensor([2, 7])


def loss_by_torch(model: Model, x: Tensor, weights: dict[str, Tensor]) -> float:
    """Return the loss of mnist-mlp-100, 784-100-10 with sigmoids, by PyTorch's functions in float64."""
    hidden = torch.sigmoid(
        x.flatten(1).double() @ weights["features.dense1.weight"].T + weights["features.dense1.bias"]
    )
    y = hidden @ weights["head.scores.weight"].T + weights["head.scores.bias"]
    return float(F.binary_cross_entropy_with_logits(y, F.one_hot(TARGET, 10).double(), reduction="sum") / len(x))


@pytest.mark.parametrize(
    "path", ["features.dense1.weight", "features.dense1.bias", "head.scores.weight", "head.scores.bias"]
)
def test_the_actual_change_equals_pytorchs(mlp: Model, digits: Tensor, path: str) -> None:
    record = trace(mlp, digits, TARGET)
    weights = {name: leaf.double() for name, leaf in mlp.weights.items()}
    explanation = record.explain(path)
    index = tuple(map(int, explanation.name[explanation.name.index("[") + 1 : -1].split(",")))
    for h in (0.5, -1e-3):
        change = record.nudge(explanation.name, h)
        shifted = {**weights, path: weights[path].clone()}
        shifted[path][index] += h
        assert change.before == pytest.approx(loss_by_torch(mlp, digits, weights), rel=1e-12)
        assert change.after == pytest.approx(loss_by_torch(mlp, digits, shifted), rel=1e-12)
        assert change.predicted == explanation.gradient * h
        assert change.actual == change.after - change.before


@pytest.mark.parametrize(
    "name",
    [
        "x",
        "features.conv1.y",
        "features.relu1.y",
        "features.pool1.y",
        "features.conv2.y",
        "head.flatten.y",
        "head.relu2.y",
        "y",
        "features.conv2.x",
    ],
)
def test_activations_and_pixels_can_be_changed(lenet: Model, digits: Tensor, name: str) -> None:
    record = trace(lenet, digits, TARGET)
    explanation = record.explain(name)
    h = 1e-6
    up, down = record.nudge(explanation.name, h), record.nudge(explanation.name, -h)
    assert (up.after - down.after) / (2 * h) == pytest.approx(explanation.gradient, rel=1e-5)
    assert up.predicted == pytest.approx(up.actual, rel=1e-3)


def test_a_changed_activation_is_read_by_all_following_layers(lenet: Model, digits: Tensor) -> None:
    """The loss after changing an output equals the loss of the following layers applied to the changed output."""
    record = trace(lenet, digits, TARGET)
    w = {name: leaf.double() for name, leaf in lenet.weights.items()}
    activation = record["head.relu1.y"].clone()
    activation[1, 5] += 3.0
    y = F.linear(
        torch.relu(F.linear(activation, w["head.dense2.weight"], w["head.dense2.bias"])),
        w["head.scores.weight"],
        w["head.scores.bias"],
    )
    assert record.nudge("head.relu1.y[1, 5]", 3.0).after == pytest.approx(float(F.cross_entropy(y, TARGET)), rel=1e-12)


def test_curvature_is_the_second_derivative() -> None:
    model = Model(Sequential(Dense(1)), Quadratic(), input_shape=(3,), metrics=())
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    record = trace(model, x, torch.tensor([[1.0], [0.0]]))
    assert record.nudge("dense1.weight[0, 1]", 0.25).curvature == pytest.approx((2**2 + 5**2) / 2)
    assert "difference" in str(record.nudge("dense1.weight[0, 1]", 0.25))
    assert record.nudge("dense1.bias[0]", 0.5).to_json()["curvature"] == pytest.approx(1.0)


@pytest.mark.parametrize(("h", "dtype"), [(1e-17, torch.float64), (-1e-300, torch.float64), (1e-9, torch.float32)])
@pytest.mark.parametrize("name", ["head.dense1.weight", "x", "features.relu1.y"])
def test_nudges_below_the_rounding_are_refused(
    lenet: Model, digits: Tensor, h: float, dtype: torch.dtype, name: str
) -> None:
    record = trace(lenet, digits, TARGET, dtype=dtype)
    tensor = record[name].flatten()
    index = int(tensor.abs().argmax())
    label = f"{name}[{', '.join(map(str, map(int, torch.unravel_index(torch.tensor(index), record[name].shape))))}]"
    with pytest.raises(PellucidError, match=r"below the rounding of .* so nothing changes; use at least") as caught:
        record.nudge(label, h)
    least_h = float(str(caught.value).split()[-1])
    assert record.nudge(label, 2 * least_h).value != float(tensor[index] + 2 * least_h)


@pytest.mark.parametrize("h", [0, math.nan, math.inf, -math.inf, True, "1"])
def test_a_change_of_0_or_infinity_is_refused(lenet: Model, digits: Tensor, h: Any) -> None:
    with pytest.raises(PellucidError, match="h must be a finite number other than 0"):
        trace(lenet, digits, TARGET).nudge("head.dense1.weight", h)


def test_a_change_below_the_rounding_of_the_loss_has_no_curvature() -> None:
    model = Model(Sequential(Dense(1)), Quadratic(), input_shape=(1,), metrics=())
    model.weights["dense1.weight"].fill_(1.0)
    model.weights["dense1.bias"].zero_()
    record = trace(model, torch.tensor([[3.0]]), torch.tensor([[1.0]]))
    change = record.nudge("dense1.bias[0]", 1e-300)  # the bias is 0, so it changes
    assert "below" not in str(change)
    assert "rounding: the predicted change" in str(change)
    assert math.isnan(change.curvature), "h² is 0"
    assert "nonlinearity" in str(record.nudge("dense1.bias[0]", 1e-3))
    flat = trace(model, torch.tensor([[3.0]]), torch.tensor([[3.0]]))  # the gradient is 0, the loss changes
    assert "nonlinearity" in str(flat.nudge("dense1.bias[0]", 1.0))


MEAN, STD = [0.5, 0.2], [0.25, 0.125]


def standardizing_model(**preprocess: Any) -> Model:
    net = Sequential(conv=Conv2d(3, 3), relu=ReLU(), flat=Flatten(), scores=Dense(4))
    return Model(net, input_shape=(2, 6, 6), classes=4, preprocess=preprocess)


@pytest.mark.parametrize("name", ["x[1, 1, 2, 3]", "x[0, 0, 5, 0]", "x[-1, -1, 0, 0]", "conv.x[0, 1, 4, 4]", "x"])
@pytest.mark.parametrize("h", [0.5, -0.01])
def test_a_nudge_of_a_standardized_pixel_says_how_the_image_changes(name: str, h: float) -> None:
    """x[...] is (image - mean) / std, so h changes the image by h std."""
    images = torch.rand(2, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    record = trace(standardizing_model(mean=MEAN, std=STD), images, torch.tensor([0, 3]))
    change = record.nudge(name, h)
    index = tuple(map(int, change.name[change.name.index("[") + 1 : -1].split(",")))
    before = float(images[index])
    channel = index[1]
    assert change.value == pytest.approx((before - MEAN[channel]) / STD[channel], rel=1e-5)
    texts = change.note.partition(" from ")[2].replace(MINUS, "-").split(" to ")
    numbers = [float(text) for text in texts]
    assert numbers == pytest.approx([before, before + h * STD[channel]], rel=1e-4, abs=1e-6)
    assert change.note.startswith(
        "x is the standardized input, (image - mean) / std of each channel: the image changes"
    )
    assert change.note in str(change)
    assert change.note in change._repr_html_()
    assert change.to_json()["note"] == change.note


def test_where_x_is_shown_the_text_says_that_it_is_standardized() -> None:
    images = torch.rand(2, 2, 6, 6)
    record = trace(standardizing_model(mean=MEAN, std=STD), images, torch.tensor([0, 3]))
    note = "x is the standardized input"
    shown = [record, *(record.explain(name) for name in ("x", "conv.weight", "conv.bias", "conv.y", "conv.x"))]
    for view in shown:
        names_x = isinstance(view, Trace) or bool(re.search(r"\bx\[", str(view)))
        assert (note in str(view)) == names_x
        assert (note in view._repr_html_()) == names_x
        assert (note in str(view.to_json())) == names_x
    for name in ("scores.weight", "relu.y", "scores.y"):
        assert note not in str(record.explain(name))
        assert note not in str(record.nudge(name, 0.1))


def test_without_mean_and_std_nothing_is_said() -> None:
    record = trace(standardizing_model(), torch.rand(2, 2, 6, 6), torch.tensor([0, 3]))
    for view in (record, record.explain("x"), record.nudge("x", 0.1)):
        assert "standardized" not in str(view)
        assert "standardized" not in view._repr_html_()
