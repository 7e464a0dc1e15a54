"""Layers used twice: relevance equals explicit matrices; Captum's and Zennit's hooks store one input a module."""

from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conformance.explanations import reuse
from conformance.explanations.networks import Pair
from conformance.explanations.zennit_import import zennit as load_zennit
from pellucid.combine import Graph, Sequential
from pellucid.explain import guided_backprop, lrp
from pellucid.layers import Add, BatchNorm, Conv2d, Dense, Flatten, Layer, Mode, ReLU
from pellucid.rules import fold
from tests.oracle import assert_close, difference
from tests.references import reference_forward
from tests.rules import dense

captum = pytest.mark.skipif(find_spec("captum") is None, reason="Captum is not installed: pip install captum")
zennit = pytest.mark.skipif(find_spec("zennit") is None, reason="Zennit is not installed: pip install zennit")

pytestmark = pytest.mark.filterwarnings("ignore")  # Captum and Zennit warn about their own hooks

EPSILON = 1e-6
# Zennit's composite -> (rule of convolutions, rule of the use of the convolution that reads the input)
RULES: dict[str, tuple[Any, Any]] = {
    "EpsilonPlus": (dense.z_plus_rule(EPSILON), dense.z_plus_rule(EPSILON)),
    "EpsilonPlusFlat": (dense.z_plus_rule(EPSILON), dense.flat_rule(EPSILON)),
    "EpsilonAlpha2Beta1": (dense.alpha_beta_rule(2, 1, EPSILON), dense.alpha_beta_rule(2, 1, EPSILON)),
}


def small_pair() -> Pair:
    """Return the network with a reused layer and one image, small enough for explicit matrices."""
    pair = reuse.reused_pair()
    return Pair(pair.family, pair.params, pair.module, pair.x[:1], pair.target[:1])


def relevance_by_matrices(pair: Pair, rule: Any, input_rule: Any) -> Tensor:
    """Return the relevance by explicit matrices, one for each use of the convolution."""

    def leaf(path: str, layer: Layer, params: Any, x: Any, y: Any, r: Tensor) -> Any:
        if isinstance(layer, Conv2d):
            return dense.relevance_by_matrix(input_rule if torch.equal(x, pair.x) else rule, layer, params, x, r)
        if isinstance(layer, ReLU | Flatten):
            return r.view(x.shape)
        return dense.relevance_by_matrix(dense.epsilon_rule(EPSILON), layer, params, x, r)

    y = reference_forward(pair.net, pair.params, pair.x, Mode())
    output_relevance = y * F.one_hot(pair.target, y.shape[1])
    return dense.relevance_of(pair.net, pair.params, pair.x, output_relevance, leaf)


@pytest.mark.slow
@zennit
@pytest.mark.parametrize("name", RULES)
def test_zennit_computes_both_uses_with_the_input_of_the_second(name: str) -> None:
    pair = small_pair()
    _, ours, theirs = reuse.zennit_methods()[name]
    expected = relevance_by_matrices(pair, *RULES[name])
    assert_close(ours(pair), expected, 1e-9)
    assert_close(theirs(reuse.unrolled_pair(pair)), expected, 1e-9)
    assert difference(theirs(pair), expected) > 1e-3  # a different map, without an error or warning


@pytest.mark.slow
@captum
def test_captum_refuses_a_layer_used_twice() -> None:
    pair = small_pair()
    _, ours, theirs = reuse.captum_methods()["LRP"]
    rule = dense.epsilon_rule(1e-9)
    with pytest.raises(RuntimeError, match="being used more than once"):
        theirs(pair)
    assert_close(ours(pair), relevance_by_matrices(pair, rule, rule), 1e-6)


class Functional(nn.Module):
    """The same network with F.relu instead of modules, as in most ResNet code."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        net = self.net
        return net.scores(net.flatten(net.mean(F.relu(net.conv(F.relu(net.conv(x)))))))


@captum
def test_captum_does_not_guide_rectifiers_that_are_functions() -> None:
    from captum.attr import GuidedBackprop, Saliency

    pair = small_pair()
    module = Functional(pair.module)
    result = GuidedBackprop(module).attribute(pair.x.clone(), target=pair.target).detach()
    gradient = Saliency(module).attribute(pair.x.clone(), pair.target, abs=False).detach()
    guided = GuidedBackprop(pair.module).attribute(pair.x.clone(), target=pair.target).detach()
    assert torch.equal(result, gradient)
    assert_close(guided_backprop(pair.net, pair.params, pair.x, pair.target), guided, 1e-12)
    assert difference(guided, gradient) > 1e-3


@captum
def test_captum_assigns_all_relevance_to_both_inputs_of_a_sum() -> None:
    """For y = w (x + x2), Captum assigns all relevance to each input, twice the score in total; `lrp` shares it."""
    from captum.attr import LRP

    class Plus(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scores = nn.Linear(3, 2, bias=False).double()

        def forward(self, x: Tensor, x2: Tensor) -> Tensor:
            return self.scores(x + x2)

    module = Plus()
    net = Graph({"sum": (Add(), "x", "x2"), "scores": (Dense(2, bias=False), "sum")}, ("scores",), ("x", "x2"))
    params = {"sum": {}, "scores": {"weight": module.scores.weight.detach().clone()}}
    xs = torch.tensor([[1.0, 2.0, 3.0]]).double(), torch.tensor([[3.0, 1.0, 2.0]]).double()
    score = float(net.forward(params, xs, Mode())[0][0, 1])
    theirs = LRP(module).attribute(tuple(x.clone() for x in xs), target=1)
    assert float(sum(part.sum() for part in theirs).detach()) == pytest.approx(2 * score, rel=1e-6)
    ours = lrp(net, params, xs, 1, "epsilon")
    assert float(sum(part.sum() for part in ours)) == pytest.approx(score, rel=1e-4)
    assert_close(ours[0] / ours[1], xs[0] / xs[1], 1e-6)


@zennit
def test_zennits_merged_batch_normalization_still_divides() -> None:
    """The merged layer of Zennit divides by sqrt(1 + epsilon) and changes the outputs; `fold` keeps them."""
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 5, 5, generator=rng, dtype=torch.float64)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).double().train(False)
    params: dict[str, Any] = {"conv": {}, "norm": {}}
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            index, leaf = name.split(".")
            params[("conv", "norm")[int(index)]][leaf] = value.clone()
    with torch.no_grad():
        before = module(x)
        merged = load_zennit().canonizers.SequentialMergeBatchNorm().apply(module)
        after = module(x)
    assert len(merged) == 1
    assert_close(after, before / (1 + 1e-5) ** 0.5, 1e-12)
    net, values = fold(Sequential(conv=Conv2d(4, 3), norm=BatchNorm()), params)
    assert_close(net.forward(values, x, Mode())[0], before, 1e-14)
