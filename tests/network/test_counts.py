"""Weights and multiply-adds against ../shared/facts/learn.md, and receptive fields against backward passes."""

from dataclasses import fields

import pytest
import torch
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.layers import (
    LAYERS,
    AvgPool2d,
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Flatten,
    Layer,
    LpPool2d,
    MaxPool2d,
    MaxUnpool2d,
    ReLU,
)
from pellucid.network.counts import counts, output_size, read_layers, receptive_field


def count_parameters(shape: tuple[int, ...], *layers: str) -> tuple[int, int]:
    network_counts = counts(read_layers(", ".join(layers)), shape)
    return network_counts.weights, network_counts.biases


def test_the_first_layer_of_alexnet_has_the_published_counts():
    (row,) = counts(read_layers("Conv2d(96, 11, stride=4)"), (3, 227, 227)).rows
    assert row.shape == (96, 55, 55)
    assert (row.weights, row.weights + row.biases) == (34_848, 34_944)
    assert row.multiply_adds == 55 * 55 * 96 * 11 * 11 * 3
    assert count_parameters((3, 227, 227), "Conv2d(96, 11, stride=4, bias=False)") == (34_848, 0)


def test_counts_of_a_fully_connected_network():
    assert count_parameters((1, 28, 28), "Flatten", "Dense(20)", "Dense(10)", "Dense(5)") == (15_930, 35)
    assert counts(read_layers("Dense(30)"), (784,)).parameters == 23_550


def test_a_convolution_has_weights_for_all_input_channels():
    rows = counts(read_layers("Conv2d(20, 5), Conv2d(10, 5)"), (1, 28, 28)).rows
    assert [row.weights + row.biases for row in rows] == [
        520,
        5_010,
    ]  # not 260, which ignores that the input has 20 maps


@pytest.mark.parametrize(("layers", "factor"), [(("7",), 49), (("3", "3", "3"), 27), (("3", "3"), 18)])
def test_stacks_of_small_kernels_have_fewer_weights(layers: tuple[str, ...], factor: int):
    c = 6
    assert count_parameters((c, 20, 20), *(f"Conv2d({c}, {k}, bias=False)" for k in layers)) == (factor * c**2, 0)


def test_the_hessian_has_an_entry_for_each_pair_of_parameters():
    network_counts = counts(read_layers("Dense(3), Dense(2)"), (2,))
    w = network_counts.parameters
    assert w == 17
    assert network_counts.hessian_entries == len([(i, j) for i in range(w) for j in range(i, w)])
    assert network_counts.quadratic_parameters == w + network_counts.hessian_entries


def test_norms_have_weights_and_biases():
    assert count_parameters((4, 9, 9), "BatchNorm") == (4, 4)


def test_the_last_row_of_the_table_contains_the_totals():
    table = str(counts(read_layers("Conv2d(20, 5), ReLU, Flatten, Dense(10)"), (1, 28, 28)))
    assert table.splitlines()[-1].split() == ["total", "115,700", "30", f"{20 * 24 * 24 * 25 + 115_200:,}"]


@pytest.mark.parametrize("size", [5, 10, 28])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize(("stride", "padding", "dilation"), [(1, 0, 1), (4, 0, 1), (2, 1, 1), (1, 2, 2), (3, 4, 2)])
def test_output_sizes_equal_those_of_pytorch(size: int, kernel: int, stride: int, padding: int, dilation: int):
    if size + 2 * padding < dilation * (kernel - 1) + 1:
        with pytest.raises(PellucidError, match="smaller than the window"):
            output_size(size, kernel, stride, padding, dilation)
        return
    y = F.conv2d(torch.zeros(1, 1, size, size), torch.zeros(1, 1, kernel, kernel), None, stride, padding, dilation)
    assert output_size(size, kernel, stride, padding, dilation) == y.shape[2]


def test_output_sizes_equal_those_computed_by_hand():
    assert output_size(227, 11, 4) == 55
    assert output_size(10, 3, dilation=2) == 6


