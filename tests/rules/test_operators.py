"""Rules for products, attention, softmax and norms against gradients of functions with detached parts."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.combine import Graph, Parallel
from pellucid.explain import lrp
from pellucid.explain.layout import check_has_rules
from pellucid.layers import (
    Add,
    GroupNorm,
    InstanceNorm2d,
    LayerNorm,
    LocalResponseNorm,
    Mode,
    Multiply,
    Sigmoid,
    Softmax,
    Trait,
)
from pellucid.operators import (
    Attention,
    Einsum,
    Fixed,
    Learned,
    MatMul,
    NormalizeChannels,
    NormalizeGroups,
    NormalizeLast,
    Power,
    ShiftMask,
    Times,
    Variance,
)
from pellucid.rules import (
    COMPOSITES,
    Attend,
    Entrance,
    FixedScale,
    Norm,
    Origin,
    Product,
    Share,
    Taylor,
    Use,
    composite,
    own,
)
from tests.layers.samples import SAMPLES
from tests.operators.cases import CASES
from tests.oracle import assert_close, normal, randomized

TINY = 1e-16


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def input_x_gradient(y: Tensor, r: Tensor, *xs: Tensor) -> list[Tensor]:
    """Return the relevance of each input: x times the gradient of y for the output gradient R / y."""
    gradients = torch.autograd.grad(y, xs, (r / y).detach())
    return [(x * gradient).detach() for x, gradient in zip(xs, gradients, strict=True)]


@pytest.mark.parametrize("mask_kind", ["", "numbers", "two of numbers", "booleans", "causal"])
def test_attention_shares_as_its_parts_do(mask_kind: str) -> None:
    q, k, v = (normal((2, 3, 4, size), rng_).requires_grad_() for rng_ in [rng()] for size in (5, 5, 6))
    mask: list[Tensor] = []
    additive_mask = torch.zeros(4, 4).double()
    if mask_kind == "numbers":
        mask = [normal((3, 4, 4), rng()).requires_grad_()]
        additive_mask = mask[0]
    elif mask_kind == "two of numbers":
        mask = [normal(shape, rng()).requires_grad_() for shape in ((3, 4, 4), (1, 4))]
        additive_mask = mask[0] + mask[1]
    elif mask_kind == "booleans":
        mask = [torch.tensor([[True, False, True, True]])]
        additive_mask = torch.where(mask[0], 0.0, -torch.inf)
    elif mask_kind == "causal":
        additive_mask = torch.full((4, 4), -torch.inf).triu(1)
    layer = Attention(causal=mask_kind == "causal", scale=0.7)
    inputs = tuple(actual_part.detach() for actual_part in (q, k, v, *mask))
    y, cache = layer.forward({}, inputs, Mode())
    r = normal(y.shape, rng())
    scores = 0.7 * (q @ k.detach().mT + q.detach() @ k.mT) / 2 + additive_mask
    p = scores.softmax(-1)
    expected = input_x_gradient(
        (p @ v.detach() + p.detach() @ v) / 2, r, q, k, v, *(mask if "numbers" in mask_kind else ())
    )
    actual, dparams = Attend(stabilizer=TINY)(layer, {}, cache, r)
    assert dparams == {}
    for actual_part, expected_part in zip(actual, expected, strict=False):
        assert actual_part is not None
        assert_close(actual_part, expected_part, 1e-9)
    assert mask_kind != "booleans" or actual[3] is None
    with_constant_weights, _ = Attend(constant_weights=True, stabilizer=TINY)(layer, {}, cache, r)
    assert [actual_part is None for actual_part in with_constant_weights] == [True, True, False, *(True for _ in mask)]
    assert_close(with_constant_weights[2], input_x_gradient(p.detach() @ v, r, v)[0], 1e-9)


def test_softmax_is_linearized_at_its_input() -> None:
    x = torch.tensor([[1.0, -torch.inf, 2.0, -0.5]]).double()
    r = torch.tensor([[3.0, 0.0, -1.0, 0.5]]).double()
    y, cache = Softmax(1).forward({}, x, Mode())
    actual, _ = Taylor()(Softmax(1), {}, cache, r, Use(x, (Origin.INPUT,)))
    expected = [float(x[0, i] * (r[0, i] - y[0, i] * 2.5)) if i != 1 else 0.0 for i in range(4)]
    assert actual[0].tolist() == pytest.approx(expected, rel=1e-12)
    with pytest.raises(PellucidError, match="Taylor needs the input of softmax"):
        Taylor()(Softmax(1), {}, cache, r)


@pytest.mark.parametrize(
    ("layer", "shape", "normalized_axes"),
    [
        (LayerNorm((6,)), (4, 6), (-1,)),
        (LayerNorm(), (4, 6), (-2, -1)),
        (InstanceNorm2d(), (3, 4, 5), (-2, -1)),
        (InstanceNorm2d(affine=True), (3, 4, 5), (-2, -1)),
        (GroupNorm(3), (6,), None),
        (GroupNorm(2), (4, 3, 2), None),
    ],
    ids=str,
)
def test_norms_share_with_a_constant_scale(layer: Any, shape: tuple[int, ...], normalized_axes: Any) -> None:
    params = randomized(layer.init(shape, rng())[0], rng())
    x = normal((2, *shape), rng()).requires_grad_()
    y, cache = layer.forward(params, x.detach(), Mode())
    r = normal(y.shape, rng())
    x_grouped = x if normalized_axes else x.view(2, layer.groups, -1)
    axes = normalized_axes or (-1,)
    centered = x_grouped - x_grouped.mean(axes, keepdim=True)
    x_hat = centered / (centered.detach().square().mean(axes, keepdim=True) + layer.epsilon).sqrt()
    x_hat = x_hat.view(x.shape)
    weight, bias = (params.get(name, torch.full((1,), value)).double() for name, value in (("weight", 1), ("bias", 0)))
    trailing_axes = (1,) * (len(shape) - 1) if not isinstance(layer, LayerNorm) else ()
    bias = bias.clone().requires_grad_()
    output = x_hat * weight.view(-1, *trailing_axes).view(
        weight.shape if isinstance(layer, LayerNorm) else (-1, *trailing_axes)
    )
    output = output + bias.view(bias.shape if isinstance(layer, LayerNorm) else (-1, *trailing_axes))
    assert_close(y, output.detach(), 1e-12)
    expected, bias_relevance = input_x_gradient(output, r, x, bias)
    actual, dparams = FixedScale(TINY)(layer, params, cache, r)
    assert_close(actual, expected, 1e-9)
    if "bias" in params:
        assert_close(dparams["bias"], bias_relevance, 1e-9)
    else:
        assert dparams == {}


@pytest.mark.parametrize(
    ("layer", "shape", "axes", "affine_shape"),
    [
        (NormalizeLast((4,)), (2, 3, 4), (-1,), (4,)),
        (NormalizeGroups(2), (2, 6, 5), None, (6, 1)),
        (NormalizeChannels(), (2, 3, 4, 2), (0, 2, 3), (3, 1, 1)),
    ],
    ids=str,
)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_norms_with_given_scale_and_shift_share_with_a_constant_scale(
    layer: Any, shape: tuple[int, ...], axes: Any, affine_shape: tuple[int, ...], count: int
) -> None:
    x = normal(shape, rng()).requires_grad_()
    weight, bias = (normal((affine_shape[0],), rng()).requires_grad_() for _ in range(2))
    scale_and_shift = (weight.detach(), bias.detach())[: count - 1]
    y, cache = layer.forward({}, (x.detach(), *scale_and_shift) if scale_and_shift else x.detach(), Mode())
    r = normal(y.shape, rng())
    x_grouped = x if axes else x.view(len(x), layer.groups, -1)
    centered = x_grouped - x_grouped.mean(axes or (-1,), keepdim=True)
    output = centered / (centered.detach().square().mean(axes or (-1,), keepdim=True) + layer.epsilon).sqrt()
    output = output.view(shape) * (weight.detach().view(affine_shape) if count > 1 else 1)
    output = output + bias.view(affine_shape) if count > 2 else output
    assert_close(y, output.detach(), 1e-12)
    expected = input_x_gradient(output, r, x, *([bias] if count > 2 else []))
    actual, dparams = FixedScale(TINY)(layer, {}, cache, r)
    assert dparams == {}
    parts = actual if count > 1 else (actual,)
    assert_close(parts[0], expected[0], 1e-9)
    assert [part is None for part in parts[1:]] == [True, False][: count - 1]
    if count > 2:
        assert_close(parts[2], expected[1], 1e-9)


def test_fixed_scale_refuses_local_response_norm() -> None:
    layer, x = LocalResponseNorm(3), torch.ones(1, 4, 2, 2)
    y, cache = layer.forward({}, x, Mode())
    with pytest.raises(PellucidError, match="FixedScale has no form for LocalResponseNorm"):
        FixedScale()(layer, {}, cache, y)


def test_a_product_of_matrices_shares_by_contributions() -> None:
    a, b = normal((2, 3, 4), rng()).requires_grad_(), normal((4, 5), rng()).requires_grad_()
    y, cache = MatMul().forward({}, (a.detach(), b.detach()), Mode())
    r = normal(y.shape, rng())
    for origins, constant, fractions in [
        ((Origin.INPUT, Origin.INPUT), True, (0.5, 0.5)),
        ((Origin.WEIGHTS, Origin.INPUT), False, (0.5, 0.5)),
        ((Origin.WEIGHTS, Origin.INPUT), True, (0, 1)),
        ((Origin.INPUT, Origin.CONSTANT), False, (1, 0)),
        ((Origin.CONSTANT, Origin.CONSTANT), True, (0.5, 0.5)),
        ((Origin.WEIGHTS, Origin.WEIGHTS), True, (0.5, 0.5)),
    ]:
        actual, _ = Product(constant, TINY)(MatMul(), {}, cache, r, Use(cache.xs, origins))
        for actual_factor, expected_factor, fraction in zip(
            actual, input_x_gradient(a @ b, r, a, b), fractions, strict=True
        ):
            assert (actual_factor is None) == (not fraction)
            if actual_factor is not None:
                assert_close(actual_factor, fraction * expected_factor, 1e-9)


def test_a_constant_factor_receives_no_relevance_and_a_gate_half_or_none() -> None:
    value, scale = torch.ones(2, 3, 4), torch.full((4,), 2.0)
    r = torch.arange(24.0).view(2, 3, 4)
    _, cache = Times().forward({}, (value, scale), Mode())
    use = Use(cache.xs, (Origin.INPUT, Origin.CONSTANT))
    assert torch.equal(Share()(Times(), {}, cache, r, use)[0][0], r)  # pyright: ignore[reportArgumentType]
    gate = Use(cache.xs, (Origin.INPUT, Origin.WEIGHTS))
    relevances = Share()(Times(), {}, cache, r, gate)[0]
    assert [relevance.sum().item() for relevance in relevances if relevance is not None] == [138.0, 138.0]
    assert Share(constant_weights=True)(Times(), {}, cache, r, gate)[0][1] is None


def test_an_einsum_shares_equally_among_the_factors_that_depend_on_the_input() -> None:
    xs = [normal(shape, rng()).requires_grad_() for shape in ((2, 3), (3, 4), (4, 2))]
    for count, equation in ((1, "ij->i"), (3, "ij,jk,kl->il")):
        factors = xs[:count]
        layer = Einsum(equation)
        y, cache = layer.forward({}, tuple(x.detach() for x in factors) if count > 1 else factors[0].detach(), Mode())
        r = normal(y.shape, rng())
        expected = input_x_gradient(torch.einsum(equation, *factors), r, *factors)
        actual, _ = Product(stabilizer=TINY)(layer, {}, cache, r)
        for actual_factor, expected_factor in zip(actual if count > 1 else (actual,), expected, strict=True):
            assert_close(actual_factor, expected_factor / count, 1e-9)
    use = Use(cache.xs, (Origin.INPUT, Origin.CONSTANT, Origin.INPUT))
    actual, _ = Product(stabilizer=TINY)(layer, {}, cache, r, use)
    assert actual[1] is None
    assert_close(actual[0], expected[0] / 2, 1e-9)


def test_a_variance_shares_by_half_of_its_derivative() -> None:
    x = normal((2, 5), rng()).requires_grad_()
    y = x.var(1)
    layer = Variance((1,))
    _, cache = layer.forward({}, x.detach(), Mode())
    r = normal((2,), rng())
    actual, _ = Norm(TINY, degree=2)(layer, {}, cache, r)
    assert_close(actual, input_x_gradient(y, r, x)[0] / 2, 1e-9)
    assert_close(actual.sum(1), r, 1e-9)


def test_every_operator_has_a_rule_in_every_composite_of_relevance() -> None:
    bounds = {"low": -1.0, "high": 1.0}
    layers = [Learned((1,)), Fixed((1,)), ShiftMask(4, 2, 1), *(case.layer for case in CASES)]
    for name in ("epsilon", "epsilon_plus_flat", "epsilon_gamma_box", "cp_lrp", "attn_lrp"):
        rules = COMPOSITES[name](**(bounds if name == "epsilon_gamma_box" else {}))(Entrance(torch.ones(1)))
        check_has_rules(Parallel({str(number): layer for number, layer in enumerate(layers)}, Add()), "lrp", rules)


def graph(product: Any, factor: dict[str, Any]) -> Graph:
    return Graph({**factor, "y": (product, "input", list(factor)[-1])}, ("y",))


@pytest.mark.parametrize(
    ("factor", "gate_shares"),
    [
        ({"g": (Sigmoid(), "input")}, {"cp_lrp": False, "attn_lrp": True}),
        ({"g": (Learned((4,)),)}, {"cp_lrp": False, "attn_lrp": False}),
        ({"f": (Fixed((4,)),), "g": (Sigmoid(), "f")}, {"cp_lrp": False, "attn_lrp": False}),
        ({"g": (Power(-0.5), "input")}, {"cp_lrp": False, "attn_lrp": False}),
        ({"g": (Power(2.0), "input")}, {"cp_lrp": True, "attn_lrp": True}),
    ],
    ids=["gate", "learned", "constant", "divisor", "value"],
)
def test_what_is_constant_in_a_product_is_found_in_the_forward_pass(factor: Any, gate_shares: dict[str, bool]) -> None:
    for name, receives in gate_shares.items():
        for product in (Times(), Multiply()) if factor["g"][1:] == ("input",) else (Times(),):
            net = graph(product, factor)
            dx_by_path: dict[str, Tensor] = {}

            def watch(path: str, layer: Any, dy: Any, dx: Any, dparams: Any, dx_by_path: Any = dx_by_path) -> None:
                dx_by_path[path] = dx

            lrp(net, {name: {"": torch.ones(4)} for name in net.nodes}, torch.ones(1, 4), 1, name, watch=watch)
            assert (dx_by_path["y"][1] is not None) == receives


# Layers whose relevance is passed by their gradient: they move values, or `check_has_rules` refuses them.
BY_GRADIENT = {
    *("Concat", "Crop", "Flatten", "MaxPool2d", "MaxUnpool2d", "Pad2d", "PadChannels", "Reshape", "RoIPool"),
    *("GRU", "LSTM", "RNN"),
    "SoftArgmax",  # coordinates of points, which no composite explains
}


@pytest.mark.parametrize("make_table", [COMPOSITES["cp_lrp"], COMPOSITES["epsilon_plus"]])
def test_each_layer_and_operator_has_a_rule_for_relevance(make_table: Any) -> None:
    rules = make_table()(None)
    only_moves = Trait.COPIES_VALUES | Trait.ADDITIVE
    operators = [case.layer for case in CASES if not case.layer.traits & only_moves]
    layers = [sample.layer for sample in SAMPLES]
    without_rule = {type(layer).__name__ for layer in (*operators, *layers) if rules("", layer) is own}
    assert without_rule == BY_GRADIENT, "give the others a row in pellucid/rules/composites.py, or name them here"


def test_a_table_without_a_rule_for_attention_is_refused() -> None:
    net = Graph({"y": (Attention(), "input", "input", "input"), "z": (Softmax(2), "y")}, ("y",))
    with pytest.raises(PellucidError, match=r"lrp has no rule for 1 layer of this network, first y \(Attention\)"):
        lrp(net, {"y": {}, "z": {}}, torch.ones(1, 2, 3), 0, composite((Softmax, Taylor())))


def test_weights_of_attention_that_depend_on_no_input_are_constant() -> None:
    layer = Attention()
    q, k, v = (normal((1, 2, 3), rng()) for _ in range(3))
    y, cache = layer.forward({}, (q, k, v), Mode())
    actual, _ = Attend(stabilizer=TINY)(
        layer, {}, cache, y, Use(cache.xs, (Origin.CONSTANT, Origin.CONSTANT, Origin.INPUT))
    )
    assert actual[0] is None
    assert_close(actual[2], v * (F.softmax(q @ k.mT / 3**0.5, -1).mT @ torch.ones_like(y)), 1e-9)
