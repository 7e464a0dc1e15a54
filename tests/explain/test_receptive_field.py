"""Receptive fields against changes of every single pixel, and sizes computed by hand."""

import pytest
import torch

from pellucid.combine import Graph, Parallel, Sequential
from pellucid.explain.parts import upto
from pellucid.explain.receptive_field import MARK_RULES, receptive_fields
from pellucid.explain.sweeps import forward_to
from pellucid.layers import (
    GELU,
    GRU,
    LSTM,
    RNN,
    AdaptiveAvgPool2d,
    Add,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    GroupNorm,
    Identity,
    Layer,
    LocalContrastNorm,
    LocalResponseNorm,
    LogSoftmax,
    MaxPool2d,
    Mode,
    ReLU,
    RoIAlign,
    RoIPool,
    SoftArgmax,
    Softmax,
    Upsample,
)
from pellucid.layers.base import declares
from tests.layers.samples import SAMPLES
from tests.oracle import normal, randomized
from tests.references import reference_forward

NETWORKS: dict[str, Layer] = {
    "stack": Sequential(Conv2d(2, 3, padding=1), GELU(), AvgPool2d(2), Conv2d(3, 3), BatchNorm()),
    "strides": Sequential(Conv2d(2, (3, 1), stride=(2, 1)), Conv2d(2, 2, dilation=3), LocalResponseNorm(2)),
    "skip": Parallel((Identity(), Sequential(Conv2d(4, 3, padding=1), GELU(), Conv2d(2, 3, padding=1))), Add()),
    "up": Sequential(AvgPool2d(3), ConvTranspose2d(2, 2, stride=2), Upsample(2, kind="bilinear")),
    "grouped": Sequential(Conv2d(4, 1), GroupNorm(2), Conv2d(2, 3)),
    "mean": Sequential(Conv2d(2, 3), AdaptiveAvgPool2d(2)),
    "softmax of channels": Sequential(Conv2d(2, 3), Softmax(), Conv2d(2, 3)),
    "softmax of columns": Sequential(Conv2d(2, 3), Softmax(axis=2), Conv2d(2, 3)),
    "softmax of rows": Sequential(Conv2d(2, 3), LogSoftmax(axis=3)),
    "again": Graph({"a": (Conv2d(2, 3, padding=1), "input"), "b": ("a", "a"), "c": (Add(), "b", "input")}, ("c",)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_pixel_is_in_the_field_if_it_can_change_the_unit(name: str) -> None:
    rng = torch.Generator().manual_seed(0)
    net = NETWORKS[name]
    params, output_shape = net.init((2, 11, 12), rng)
    params = randomized(params, rng)
    x = normal((1, 2, 11, 12), rng)
    y = reference_forward(net, params, x, Mode())
    variants = x.repeat(11 * 12, 1, 1, 1)
    for index in range(11 * 12):
        variants[index, :, index // 12, index % 12] += torch.tensor([0.7, -1.3])
    changed = (reference_forward(net, params, variants, Mode()) - y).abs() > 1e-12  # (pixels, C, h, w)
    for row, column in [
        (0, 0),
        (output_shape[1] // 2, output_shape[2] // 2),
        (output_shape[1] - 1, output_shape[2] - 1),
        (0, output_shape[2] // 2),
    ]:
        rows, columns = changed[:, 1, row, column].view(11, 12).nonzero().t()
        run = forward_to(net, params, x, f"[1, {row}, {column}]")
        expected = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
        assert receptive_fields(run).tolist() == [[int(edge) for edge in expected]]


def test_receptive_fields_of_maxima_contain_whole_windows() -> None:
    first_layers = {"conv1": Conv2d(2, 5, padding=2), "relu1": ReLU(), "pool1": MaxPool2d(2)}
    net = Sequential(**first_layers, conv2=Conv2d(3, 5), pool2=MaxPool2d(3, 2))
    params, _ = net.init((1, 28, 28), torch.Generator().manual_seed(0))
    x = torch.rand(2, 1, 28, 28)
    # The field has 5 + 1 (pool, then jump 2) + 4 x 2 (convolution) + 2 x 2 (second pool) = 18 pixels.
    run = forward_to(net, params, x, "pool2[1, 1, 2]")
    assert receptive_fields(run).tolist() == [[4 - 2, 8 - 2, 4 - 2 + 18, 8 - 2 + 18]] * 2
    assert receptive_fields(forward_to(net, params, x, "pool2[1, 0, 0]")).tolist() == [[0, 0, 16, 16]] * 2
    assert upto(net, "pool2") == net


def test_contrast_normalization_extends_the_receptive_field() -> None:
    net = Sequential(LocalContrastNorm(5), Conv2d(1, 3))
    params, _ = net.init((2, 12, 12), torch.Generator().manual_seed(0))
    run = forward_to(net, params, torch.rand(1, 2, 12, 12), "conv2d1[0, 4, 5]")
    assert receptive_fields(run).tolist() == [[2, 3, 9, 10]]


UNKNOWN_FIELDS = {GRU, LSTM, RNN, RoIAlign, RoIPool, SoftArgmax}  # layers whose receptive field is refused


@pytest.mark.parametrize("layer", [sample.layer for sample in SAMPLES], ids=repr)
def test_every_layer_has_a_mark_rule_or_is_refused(layer: Layer) -> None:
    is_known = any(declares(layer, *types_or_traits) for types_or_traits, _ in MARK_RULES)
    advice = "add it to MARK_RULES of pellucid/explain/receptive_field.py, or to UNKNOWN_FIELDS"
    assert is_known != (type(layer) in UNKNOWN_FIELDS), advice
