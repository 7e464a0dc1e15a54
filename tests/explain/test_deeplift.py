"""DeepLIFT: sums, numbers computed by hand, max pooling by loops, and Captum (conformance/explanations)."""

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.base.errors import PellucidError
from pellucid.combine import Sequential
from pellucid.explain import deeplift, explain, scores
from pellucid.layers import (
    AvgPool2d,
    Conv2d,
    Dense,
    Flatten,
    Identity,
    Layer,
    LayerNorm,
    MaxPool2d,
    Mode,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)
from tests.explain.networks import NETWORKS, network_and_batch
from tests.oracle import assert_close, normal, randomized

WITHOUT_PRODUCTS = [name for name in NETWORKS if name != "gated"]


@pytest.mark.parametrize("name", WITHOUT_PRODUCTS)
@pytest.mark.parametrize("target", [None, 1, torch.tensor([2, 0])], ids=str)
def test_the_map_adds_up_to_the_increase_of_the_score(name: str, target: Any) -> None:
    net, params, x = network_and_batch(name)
    baseline = 0.1 * torch.ones_like(x)
    classes = net.forward(params, x, Mode())[0].argmax(1) if target is None else target
    increase = scores(net, params, x, classes) - scores(net, params, baseline, classes)
    assert_close(deeplift(net, params, x, target, baseline).flatten(1).sum(1), increase, 1e-11)


def test_slopes_are_those_of_the_secants() -> None:
    """y = w tanh(v x + b): the map is w (tanh(v x + b) - tanh(v x0 + b)) for one input."""
    net = Sequential(inner=Dense(1), tanh=Tanh(), outer=Dense(1, bias=False))
    params = {
        "inner": {"weight": torch.tensor([[1.5]]).double(), "bias": torch.tensor([-0.2], dtype=torch.float64)},
        "tanh": {},
        "outer": {"weight": torch.tensor([[-2.0]]).double()},
    }
    x = torch.tensor([[0.7], [-1.1], [0.4]], dtype=torch.float64)
    expected = -2 * (np.tanh(1.5 * x.numpy() - 0.2) - np.tanh(1.5 * 0.4 - 0.2))
    assert_close(deeplift(net, params, x, 0, 0.4), torch.from_numpy(expected), 1e-12)
    # where an input equals its baseline, the slope is the gradient, and the map 0
    assert float(deeplift(net, params, x, 0, 0.4)[2]) == 0


def pooled_contributions(x: np.ndarray, x0: np.ndarray, size: int, weights: np.ndarray) -> np.ndarray:
    """Return the contributions of the pixels (H, W) to Σ weights · max pooling, by loops over the windows."""
    result = np.zeros_like(x)
    for row in range(weights.shape[0]):
        for column in range(weights.shape[1]):
            window = np.s_[size * row : size * row + size, size * column : size * column + size]
            patch, patch0 = x[window], x0[window]
            here, there = (np.unravel_index(values.argmax(), values.shape) for values in (patch, patch0))
            larger = max(patch.max(), patch0.max())
            result[window][here] += weights[row, column] * (larger - patch0.max())
            result[window][there] += weights[row, column] * (patch.max() - larger)
    return result


def test_max_pooling_shares_the_change_between_the_two_maxima() -> None:
    rng = torch.Generator().manual_seed(3)
    net = Sequential(pool=MaxPool2d(2), flat=Flatten(), scores=Dense(1, bias=False))
    params = randomized(net.init((1, 6, 6), rng)[0], rng)
    x, baseline = normal((3, 1, 6, 6), rng), normal((3, 1, 6, 6), rng)
    weights = params["scores"]["weight"].view(3, 3).numpy()
    expected = np.stack([pooled_contributions(x[n, 0].numpy(), baseline[n, 0].numpy(), 2, weights) for n in range(3)])
    assert_close(deeplift(net, params, x, 0, baseline)[:, 0], torch.from_numpy(expected), 1e-12)


@pytest.mark.skipif(find_spec("captum") is None, reason="Captum is not installed: pip install captum")
@pytest.mark.filterwarnings("ignore")  # Captum warns about its hooks
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ((AvgPool2d(2), Tanh()), (nn.AvgPool2d(2), nn.Tanh())),
        ((AvgPool2d(2), Sigmoid()), (nn.AvgPool2d(2), nn.Sigmoid())),
        ((AvgPool2d(2), ReLU()), (nn.AvgPool2d(2), nn.ReLU())),
        # Captum's map does not add up where max pooling has a nonlinearity before or after it.
        ((MaxPool2d(2), Identity()), (nn.MaxPool2d(2), nn.Identity())),
    ],
    ids=str,
)
def test_captum_gives_the_same_map(ours: tuple[Layer, Layer], theirs: tuple[nn.Module, nn.Module]) -> None:
    from captum.attr import DeepLift

    rng = torch.Generator().manual_seed(0)
    net = Sequential(conv=Conv2d(4, 3), pool=ours[0], act=ours[1], flat=Flatten(), scores=Dense(3))
    params = randomized(net.init((2, 8, 8), rng)[0], rng)
    module = nn.Sequential(nn.Conv2d(2, 4, 3), *theirs, nn.Flatten(), nn.Linear(36, 3)).double()
    module[0].load_state_dict(params["conv"])
    module[4].load_state_dict(params["scores"])
    x, baseline = normal((3, 2, 8, 8), rng), normal((3, 2, 8, 8), rng)
    target = torch.tensor([0, 2, 1])
    expected = DeepLift(module).attribute(x.clone(), baselines=baseline, target=target).detach()
    assert_close(deeplift(net, params, x, target, baseline), expected, 1e-9)