@pytest.mark.parametrize(
    "layers",
    [
        (Conv2d(2, 3), Conv2d(2, 3)),
        (Conv2d(2, 3), ReLU(), Conv2d(2, 3, padding=1), Conv2d(1, 3)),
        (Conv2d(2, 5, stride=2), BatchNorm(), MaxPool2d(2), Conv2d(1, 3, dilation=2), AvgPool2d(2, 2)),
        (Conv2d(2, (1, 3)), LpPool2d((2, 3), stride=(2, 1)), Conv2d(2, (3, 1), stride=(1, 2))),
    ],
)
def test_receptive_fields_are_the_inputs_with_nonzero_gradients(layers: tuple):
    """PyTorch's gradient of one output with respect to the image is nonzero exactly in the receptive field."""
    net = Sequential(*layers)
    shape = (1, 80, 80)
    params, (_, height, width) = net.init(shape, torch.Generator().manual_seed(0))
    first_columns: list[set[int]] = []
    for column_offset in (0, 1):
        x = torch.rand(64, *shape, requires_grad=True)  # many images, as a maximum depends on one pixel of each
        y, _ = net.forward({k: {n: t.abs() for n, t in p.items()} for k, p in params.items()}, x, _mode())
        y[:, :, height // 2, width // 2 + column_offset].sum().backward()
        assert x.grad is not None
        has_gradient = x.grad.abs().sum((0, 1)) != 0
        rows, columns = has_gradient.any(1).nonzero().flatten(), has_gradient.any(0).nonzero().flatten()
        first_columns.append({int(columns[0])})
        size = (int(rows[-1] - rows[0]) + 1, int(columns[-1] - columns[0]) + 1)
        assert receptive_field(net)[-1].field == size
    assert receptive_field(net)[-1].step[1] == first_columns[1].pop() - first_columns[0].pop()


def _mode():
    from pellucid.layers.base import Mode

    return Mode()


def test_stacks_of_small_kernels_have_the_receptive_field_of_a_large_one():
    first, second = receptive_field(read_layers("Conv2d(1, 3), Conv2d(1, 3)"))
    assert (first.field, second.field) == ((3, 3), (5, 5))
    assert receptive_field(read_layers("Conv2d(1, 3), " * 3))[-1].field == (7, 7)


def test_a_receptive_field_after_a_dense_layer_is_refused():
    with pytest.raises(PellucidError, match=r"dense1: .* Dense"):
        receptive_field(Sequential(Conv2d(1, 3), Dense(2)))


def test_layers_are_parsed_from_python_expressions():
    net = read_layers("Conv2d(20, (5, 3), padding='same', bias=False), ReLU, ReLU(), Flatten, Dense(units=10)")
    layers = (Conv2d(20, (5, 3), padding="same", bias=False), ReLU(), ReLU(), Flatten(), Dense(10))
    assert tuple(net.children.values()) == layers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a list of layers"),
        ("Dense(", "not a list of layers"),
        ("][", "not a list of layers"),
        ("Dense(2)); import os", "not a list of layers"),
        ("3", "not a list of layers"),
        ("a.Dense(2)", "not a list of layers"),
        ("Dense(**{'units': 3})", "not a list of layers"),
        ("Dense(__import__('os').getpid())", "give numbers"),
        ("Dens(2)", "did you mean 'Dense'"),
        ("Add()", "no layer is called 'Add'"),
        ("Dense(2, foo=1)", "no argument 'foo'"),
        ("Dense", "missing a required argument: 'units'"),
        ("Conv2d(20)", "missing a required argument: 'kernel'"),
        ("Dense(0)", "at least 1"),
        ("(" * 500 + ")" * 500, "not a list of layers"),
    ],
)
def test_text_that_is_not_a_list_of_layers_is_refused(text: str, message: str):
    with pytest.raises(PellucidError, match=message):
        read_layers(text)


def test_a_layer_that_does_not_fit_its_input_is_refused():
    with pytest.raises(PellucidError, match="conv2d1"):
        counts(read_layers("Conv2d(3, 3)"), (784,))


WITH_WINDOWS = [kind for kind in LAYERS if "kernel" in {field.name for field in fields(kind)}]


@pytest.mark.parametrize("kind", WITH_WINDOWS)
def test_the_window_of_every_layer_is_counted(kind: type[Layer]):
    if kind in (ConvTranspose2d, MaxUnpool2d):  # several windows of different sizes
        return
    names = {field.name for field in fields(kind)}
    layer = kind(**{name: value for name, value in {"filters": 1, "kernel": 3}.items() if name in names})
    try:
        assert receptive_field(Sequential(layer))[0].field == (3, 3)
    except PellucidError as error:
        pytest.fail(f"add it to `receptive_field` of pellucid/network/counts.py, or to this test: {error}")
