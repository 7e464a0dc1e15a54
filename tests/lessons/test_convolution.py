"""The lesson about convolution, compared with SciPy, NumPy and ../shared/facts/learn.md."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d
from sklearn.datasets import load_sample_image

from pellucid.lessons import LessonSettings, Result, lesson
from pellucid.lessons.convolution import GUIDE, WAYS, motion, sizes, transposed
from pellucid.report.figures.style import Plot, png


@cache
def lesson_results() -> Mapping[str, Result]:
    return lesson("convolution").results


def numbers(step: str) -> Mapping[str, Any]:
    return lesson_results()[step].numbers


def test_a_kernel_slides_as_in_scipy():
    values = numbers("sliding")
    kernel = np.array([[-1, 0, 1]] * 3)
    expected = correlate2d(np.array(values["patch"]), kernel, "valid")
    assert values["output"] == expected.tolist()
    assert values["first position by hand"] == expected[0, 0]
    grey = load_sample_image("china.jpg").mean(2)[198:210, 100:112] / 255  # averaged over 2 x 2 below
    assert values["patch"] == (9 * grey.reshape(6, 2, 6, 2).mean((1, 3))).round().tolist()


def test_filters_are_those_of_scipy():
    pixels = load_sample_image("china.jpg").mean(2)[:426] / 255
    grey = pixels.reshape(213, 2, 320, 2).mean((1, 3))
    vertical, laplacian = np.array([[-1, 0, 1]] * 3), np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    sharpen = -laplacian + np.eye(3)[1][:, None] * np.eye(3)[1]
    kernels = {
        "blur": np.full((3, 3), 1 / 9), "sharpen": sharpen, "vertical edges": vertical,
        "horizontal edges": vertical.T, "all edges": laplacian,
    }  # fmt: skip
    expected = {name: np.abs(correlate2d(grey, kernel, "valid")).mean() for name, kernel in kernels.items()}
    assert numbers("filters")["mean of |output|"] == pytest.approx(expected, rel=1e-4)
    assert numbers("filters")["kernel"].keys() == kernels.keys()
    for name, rows in numbers("filters")["kernel"].items():
        assert np.array(rows) == pytest.approx(kernels[name])


def test_output_sizes_by_hand():
    assert numbers("sizes") == {
        "7 pixels": {"K 3": 5, "K 3, P 1": 7, "K 3, S 2": 3, "K 3, S 3, P 1": 3},
        "227, K 11, S 4": 55,
    }
    assert numbers("dilated") == {"10 pixels, K 3": {"D 1": 8, "D 2": 6, "D 4": 2}, "pixels read": [9, 9, 9]}


def test_parameter_counts_by_hand():
    assert numbers("weights") == {
        "AlexNet's first layer: weights": 34_848,
        "with biases": 34_944,
        "multiply-adds": 55 * 55 * 34_848,
        "two layers of 5 x 5, with biases": [520, 5_010],
        "784-30": 23_550,
        "over 10 maps": {"7 x 7": 49 * 100, "three 3 x 3": 27 * 100, "two 3 x 3": 18 * 100},
    }


def test_a_dense_layer_has_45_times_the_parameters_of_a_convolution():
    values = numbers("weights")
    assert round(values["784-30"] / values["two layers of 5 x 5, with biases"][0]) == 45


def test_receptive_fields_by_hand():
    """Two 3 x 3 convolutions add 4 strides and pooling adds 1; then the stride doubles: 1 + 5, + 10, + 20, + 40."""
    assert numbers("fields") == {
        "one, two, three 3 x 3": [3, 5, 7],
        "pool 1": 6,
        "pool 2": 16,
        "pool 3": 36,
        "pool 4": 76,
    }


def test_pooling_by_numpy():
    values = numbers("pooling")
    blocks = np.array(values["input"]).reshape(2, 2, 2, 2).transpose(0, 2, 1, 3).reshape(2, 2, 4)
    assert values["max"] == blocks.max(2).tolist()
    assert values["average"] == blocks.mean(2).tolist()
    assert np.array(values["L2"]) == pytest.approx(np.linalg.norm(blocks, axis=2), rel=1e-6)


def test_a_transposed_convolution_adds_up_kernels():
    expected, kernel = np.zeros((5, 5)), np.outer([1, 2, 1], [1, 2, 1])
    for (row, column), pixel in np.ndenumerate([[1, 2], [3, 4]]):
        expected[2 * row : 2 * row + 3, 2 * column : 2 * column + 3] += pixel * kernel
    assert numbers("transposed") == {"output": expected.tolist(), "equals dx of the convolution": True}


@pytest.mark.parametrize("way", WAYS)
def test_each_position_and_way_is_torchs(way: str):
    is_bright = np.arange(5) > 1
    picture = torch.tensor(np.where(np.outer(is_bright, is_bright), 8.0, 1.0))
    rows = ((-2.0, 3.0, 1.0), (0.0, 5.0, -4.0), (1.0, 1.0, 7.0))
    kernel = torch.tensor(rows, dtype=torch.float64)
    stride, padding, dilation = WAYS[way]
    expected = torch.nn.functional.conv2d(
        picture[None, None], kernel[None, None], stride=stride, padding=padding, dilation=dilation
    )
    for position in GUIDE.sliders["motion"][0].values:
        values = motion(LessonSettings(), position, way, rows).numbers
        assert values["output"] == expected[0, 0].tolist()
        assert np.sum(values["products"]) == values["their sum"] == expected.flatten()[position - 1]


def windows_in_a_row(size: int, kernel: int, stride: int = 1, padding: int = 0) -> int:
    return len([start for start in range(-padding, size + padding, stride) if start + kernel <= size + padding])


def test_sizes_and_copies_for_other_values():
    for kernel in (3, 4, 5):
        for stride in (1, 2, 3):
            for padding in (0, 1, 2):
                first_value, *_ = sizes(LessonSettings(), kernel, stride, padding).numbers["7 pixels"].values()
                assert first_value == windows_in_a_row(7, kernel, stride, padding)
    kernel = torch.tensor(np.outer([1.0, 2, 1], [1, 2, 1]))[None, None]
    image = torch.tensor([[1.0, 2], [3, 0]], dtype=torch.float64)[None, None]
    expected = torch.nn.functional.conv_transpose2d(image, kernel, stride=3)
    assert transposed(LessonSettings(), pixels=3, stride=3).numbers["output"] == expected[0, 0].tolist()


def test_the_answers_of_the_exercises():
    layer = torch.nn.Conv2d(3, 16, 3)
    two_layers = torch.nn.Sequential(torch.nn.Conv1d(1, 1, 3, dilation=2), torch.nn.Conv1d(1, 1, 3, dilation=2))
    x = torch.zeros(1, 1, 15, requires_grad=True)
    (dx,) = torch.autograd.grad(two_layers(x)[0, 0, 3], x)
    first_read, *_, last_read = dx[0, 0].nonzero()[:, 0].tolist()
    assert [exercise.answer for exercise in GUIDE.exercises] == [
        windows_in_a_row(32, 5, 2, 2),
        sum(parameter.numel() for parameter in layer.parameters()),
        last_read - first_read + 1,
    ]


def test_every_step_has_a_figure():
    assert all(isinstance(result.figure, Plot) and png(result.figure) for result in lesson_results().values())
