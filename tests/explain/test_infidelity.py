"""Infidelity and sensitivity beside Captum's, and on maps for which they are known."""

from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.explain import explain, input_x_gradient, saliency
from pellucid.explain.infidelity import infidelity, random_squares, sensitivity
from pellucid.layers import Dense, Flatten, Mode
from tests.explain.networks import network_and_batch
from tests.oracle import assert_close, normal, randomized
from tests.references import reference_forward

captum = pytest.mark.skipif(find_spec("captum") is None, reason="Captum is not installed: pip install captum")


class Reference(nn.Module):
    """A network of ours in plain PyTorch, as a module for Captum."""

    def __init__(self, net: Any, params: Any) -> None:
        super().__init__()
        self.net, self.params = net, params

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores."""
        return reference_forward(self.net, self.params, x, Mode())


@captum
@pytest.mark.parametrize("method", ["input_x_gradient", "gradcam", "occlusion", "lrp"])
@pytest.mark.parametrize("fill", [0.0, 0.3])
def test_infidelity_equals_captums_with_the_optimal_scale(method: str, fill: float) -> None:
    from captum.metrics import infidelity as captum_infidelity

    net, params, x = network_and_batch("vgg")
    target = torch.tensor([2, 0])
    map_ = explain(net, params, x, method, target)
    actual = infidelity(net, params, x, target, map_, fill, samples=20, seed=5, batch=7)
    squares = random_squares(20, 6, 6, 5).double()
    contributions = map_.expand_as(x) / (x.shape[1] if map_.shape[1] == 1 else 1)

    def perturb(inputs: Tensor, _baselines: Any = None) -> tuple[Tensor, Tensor]:
        masks = squares.repeat(len(x), 1, 1)[:, None].expand_as(inputs)  # 20 squares for each of the images
        return masks, inputs * (1 - masks) + fill * masks

    module = Reference(net, params)
    expected = captum_infidelity(module, perturb, x, contributions, target=target, n_perturb_samples=20, normalize=True)
    score = module(x).gather(1, target[:, None])
    hidden = squares[None, :, None]
    variants = x[:, None] * (1 - hidden) + fill * hidden  # (N, 20, C, H, W)
    scores = module(variants.flatten(0, 1)).view(2, 20, -1)[torch.arange(2), :, target]
    assert_close(actual.value, expected / ((score - scores) ** 2).mean(1), 1e-6)
    assert bool((actual.low <= actual.value).all())
    assert bool((actual.value <= actual.high).all())


@captum
def test_sensitivity_equals_captums_for_the_same_changes() -> None:
    from captum.metrics import sensitivity_max

    net, params, x = network_and_batch("resnet", examples=1)
    extent = float(x.max() - x.min())
    rng = torch.Generator().manual_seed(4)
    changes = [0.05 * extent * (2 * torch.rand(x.shape, generator=rng).double() - 1) for _ in range(6)]

    def perturb(inputs: Any) -> Tensor:
        return x + torch.cat(changes)

    def map_of(inputs: Tensor) -> Tensor:
        return saliency(net, params, inputs, 1, signed=True)

    def maps_of(inputs: Any) -> tuple[Tensor]:
        return (map_of(inputs[0] if isinstance(inputs, tuple) else inputs),)

    expected = sensitivity_max(maps_of, x, perturb, n_perturb_samples=6, norm_ord=2)
    assert_close(sensitivity(map_of, x, radius=0.05, samples=6, seed=4), expected, 1e-6)


def linear_network() -> tuple[Any, Any, Tensor]:
    net = Sequential(flat=Flatten(), scores=Dense(3))
    rng = torch.Generator().manual_seed(0)
    return net, randomized(net.init((2, 8, 8), rng)[0], rng), normal((2, 2, 8, 8), rng)


@pytest.mark.parametrize("scale", [1.0, -3.0, 1e-6])
def test_the_contributions_of_a_linear_network_predict_all_changes(scale: float) -> None:
    net, params, x = linear_network()
    result = infidelity(net, params, x, 1, scale * input_x_gradient(net, params, x, 1))
    for values in result:
        assert_close(values, torch.zeros(2).double(), 1e-12)


def test_maps_without_information_predict_nothing() -> None:
    net, params, x = linear_network()
    assert infidelity(net, params, x, 1, torch.zeros_like(x)).value.tolist() == [1.0, 1.0]
    noise = normal((2, 1, 8, 8), torch.Generator().manual_seed(9))
    value, low, high = infidelity(net, params, x, 1, noise, samples=400)
    assert bool((value > 0.5).all())
    assert bool(((high - low) < 0.4).all())
    constant = {"flat": {}, "scores": {"weight": 0 * params["scores"]["weight"], "bias": params["scores"]["bias"]}}
    assert bool(infidelity(net, constant, x, 1, noise).value.isnan().all())


def test_a_constant_map_is_not_sensitive_and_a_map_of_zeros_has_no_sensitivity() -> None:
    _, _, x = linear_network()
    assert sensitivity(torch.ones_like, x).tolist() == [0.0, 0.0]
    assert bool(sensitivity(torch.zeros_like, x).isnan().all())


def test_maps_of_another_size_and_wrong_options_are_refused() -> None:
    net, params, x = linear_network()
    with pytest.raises(PellucidError, match=r"a map of shape \(2, 1, 4, 4\) does not fit images \(2, 2, 8, 8\)"):
        infidelity(net, params, x, 1, torch.zeros(2, 1, 4, 4))
    with pytest.raises(PellucidError, match="samples"):
        infidelity(net, params, x, 1, torch.zeros_like(x), samples=1)
    with pytest.raises(PellucidError, match="radius"):
        sensitivity(torch.ones_like, x, radius=-1.0)


def test_the_interval_of_a_score_that_few_squares_change_has_bounds() -> None:
    net, params, x = linear_network()
    corner = torch.zeros(3, 2, 8, 8).double()
    corner[:, 0, 0, 0] = 1  # the score depends on this pixel only
    params = {"flat": {}, "scores": {"weight": corner.flatten(1), "bias": params["scores"]["bias"]}}
    result = infidelity(net, params, x, 1, normal((2, 1, 8, 8), torch.Generator().manual_seed(1)))
    assert all(bool(values.isfinite().all()) for values in result)
