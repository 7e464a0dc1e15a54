"""Invalid arguments and inputs of layers raise PellucidError with a message that names the layer and a remedy."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pellucid import layers
from pellucid.base.errors import PellucidError
from pellucid.layers import Layer, Mode


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: layers.Dense(0), "Dense: units must be a whole number of at least 1, not 0"),
        (lambda: layers.Dense((3, 4)), "units must be a whole number"),
        (lambda: layers.Dense(2.0), "not 2.0"),
        (lambda: layers.Dense(True), "not True"),
        (lambda: layers.Dense(3, init_weight="xavir"), "did you mean 'xavier'"),
        (lambda: layers.Conv2d(3, (3, 0)), r"Conv2d: kernel must be .* not \(3, 0\)"),
        (lambda: layers.Conv2d(3, (3, 3, 3)), "kernel"),
        (lambda: layers.Conv2d(3, 3, padding=-1), "padding must be a whole number of at least 0"),
        (lambda: layers.Conv2d(3, 3, padding="sane"), "padding"),
        (lambda: layers.Conv2d(3, 3, stride=2, padding="same"), "needs stride 1"),
        (lambda: layers.Conv2d(3, 3, groups=2), "filters=3 is not a multiple of groups=2"),
        (lambda: layers.ConvTranspose2d(3, 3, output_padding=1), "output_padding=1 must be smaller"),
        (lambda: layers.ConvTranspose2d(3, 3, groups=2), "not a multiple"),
        (lambda: layers.MaxPool2d(2, padding=2), "padding=2 is more than half of kernel=2"),
        (lambda: layers.MaxPool2d(2, stride=0), "stride"),
        (lambda: layers.AvgPool2d(3, padding=(1, 2)), "more than half"),
        (lambda: layers.AvgPool2d(3, dilation=0), "dilation must be a whole number of at least 1"),
        (lambda: layers.LpPool2d(3, dilation=(2, 0)), r"LpPool2d: dilation must be .* not \(2, 0\)"),
        (lambda: layers.LpPool2d(2, p=0.5), "p must be a number from 1.0, not 0.5"),
        (lambda: layers.AdaptiveAvgPool2d((2, 0)), "size"),
        (lambda: layers.MaxUnpool2d(2, size=(0, 3)), "size"),
        (lambda: layers.MaxUnpool2d(2, size=5), r"size must be a pair \(height, width\), not 5"),
        (lambda: layers.Conv2d(3, [3, 3]), r"or a pair of them, \(height, width\), for a window\), not \[3, 3\]"),
        (lambda: layers.Conv2d((3, 3), 3), r"filters must be a whole number of at least 1, not \(3, 3\)"),
        (lambda: layers.Dense(784, 30), "bias must be True or False, not 30; the input size is not an argument"),
        (lambda: layers.Conv2d(3, 3, bias=1), "bias must be True or False, not 1"),
        (lambda: layers.Reshape(12), "must be a tuple without the batch axis, not 12"),
        (lambda: layers.Reshape((3, -2)), "not -2"),
        (lambda: layers.Reshape((-1, 3, -1)), "one size can be -1, not several"),
        (lambda: layers.Reshape((-1.0,)), "not -1.0"),
        (lambda: layers.Pad2d(1, kind="mirror"), "one of zero, constant, reflect, replicate, circular, not 'mirror'"),
        (lambda: layers.Pad2d((1, 2)), r"\(left, right, top, bottom\)"),
        (lambda: layers.Pad2d(0.5), "padding must be whole numbers, not 0.5"),
        (lambda: layers.Pad2d((1, 2, True, 0)), "whole numbers"),
        (lambda: layers.Pad2d(1, kind="constant", value=float("inf")), "finite number, not inf"),
        (lambda: layers.Pad2d(1, value=0.5), "value=0.5 has an effect only for kind='constant'"),
        (lambda: layers.PadChannels(-1, 2), "whole numbers of at least 0, not -1 and 2"),
        (lambda: layers.PadChannels(0, (1, 2)), r"not 0 and \(1, 2\)"),
        (lambda: layers.PadChannels(True, 0), "not True and 0"),
        (layers.Upsample, "either scale or size"),
        (lambda: layers.Upsample(2, size=4), "either scale or size"),
        (lambda: layers.Upsample(0), "scale must be finite and above 0, or two such numbers, not 0"),
        (lambda: layers.Upsample((2.0, float("inf"))), "scale"),
        (lambda: layers.Upsample((2, 2, 2)), r"not \(2, 2, 2\)"),
        (lambda: layers.Upsample("2"), "not '2'"),
        (lambda: layers.Upsample(2, kind="bilinaer"), "did you mean 'bilinear'"),
        (lambda: layers.Upsample(2, align_corners=True), "align_corners"),
        (lambda: layers.Upsample(0.5, antialias=True), "antialias has an effect only for kind='bilinear'"),
        (lambda: layers.Upsample(0.5, None, "bicubic", True, True), "antialias and align_corners cannot be combined"),
        (lambda: layers.LeakyReLU(-0.1), "slope must be a number from 0.0, not -0.1"),
        (lambda: layers.LeakyReLU(float("nan")), "not nan"),
        (lambda: layers.ELU("1"), "not '1'"),
        (lambda: layers.GELU("erf"), "approximate must be one of none, tanh"),
        (lambda: layers.Softmax(0), "axis"),
        (lambda: layers.Dropout(1.0), "drops every value"),
        (lambda: layers.Dropout(1.5), "rate must be a number from 0.0 to 1.0, not 1.5"),
        (lambda: layers.BatchNorm(momentum=2), "momentum"),
        (lambda: layers.GroupNorm(0), "groups"),
        (lambda: layers.LayerNorm(shape=5), "must be a tuple"),
        (lambda: layers.LocalResponseNorm(0), "size"),
        (lambda: layers.LocalContrastNorm(4), "odd size"),
        (lambda: layers.Concat(axis=0), "axis"),
    ],
)
def test_invalid_hyperparameters_are_refused(build: Callable[[], Layer], message: str) -> None:
    with pytest.raises(PellucidError, match=message) as error_info:
        build()
    assert "\n" not in str(error_info.value)


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (layers.Dense(3), (), "not scalars"),
        (layers.Dense(3), (4, 9, 9), r"not images of shape \(4, 9, 9\); put Flatten before it"),
        (layers.Conv2d(3, 3), (28, 28), r"add a channel axis to grey images, x\[:, None\]"),
        (layers.Conv2d(3, 3), (10,), r"images of shape \(channels, height, width\), not \(10,\)"),
        (layers.Conv2d(3, 3), (1, 2, 9), "smaller than the window along its height"),
        (layers.Conv2d(4, 3, groups=2), (3, 9, 9), "3 input channels are not a multiple of groups=2"),
        (layers.ConvTranspose2d(3, 1, padding=2), (1, 3, 9), "along its height"),
        (layers.ConvTranspose2d(4, 3, groups=2), (3, 9, 9), "not a multiple"),
        (layers.MaxPool2d(3), (1, 9, 2), "smaller than the window along its width"),
        (layers.MaxPool2d(2, stride=2, padding=1, dilation=2), (1, 5, 1), "falls between the pixels of a window"),
        (layers.AvgPool2d(3), (4, 4), "images"),
        (layers.AvgPool2d(3, dilation=2), (1, 9, 4), "smaller than the window along its width"),
        (layers.AvgPool2d(2, padding=1, dilation=2, count_include_pad=False), (1, 1, 5), "falls between the pixels"),
        (layers.LpPool2d(5), (1, 4, 4), "smaller"),
        (layers.LpPool2d(3, dilation=2), (1, 4, 9), "smaller than the window along its height"),
        (layers.MaxUnpool2d(2), ((1, 3, 3), (1, 3, 4)), "inputs of the same shape"),
        (layers.MaxUnpool2d(2), (1, 3, 3), "tuple"),
        (layers.Reshape((5, 2)), (3, 3), r"\(3, 3\) has 9 values, but \(5, 2\) has 10"),
        (layers.Reshape((-1, 4)), (3, 3), r"\(3, 3\) has 9 values, but \(-1, 4\) has a multiple of 4"),
        (layers.Pad2d((0, 3, 0, 0), kind="reflect"), (1, 5, 3), "must be smaller than the image"),
        (layers.Pad2d((0, 0, 0, 4), kind="circular"), (1, 3, 3), "wraps around an image of 3x3 more than once"),
        (layers.Pad2d((-2, 3, 0, 0), kind="circular"), (1, 3, 4), "more than once"),
        (layers.Pad2d((-2, -1, 0, 0)), (1, 5, 3), "crops all of an image of 5x3"),
        (layers.Pad2d((0, 0, -4, 9)), (1, 3, 3), "crops all"),
        (layers.PadChannels(0, 2), (5,), "PadChannels takes images"),
        (layers.Upsample(0.2), (1, 4, 9), "reduces an image of 4x9 to nothing"),
        (layers.Softmax(axis=2), (5,), r"\(N, 5\) have no axis 2"),
        (layers.BatchNorm(), (3, 4), r"not \(3, 4\)"),
        (layers.InstanceNorm2d(), (3, 1, 1), "one pixel"),
        (layers.GroupNorm(2), (3, 4, 4), "no multiple of groups=2"),
        (layers.GroupNorm(4), (4,), "each group of"),
        (layers.LayerNorm(shape=(4,)), (3, 5), r"does not end in shape=\(4,\)"),
        (layers.LayerNorm(), (1,), "variance is 0"),
        (layers.Add(), ((3, 4), (3, 5)), "two or more inputs of the same shape"),
        (layers.Add(), ((3, 4),), "two or more"),
        (layers.Multiply(), ((3,), (3, 1)), "two or more"),
        (layers.Concat(), ((2, 3, 4), (2, 3, 5)), "may differ only along axis 1"),
        (layers.Concat(), ((2, 3, 4), (2, 3)), "differ"),
        (layers.Concat(axis=4), ((2, 3, 4), (2, 3, 4)), "no axis 4"),
        (layers.Concat(), (2, 3, 4), "two or more inputs"),
        (layers.Crop(), (2, 3, 4), "two images"),
        (layers.Crop(), ((2, 3, 4), (2, 3)), "two images"),
        (layers.Crop(), ((2, 3, 4), (2, 3, 5)), "3x4 cannot be cropped to 3x5"),
    ],
)
def test_input_shapes_that_do_not_fit_are_refused(layer: Layer, shape: Any, message: str) -> None:
    with pytest.raises(PellucidError, match=message) as error_info:
        layer.init(shape, torch.Generator())
    assert "\n" not in str(error_info.value)


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1), (0, 3)])
def test_batch_norm_cannot_train_on_one_value_per_channel(shape: tuple[int, ...]) -> None:
    layer = layers.BatchNorm()
    params, _ = layer.init(shape[1:], torch.Generator())
    with pytest.raises(PellucidError, match="one value per channel"):
        layer.forward(params, torch.zeros(shape), Mode(train=True))
    assert layer.forward(params, torch.zeros(shape), Mode())[0].shape == shape


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("train", [False, True])
def test_batch_norm_refuses_the_channels_of_another_network(channels: int, train: bool) -> None:
    """PyTorch's kernel does not check this and would read past the end of the parameters."""
    params, _ = layers.BatchNorm().init((3, 4, 4), torch.Generator())
    with pytest.raises(PellucidError, match=r"with parameters for 3 channels received .* \(5, \d, 4, 4\)"):
        layers.BatchNorm().forward(params, torch.zeros(5, channels, 4, 4), Mode(train=train))


