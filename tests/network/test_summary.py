"""Summaries of networks against counts made by hand and published ones."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pellucid.base.errors import PellucidError
from pellucid.combine import Fork, Graph, Sequential, Shared
from pellucid.layers import (
    Add,
    BatchNorm,
    Concat,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Flatten,
    MaxPool2d,
    ReLU,
)
from pellucid.layers.base import describe
from pellucid.model import Model
from pellucid.network.summary import bytes_text, multiply_adds, summary
from tests.cases import each_sample
from tests.layers.samples import SAMPLES
from tests.operators.cases import CASES, Case
from tests.oracle import Sample, tree_map
from tests.references import reference_forward
from tests.training.small import small_mlp


def lenet() -> Sequential:
    return Sequential(
        conv1=Conv2d(6, 5, padding=2),
        act1=ReLU(),
        pool1=MaxPool2d(2),
        conv2=Conv2d(16, 5),
        act2=ReLU(),
        pool2=MaxPool2d(2),
        flat=Flatten(),
        fc1=Dense(120),
        act3=ReLU(),
        fc2=Dense(84),
        act4=ReLU(),
        out=Dense(10),
    )


def test_lenet_counts_by_hand() -> None:
    summary_ = summary(lenet(), None, (1, 28, 28))
    rows = {row.path: row for row in summary_.rows}
    assert list(rows) == list(lenet().children)
    # (1 25 + 1) 6, (6 25 + 1) 16, (400 + 1) 120, (120 + 1) 84, (84 + 1) 10: the 61,706 of LeNet-5 with full connections
    assert [rows[name].parameters for name in ("conv1", "conv2", "fc1", "fc2", "out")] == [156, 2416, 48120, 10164, 850]
    assert summary_.parameters == 61_706
    # Multiply-adds: 28² 6 25, 10² 16 150, 400 120, 120 84, 84 10
    assert [rows[name].multiply_adds for name in ("conv1", "conv2", "fc1", "fc2", "out")] == [
        117_600,
        240_000,
        48_000,
        10_080,
        840,
    ]
    assert summary_.multiply_adds == 416_520
    assert rows["pool1"].multiply_adds == 0
    assert rows["conv1"].shape == (6, 28, 28)
    assert rows["pool2"].shape == (16, 5, 5)
    assert rows["flat"].shape == (400,)


def test_memory_counts_each_storage_once() -> None:
    rows = {row.path: row for row in summary(lenet(), None, (1, 28, 28)).rows}
    assert rows["conv1"].memory == 6 * 28 * 28 * 4  # the output only: its cache is the network's input
    assert rows["pool1"].memory >= 6 * 14 * 14 * (4 + 8)  # the output in float32 and the switches in int64
    assert rows["flat"].memory < 16  # a view
    assert rows["out"].memory == 40


def test_the_first_convolution_of_alexnet_has_the_published_counts() -> None:
    # Krizhevsky et al. 2012: 96 kernels of 11 x 11 x 3, stride 4, on 227 x 227: 34,848 weights, 55 x 55 outputs
    row = summary(Sequential(conv1=Conv2d(96, 11, stride=4)), None, (3, 227, 227)).rows[0]
    assert row.parameters == 34_848 + 96
    assert row.shape == (96, 55, 55)
    assert row.multiply_adds == 55 * 55 * 34_848
    assert row.layer == "Conv2d(96, 11, stride=4)"


def test_operations_of_grouped_and_transposed_convolutions() -> None:
    grouped = summary(Conv2d(8, 3, groups=4, bias=False), None, (4, 10, 10)).rows[0]
    assert grouped.parameters == 8 * 1 * 9
    assert grouped.multiply_adds == 8 * 8 * 8 * 9  # 8 x 8 outputs in 8 maps, 9 products each
    transposed = summary(ConvTranspose2d(5, 4, stride=2, padding=1), None, (2, 6, 6)).rows[0]
    assert transposed.shape == (5, 12, 12)
    assert transposed.multiply_adds == 6 * 6 * 2 * 5 * 16  # each of 6 x 6 x 2 inputs contributes to 5 windows of 4 x 4


def test_running_statistics_are_not_learned() -> None:
    row = summary(BatchNorm(), None, (7, 4, 4)).rows[0]
    assert (row.parameters, row.buffers) == (14, 14)


def test_a_network_in_double_precision_has_outputs_of_eight_bytes() -> None:
    params = {"weight": torch.zeros(4, 3, dtype=torch.float64), "bias": torch.zeros(4, dtype=torch.float64)}
    row = summary(Dense(4), params, (3,)).rows[0]
    assert (row.multiply_adds, row.memory) == (12, 4 * 8)


def test_a_summary_lists_several_inputs_outputs_and_calls() -> None:
    net = Sequential(fork=Fork(a=Dense(3), b=Dense(3)), arm=Shared(Dense(4)), join=Concat())
    rows = {row.path: row for row in summary(net, None, (5,)).rows}
    shared_row = rows["arm.layer"]
    assert (shared_row.uses, shared_row.parameters, shared_row.multiply_adds) == (2, 16, 24)
    assert rows["join"].shape == (8,)
    assert "Dense(4) (used 2 times)" in str(summary(net, None, (5,)))

    graph = Graph({"sum": (Add(), "x", "y")}, ("sum",), ("x", "y"))
    assert summary(graph, None, ((3,), (3,))).rows[0].shape == (3,)


def test_layers_of_a_module_are_merged_into_one_row_even_if_not_adjacent() -> None:
    graph = Graph(
        {"a.in": (Dense(3), "x"), "b": (Dense(2), "a.in"), "a.out.last": (Dense(4), "b")}, ("a.out.last",), ("x",)
    )
    summary_ = summary(graph, None, (5,))
    rows = summary_.by_module(1).rows
    assert [(row.path, row.layer, row.shape) for row in rows] == [("a", "2 layers", (4,)), ("b", "Dense(2)", (2,))]
    assert [(row.parameters, row.multiply_adds) for row in rows] == [(18 + 12, 15 + 8), (8, 6)]
    assert [row.path for row in summary_.by_module(2).rows] == ["a.in", "b", "a.out.last"]
    assert summary_.by_module(3) == summary_
    with pytest.raises(PellucidError, match="depth must be a whole number of at least 1"):
        summary_.by_module(0)


def test_a_summary_leaves_the_parameters_unchanged() -> None:
    net = Sequential(norm=BatchNorm(), flat=Flatten(), out=Dense(2))
    params, _ = net.init((2, 3, 3), torch.Generator().manual_seed(0))
    initial = {name: value.clone() for name, value in params["norm"].items()}
    summary(net, params, (2, 3, 3))
    assert all(torch.equal(initial[name], value) for name, value in params["norm"].items())


def test_a_summary_is_aligned_text_and_json() -> None:
    summary_ = summary(lenet(), None, (1, 28, 28))
    lines = str(summary_).splitlines()
    assert len(lines) == 1 + 12 + 1
    assert lines[0].split() == ["path", "layer", "output", "parameters", "multiply-adds", "memory"]
    assert lines[-1].split()[:3] == ["total", "61,706", "416,520"]
    right_edges = {line.index(number) + len(number) for line, number in ((lines[1], " 156"), (lines[4], "2,416"))}
    assert right_edges == {lines[0].index("parameters") + len("parameters")}
    values = json.loads(json.dumps(summary_.to_json()))
    assert values["parameters"] == 61_706
    assert values["layers"][0]["shape"] == [6, 28, 28]


def test_layers_are_printed_as_python_expressions() -> None:
    assert describe(ReLU()) == "ReLU"
    assert describe(Conv2d(6, 5, padding="same", bias=False)) == "Conv2d(6, 5, padding='same', bias=False)"


def test_bytes_are_printed_in_readable_units() -> None:
    assert [bytes_text(n) for n in (0, 1023, 1024, 1536, 5 << 20, 3 << 30)] == [
        "0 B",
        "1,023 B",
        "1.0 KiB",
        "1.5 KiB",
        "5.0 MiB",
        "3.0 GiB",
    ]


def test_the_summary_of_another_input_shape():
    model = Model(Sequential(Conv2d(4, 3), ReLU()), input_shape=(3, None, None))
    for table in (model.summary(input_shape=(3, 10, 10)), model.summary((3, 10, 10))):
        assert table.multiply_adds == 4 * 64 * 27
    assert model.summary().multiply_adds == 4 * 222 * 222 * 27
    unbuilt = Model(Dense(3))
    assert unbuilt.summary(input_shape=(7,)).parameters == 24
    assert not unbuilt.built
    for shape in ((1, 10, 10), (1, 3, 10, 10), (10,)):
        with pytest.raises(PellucidError, match=r"takes inputs of shape \(3, None, None\), without the batch axis"):
            model.summary(input_shape=shape)
    with pytest.raises(PellucidError, match="no argument 'input_size'; did you mean 'input_shape'"):
        model.summary(input_size=(1, 3, 10, 10))


def test_the_repr_of_a_summary_fits_80_columns_with_all_numbers():
    long_names = Sequential(
        a_long_name_of_a_layer=Conv2d(8, (3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1)), dense=Flatten()
    )
    table = Model(long_names, input_shape=(3, 32, 32)).summary()
    lines = repr(table).split("\n")
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].split() == ["path", "layer", "output", "parameters", "multiply-adds", "memory"]
    assert lines[1].split()[-4:] == ["224", "221,184", "32.0", "KiB"]
    assert lines[1].startswith("a_long_name_o...  Conv2d(8,...  8 x 32 x 32  ")
    assert "dilation=(1, 1)" in str(table)


def test_a_network_of_one_layer_has_one_layer():
    model = Model(Dense(3), input_shape=(4,))
    assert repr(model).startswith("<Model: 1 layer, 15 parameters, 4 -> 3; ")
    assert repr(Model(Dense(3))).startswith("<Model: 1 layer, no weights yet; ")
    assert model.layers[-1].params["weight"].shape == (3, 4)
    assert repr(model.layers[0]) == repr(model[""]) == "<Dense(3); weight 3 x 4, bias 3>"
    with pytest.raises(PellucidError, match="no layer ''"):
        small_mlp()[""]


@each_sample([sample for sample in SAMPLES if sample.layer.decayed])
def test_products_with_weights_are_counted_as_pytorch_counts_them(sample: Sample) -> None:
    params, x = sample.inputs()
    x = tree_map(lambda leaf: leaf[:1], x)
    with FlopCounterMode(display=False) as counter:
        y = reference_forward(sample.layer, params, x, sample.mode())
    assert counter.get_total_flops() > 0, "PyTorch counts no products of the reference: write it with @ or einsum"
    counted = multiply_adds(sample.layer, params, x, y)
    assert counted == counter.get_total_flops() / 2, "change MULTIPLY_ADD_COUNTS of pellucid/network/summary.py"


@pytest.mark.parametrize("case", CASES, ids=lambda case: type(case.layer).__name__)
def test_products_of_operators_are_counted(case: Case) -> None:
    xs = [torch.rand(given) if isinstance(given, tuple) else given for given in case.inputs]
    with FlopCounterMode(display=False) as counter:
        y = case.function(*(leaf.float() if leaf.is_floating_point() else leaf for leaf in xs))
    counted = multiply_adds(case.layer, {}, tuple(xs) if len(xs) > 1 else xs[0], y)
    # PyTorch multiplies the operands of an Einstein sum pair by pair, or without a product of matrices.
    assert counted >= counter.get_total_flops() / 2, "change MULTIPLY_ADD_COUNTS of pellucid/network/summary.py"
