"""DeconvNet against the operations of Zeiler and Fergus 2014 written out by hand."""

import torch
from torch.nn import functional as F

from pellucid.combine import Sequential
from pellucid.explain import deconvnet
from pellucid.layers import GELU, Conv2d, Dense, Flatten, LocalContrastNorm, MaxPool2d, ReLU
from tests.oracle import assert_close, normal, randomized

NET = Sequential(
    conv1=Conv2d(3, 3, padding=1),
    relu1=ReLU(),
    pool1=MaxPool2d(2),
    norm1=LocalContrastNorm(3),
    conv2=Conv2d(4, 3),
    relu2=ReLU(),
    flat=Flatten(),
    scores=Dense(3),
)


def test_a_map_is_reconstructed_from_its_strongest_activation() -> None:
    rng = torch.Generator().manual_seed(0)
    params = randomized(NET.init((2, 8, 8), rng)[0], rng)
    x = normal((2, 2, 8, 8), rng)

    a1 = torch.relu(F.conv2d(x, params["conv1"]["weight"], params["conv1"]["bias"], padding=1))
    pooled, switches = F.max_pool2d(a1, 2, return_indices=True)
    normed, _ = LocalContrastNorm(3).forward({}, pooled, None)  # type: ignore[arg-type]
    a2 = torch.relu(F.conv2d(normed, params["conv2"]["weight"], params["conv2"]["bias"]))

    for index in range(4):
        top = torch.zeros_like(a2)
        for n in range(2):
            position = int(a2[n, index].argmax())
            top[n, index].view(-1)[position] = a2[n, index].flatten()[position]
        backprojected = F.conv_transpose2d(
            torch.relu(top), params["conv2"]["weight"]
        )  # the backward projection skips contrast normalization
        backprojected = F.max_unpool2d(backprojected, switches, 2)
        expected = F.conv_transpose2d(torch.relu(backprojected), params["conv1"]["weight"], padding=1)
        assert_close(deconvnet(NET, params, x, f"relu2[{index}]"), expected, 1e-12)


def test_the_reconstruction_is_proportional_to_the_activation() -> None:
    rng = torch.Generator().manual_seed(1)
    params = randomized(NET.init((2, 8, 8), rng)[0], rng)
    x = normal((1, 2, 8, 8), rng)
    ones, values = (deconvnet(NET, params, x, "relu2[2]", activation=flag) for flag in (False, True))
    ratio = values[ones != 0] / ones[ones != 0]
    assert_close(ratio, ratio.mean().expand(ratio.shape), 1e-12)
    assert float(ratio.mean()) > 0


def test_gelu_rectifies_the_backprojected_signal_as_relu_does() -> None:
    rng = torch.Generator().manual_seed(2)
    net = Sequential(conv1=Conv2d(3, 3), gelu=GELU(), conv2=Conv2d(2, 3))
    params = randomized(net.init((1, 7, 7), rng)[0], rng)
    top = torch.zeros(1, 2, 3, 3, dtype=torch.float64)
    top[0, 1, 1, 2] = 1
    backprojected = torch.relu(F.conv_transpose2d(top, params["conv2"]["weight"]))
    result = deconvnet(net, params, normal((1, 1, 7, 7), rng), "conv2[1, 1, 2]", activation=False)
    assert_close(result, F.conv_transpose2d(backprojected, params["conv1"]["weight"]), 1e-12)


def test_the_deconvolution_of_a_class_starts_with_1() -> None:
    rng = torch.Generator().manual_seed(3)
    params = randomized(NET.init((2, 8, 8), rng)[0], rng)
    params["scores"]["bias"] -= 100
    x = normal((1, 2, 8, 8), rng)
    a1 = torch.relu(F.conv2d(x, params["conv1"]["weight"], params["conv1"]["bias"], padding=1))
    switches = F.max_pool2d(a1, 2, return_indices=True)[1]
    for index in range(3):
        backprojected = torch.relu(params["scores"]["weight"][index].view(1, 4, 2, 2))
        backprojected = F.max_unpool2d(F.conv_transpose2d(backprojected, params["conv2"]["weight"]), switches, 2)
        expected = F.conv_transpose2d(torch.relu(backprojected), params["conv1"]["weight"], padding=1)
        assert_close(deconvnet(NET, params, x, index), expected, 1e-12)
        assert_close(deconvnet(NET, params, x, [index], activation=False), expected, 1e-12)
