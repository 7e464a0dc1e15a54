"""Drawings of networks: disjoint or nested boxes, the labels of layers, branches and equal blocks, and PNG files."""

from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from pellucid.combine import Fork, Graph, Parallel, Sequential, Shared
from pellucid.layers import Add, Concat, Conv2d, Dense, Flatten, Identity, Layer, MaxPool2d, ReLU
from pellucid.models import googlenet, lenet, mobilenet_v2, resnet18, resnet20, vgg16
from pellucid.network.drawing import draw_network
from pellucid.report.figures.style import png

OUTLINE_WIDTH = 0.7  # of the outlines of boxes, in points


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def boxes(figure: Figure) -> list[tuple[float, float, float, float]]:
    """Return (left, top, right, bottom) of each box with an outline."""
    return [
        (patch.get_x(), patch.get_y(), patch.get_x() + patch.get_width(), patch.get_y() + patch.get_height())
        for patch in figure.axes[0].patches
        if isinstance(patch, FancyBboxPatch) and patch.get_linewidth() == OUTLINE_WIDTH
    ]


NETWORKS: dict[str, tuple[Layer, Any]] = {
    "resnet18": (resnet18(), (3, 224, 224)),
    "googlenet": (googlenet(auxiliary=True), (3, 224, 224)),
    "lenet": (lenet(), (1, 28, 28)),
    "one layer": (Dense(3), (4,)),
    "fork": (Sequential(conv=Conv2d(2, 3), fork=Fork(a=Flatten(), b=Sequential(Flatten(), Dense(2)))), (1, 9, 9)),
    "shared": (Sequential(fork=Fork(a=Identity(), b=ReLU()), arm=Shared(Dense(4)), join=Concat()), (5,)),
    "graph": (
        Graph(
            {"a": (Dense(3), "x"), "b": ("a", "x"), "c": (Add(), "a", "b"), "d": (ReLU(), "c"), "e": (Add(), "d", "y")},
            ("e",),
            ("x", "y"),
        ),
        ((3,), (3,)),
    ),
    "nested": (
        Parallel({"same": Identity(), "deep": Sequential(Parallel((Conv2d(2, 1), ReLU()), Add()), ReLU())}, Add()),
        (2, 4, 4),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_boxes_are_disjoint_or_nested_and_inside_the_picture(name: str) -> None:
    figure = draw_network(*NETWORKS[name])
    outlines = boxes(figure)
    width, height = figure.get_size_inches() * 72
    assert outlines
    for index, (left, top, right, bottom) in enumerate(outlines):
        assert left >= 0
        assert top >= 0
        assert right <= width + 1e-6
        assert bottom <= height + 1e-6
        for x, y, u, v in outlines[:index]:
            are_disjoint = u <= left or right <= x or v <= top or bottom <= y
            is_nested = x <= left and y <= top and right <= u and bottom <= v
            assert are_disjoint or is_nested
    assert png(figure).startswith(b"\x89PNG")


def test_labels_describe_residual_blocks() -> None:
    labels = texts(draw_network(resnet18(), (3, 224, 224)))
    for label in ("stem", "stage4", "conv  7 x 7 / 2, 64", "block1 to block2, 2 times", "+", "scores  1000"):
        assert label in labels
    assert labels.count("shortcut") == 1 + 2 * 3  # the two equal blocks of stage1 are drawn once
    assert labels.count("conv  1 x 1 / 2, 128") == 1
    assert "512 x 7 x 7" in labels


@pytest.mark.slow
def test_branches_are_labelled_and_auxiliaries_name_their_inputs() -> None:
    labels = texts(draw_network(googlenet(auxiliary=True), (3, 224, 224)))
    assert [labels.count(name) for name in ("branch1x1", "branch3x3", "branch5x5", "branch_pool", "concat")] == [9] * 5
    assert {"input: inception4a", "input: inception4d"} <= set(labels)


def test_equal_blocks_are_drawn_separately_for_each_map_size() -> None:
    labels = texts(draw_network(vgg16(), (3, 224, 224)))
    assert {"block4", "block5"} <= set(labels)
    assert labels.count("conv1  3 x 3, 512") == 2


def test_labels_name_zero_channels_of_shortcuts_and_groups_of_depthwise_convolutions() -> None:
    assert texts(draw_network(resnet20(), (3, 32, 32))).count("16 channels of zeros") == 1
    labels = texts(draw_network(mobilenet_v2(), (3, 224, 224)))
    assert "depthwise  3 x 3 / 2, 96 groups" in labels
    assert labels[0] == "input  3 x 224 x 224"


def test_columns_of_a_small_network_have_similar_heights() -> None:
    figure = draw_network(lenet(), (1, 28, 28))
    middle = figure.get_size_inches()[0] * 72 / 2
    features_bottom = max(bottom for left, _, _, bottom in boxes(figure) if left <= middle)
    head_bottom = max(bottom for left, _, _, bottom in boxes(figure) if left > middle)
    assert abs(features_bottom - head_bottom) < 0.2 * max(features_bottom, head_bottom)


def test_layers_without_weights_join_the_box_before_them() -> None:
    net = Sequential(conv=Conv2d(4, 3), relu=ReLU(), pool=MaxPool2d(2), flatten=Flatten(), dense=Dense(2))
    figure = draw_network(net, (1, 8, 8))
    assert len(boxes(figure)) == 1 + 3  # the input; conv with ReLU, pool with Flatten, dense
    assert texts(figure) == [
        "input  1 x 8 x 8", "conv  3 x 3, 4", "ReLU", "4 x 6 x 6", "pool  max 2 x 2 / 2", "Flatten", "36",
        "dense  2", "2",
    ]  # fmt: skip