@pytest.mark.parametrize("kind", [layers.Conv2d, layers.ConvTranspose2d])
def test_positional_arguments_in_pytorchs_order_are_refused(kind) -> None:
    with pytest.raises(
        PellucidError,
        match=r"too many positional arguments; it takes filters, kernel, .*; leave out the input",
    ):
        kind(1, 4, 3)
    assert kind(4, 3, stride=1).filters == 4


def test_dropout_without_a_generator_is_refused_in_training_only() -> None:
    with pytest.raises(PellucidError, match="rng=generator"):
        layers.Dropout().forward({}, torch.ones(2, 3), Mode(train=True))
    assert layers.Dropout().forward({}, torch.ones(2, 3), Mode())[0].equal(torch.ones(2, 3))


def test_max_pooling_of_a_window_in_the_padding_is_refused_in_the_forward_pass() -> None:
    layer = layers.MaxPool2d(2, stride=2, padding=1, dilation=2)
    layer.init((1, 5, 5), torch.Generator())
    with pytest.raises(PellucidError, match="along its width of 1"):
        layer.forward({}, torch.zeros(1, 1, 5, 1), Mode())


def test_average_pooling_of_a_window_in_the_padding_is_refused_in_the_forward_pass() -> None:
    layer = layers.AvgPool2d(2, stride=2, padding=1, dilation=2, count_include_pad=False)
    layer.init((1, 5, 5), torch.Generator())
    with pytest.raises(PellucidError, match="along its width of 1"):
        layer.forward({}, torch.zeros(1, 1, 5, 1), Mode())