@pytest.mark.parametrize("layer", [LayerNorm(), Softmax()], ids=lambda layer: type(layer).__name__)
def test_layers_without_a_rule_are_refused_by_name(layer: Layer) -> None:
    net = Sequential(flat=Flatten(), hidden=Dense(4), extra=layer, scores=Dense(3))
    params, _ = net.init((2, 4, 4), torch.Generator().manual_seed(0))
    with pytest.raises(PellucidError, match=f"deeplift has no rule for extra .{type(layer).__name__}."):
        deeplift(net, params, torch.rand(2, 2, 4, 4), 0)


def test_products_and_wrong_baselines_are_refused() -> None:
    net, params, x = network_and_batch("gated")
    with pytest.raises(PellucidError, match=r"no rule for gate.merge \(Multiply\)"):
        explain(net, params, x, "deeplift", 0)
    net, params, x = network_and_batch("vgg")
    baseline: Any
    for baseline in (torch.zeros(5), float("nan"), "grey"):
        with pytest.raises(PellucidError, match="deeplift: baseline must be"):
            deeplift(net, params, x, 0, baseline)


def test_layers_after_the_target_need_no_rule() -> None:
    net, params, x = network_and_batch("vgg")
    whole = Sequential(body=net, probabilities=Softmax())
    map_: Tensor = deeplift(whole, {"body": params, "probabilities": {}}, x, "body.scores[1]")
    assert_close(map_, deeplift(net, params, x, 1), 1e-12)


class Opened(nn.Module):
    """A network of operators: weights that are inputs of a convolution, a learned scale, PReLU, a 1-D convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 4, 3)
        self.scale = nn.Parameter(torch.tensor([[1.5], [-0.5], [2.0], [0.7]]))
        self.act = nn.PReLU(4)
        self.scores = nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores."""
        return self.scores(self.act(self.conv(x) * self.scale / 1.3).sigmoid().flatten(1))


def test_operators_with_constant_factors_are_affine() -> None:
    torch.manual_seed(0)
    module = Opened().double()
    model = pellucid.open(module, torch.rand(2, 2, 8).double())
    x, baseline = normal((3, 2, 8), torch.Generator().manual_seed(1)), 0.25
    map_ = deeplift(model.net, model.params, x, 2, baseline)
    with torch.no_grad():
        increase = module(x)[:, 2] - module(torch.full_like(x, baseline))[:, 2]
    assert_close(map_.flatten(1).sum(1), increase, 1e-12)


def test_several_inputs_have_a_map_each() -> None:
    class TwoInputs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right, self.scores = nn.Linear(5, 6), nn.Linear(4, 6), nn.Linear(6, 3)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.scores(torch.tanh(self.left(a) + self.right(b)))

    torch.manual_seed(0)
    module = TwoInputs().double()
    xs = (torch.randn(2, 5).double(), torch.randn(2, 4).double())
    model = pellucid.open(module, xs)
    maps = explain(model.net, model.params, xs, "deeplift", 1)
    with torch.no_grad():
        increase = module(*xs)[:, 1] - module(*map(torch.zeros_like, xs))[:, 1]
    assert [map_.shape for map_ in maps] == [x.shape for x in xs]
    assert_close(sum(map_.sum(1) for map_ in maps), increase, 1e-12)


@pytest.mark.parametrize(
    "target", ["conv2[1]", (lambda y: y.square().sum(1), lambda y: 2 * y)], ids=["unit", "function"]
)
def test_scores_that_are_other_sums_for_the_baseline_are_refused(target: Any) -> None:
    net, params, x = network_and_batch("vgg")
    baseline = normal(x.shape, torch.Generator().manual_seed(5))
    with pytest.raises(PellucidError, match="the same weighted sum of outputs for x and the baseline"):
        deeplift(net, params, x, target, baseline)
    whole = deeplift(net, params, x, "conv2[1, :, :]", baseline)
    increase = scores(net, params, x, "conv2[1, :, :]") - scores(net, params, baseline, "conv2[1, :, :]")
    assert_close(whole.flatten(1).sum(1), increase, 1e-11)


def test_detached_values_count_by_their_difference() -> None:
    class Detached(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.scores = nn.Linear(5, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = self.hidden(x)
            return self.scores(torch.relu(h) + h.detach())

    torch.manual_seed(0)
    module = Detached().double()
    x = torch.randn(3, 5).double()
    model = pellucid.open(module, x)
    with torch.no_grad():
        increase = module(x)[:, 1] - module(torch.zeros_like(x))[:, 1]
    assert_close(deeplift(model.net, model.params, x, 1).sum(1), increase, 1e-12)


@pytest.mark.parametrize("method", ["deeplift", "occlusion", "integrated_gradients", "scorecam"])
def test_an_empty_batch_is_refused(method: str) -> None:
    net, params, x = network_and_batch("vgg")
    with pytest.raises(PellucidError, match="the batch is empty; give at least one example"):
        explain(net, params, x[:0], method, 1)
