"""SmoothGrad: means, squares and variances over noise of a known standard deviation."""

from typing import Any

import pytest
import torch

from pellucid.base.errors import PellucidError
from pellucid.combine import Parallel, Sequential
from pellucid.explain import explain, saliency, smoothgrad
from pellucid.layers import Dense, Flatten, Identity, Multiply
from tests.explain.networks import network_and_batch
from tests.oracle import assert_close


def test_smoothgrad_without_noise_is_the_gradient() -> None:
    net, params, x = network_and_batch("vgg")
    gradient = saliency(net, params, x, 1, signed=True)
    assert_close(smoothgrad(net, params, x, 1, samples=3, noise=0.0), gradient, 1e-12)
    assert_close(smoothgrad(net, params, x, 1, samples=3, noise=0.0, kind="square"), gradient**2, 1e-12)
    assert_close(smoothgrad(net, params, x, 1, samples=3, noise=0.0, kind="variance"), 0 * gradient, 1e-12)


def test_the_standard_deviation_of_the_noise_is_relative_to_each_images_range() -> None:
    """The gradient of sum x^2 is 2 x: under noise of standard deviation s, its mean is 2 x, its variance 4 s^2."""
    net = Sequential(square=Parallel((Identity(), Identity()), Multiply()), flat=Flatten(), sum=Dense(1, bias=False))
    params = {
        "square": {"identity1": {}, "identity2": {}, "merge": {}},
        "flat": {},
        "sum": {"weight": torch.ones(1, 400).double()},
    }
    x = torch.linspace(0, 1, 400).double().view(1, 400)
    x = torch.cat((x, 3 * x - 1))
    mean, square, variance = (
        smoothgrad(net, params, x, 0, samples=400, noise=0.2, kind=kind) for kind in ("mean", "square", "variance")
    )
    assert_close((mean - 2 * x).mean(1), torch.zeros(2).double(), 5e-3)
    for n, span in enumerate((1.0, 3.0)):
        expected = 4 * (0.2 * span) ** 2
        assert float(variance[n].mean()) == pytest.approx(expected, rel=0.02)
        assert float(mean[n].sub(2 * x[n]).var()) == pytest.approx(expected / 400, rel=0.3)
    assert_close(square, variance + mean**2, 1e-12)


@pytest.mark.parametrize("method", ["gradcam", "guided_backprop", "lrp", "occlusion"])
def test_the_maps_of_any_method_are_averaged(method: str) -> None:
    """The same noise, drawn here, one noisy copy explained at a time."""
    net, params, x = network_and_batch("vgg")
    target = torch.tensor([1, 2])
    rng = torch.Generator().manual_seed(7)
    deviations = [0.1 * float(image.max() - image.min()) for image in x]
    normal = torch.randn((2 * 3, *x.shape[1:]), generator=rng).double().view(2, 3, *x.shape[1:])
    maps = [
        [explain(net, params, x[n : n + 1] + deviations[n] * noise, method, target[n : n + 1]) for noise in normal[n]]
        for n in range(2)
    ]
    expected = torch.cat([torch.stack(image_maps).mean(0) for image_maps in maps])
    actual = explain(net, params, x, "smoothgrad", target, of=method, samples=3, noise=0.1, seed=7)
    assert_close(actual, expected, 1e-11)
    squares = torch.cat([torch.stack(image_maps).square().mean(0) for image_maps in maps])
    actual = explain(net, params, x, "smoothgrad", target, of=method, samples=3, noise=0.1, seed=7, kind="square")
    assert_close(actual, squares, 1e-11)


def test_a_seed_gives_the_same_noise_in_every_dtype() -> None:
    net, params, x = network_and_batch("vgg", examples=1)
    attribution = smoothgrad(net, params, x, 0, samples=5, seed=3)
    assert torch.equal(attribution, smoothgrad(net, params, x, 0, samples=5, seed=3))
    assert not torch.equal(attribution, smoothgrad(net, params, x, 0, samples=5, seed=4))
    params32 = {
        name: {key: value.float() for key, value in layer_params.items()} for name, layer_params in params.items()
    }
    assert_close(smoothgrad(net, params32, x.float(), 0, samples=5, seed=3), attribution, 1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "median"}, "kind must be one of mean, square, variance"),
        ({"samples": 0}, "samples must be a whole number"),
        ({"noise": -0.1}, "noise must be a number of at least 0"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, Any], message: str) -> None:
    net, params, x = network_and_batch("vgg")
    with pytest.raises(PellucidError, match=message):
        smoothgrad(net, params, x, 0, **options)


def test_a_batch_without_examples_is_reported() -> None:
    net, params, x = network_and_batch("vgg")
    with pytest.raises(PellucidError, match="smoothgrad: the batch is empty"):
        smoothgrad(net, params, x[:0], 0)


def test_targets_that_are_no_classes_are_reported() -> None:
    net, params, x = network_and_batch("vgg")
    for target in (["a", "b"], [0, 1, 2]):
        with pytest.raises(PellucidError, match="target must be a class, one for each of 2 examples"):
            smoothgrad(net, params, x, target)  # type: ignore[arg-type]
