"""Rules for products, attention, softmax and norms, against gradients of functions with detached parts."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.combine import Graph, Parallel
from pellucid.errors import PellucidError
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
)
from tests.operators.test_operators import CASES
from tests.oracle import assert_close, normal, randomized

TINY = 1e-16


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def times_gradient(y: Tensor, r: Tensor, *xs: Tensor) -> list[Tensor]:
    """Relevance as x times the gradient of y for the output gradient R / y."""
    found = torch.autograd.grad(y, xs, (r / y).detach())
    return [(x * part).detach() for x, part in zip(xs, found, strict=True)]


@pytest.mark.parametrize("masked", ["", "numbers", "two of numbers", "booleans", "causal"])
def test_attention_shares_as_its_parts_do(masked: str) -> None:
    q, k, v = (normal((2, 3, 4, size), rng_).requires_grad_() for rng_ in [rng()] for size in (5, 5, 6))
    mask: list[Tensor] = []
    added = torch.zeros(4, 4).double()
    if masked == "numbers":
        mask = [normal((3, 4, 4), rng()).requires_grad_()]
        added = mask[0]
    elif masked == "two of numbers":
        mask = [normal(shape, rng()).requires_grad_() for shape in ((3, 4, 4), (1, 4))]
        added = mask[0] + mask[1]
    elif masked == "booleans":
        mask = [torch.tensor([[True, False, True, True]])]
        added = torch.where(mask[0], 0.0, -torch.inf)
    elif masked == "causal":
        added = torch.full((4, 4), -torch.inf).triu(1)
    layer = Attention(causal=masked == "causal", scale=0.7)
    inputs = tuple(one.detach() for one in (q, k, v, *mask))
    y, cache = layer.forward({}, inputs, Mode())
    r = normal(y.shape, rng())
    scores = 0.7 * (q @ k.detach().mT + q.detach() @ k.mT) / 2 + added
    p = scores.softmax(-1)
    expected = times_gradient((p @ v.detach() + p.detach() @ v) / 2, r, q, k, v, *(mask if "numbers" in masked else ()))
    found, dparams = Attend(stabilizer=TINY)(layer, {}, cache, r)
    assert dparams == {}
    for one, other in zip(found, expected, strict=False):
        assert one is not None
        assert_close(one, other, 1e-9)
    assert masked != "booleans" or found[3] is None
    constant, _ = Attend(constant_weights=True, stabilizer=TINY)(layer, {}, cache, r)
    assert [one is None for one in constant] == [True, True, False, *(True for _ in mask)]
    assert_close(constant[2], times_gradient(p.detach() @ v, r, v)[0], 1e-9)


def test_softmax_is_linearized_at_its_input() -> None:
    x = torch.tensor([[1.0, -torch.inf, 2.0, -0.5]]).double()
    r = torch.tensor([[3.0, 0.0, -1.0, 0.5]]).double()
    y, cache = Softmax(1).forward({}, x, Mode())
    found, _ = Taylor()(Softmax(1), {}, cache, r, Use(x, (Origin.INPUT,)))
    expected = [float(x[0, i] * (r[0, i] - y[0, i] * 2.5)) if i != 1 else 0.0 for i in range(4)]
    assert found[0].tolist() == pytest.approx(expected, rel=1e-12)
    with pytest.raises(PellucidError, match="Taylor needs the input of softmax"):
        Taylor()(Softmax(1), {}, cache, r)


@pytest.mark.parametrize(
    ("layer", "shape", "normalized"),
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
def test_norms_share_with_a_constant_scale(layer: Any, shape: tuple[int, ...], normalized: Any) -> None:
    params = randomized(layer.init(shape, rng())[0], rng())
    x = normal((2, *shape), rng()).requires_grad_()
    y, cache = layer.forward(params, x.detach(), Mode())
    r = normal(y.shape, rng())
    grouped = x if normalized else x.view(2, layer.groups, -1)
    axes = normalized or (-1,)
    centered = grouped - grouped.mean(axes, keepdim=True)
    scaled = centered / (centered.detach().square().mean(axes, keepdim=True) + layer.epsilon).sqrt()
    scaled = scaled.view(x.shape)
    weight, bias = (params.get(name, torch.full((1,), value)).double() for name, value in (("weight", 1), ("bias", 0)))
    tail = (1,) * (len(shape) - 1) if not isinstance(layer, LayerNorm) else ()
    bias = bias.clone().requires_grad_()
    out = scaled * weight.view(-1, *tail).view(weight.shape if isinstance(layer, LayerNorm) else (-1, *tail))
    out = out + bias.view(bias.shape if isinstance(layer, LayerNorm) else (-1, *tail))
    assert_close(y, out.detach(), 1e-12)
    expected, of_bias = times_gradient(out, r, x, bias)
    found, dparams = FixedScale(TINY)(layer, params, cache, r)
    assert_close(found, expected, 1e-9)
    if "bias" in params:
        assert_close(dparams["bias"], of_bias, 1e-9)
    else:
        assert dparams == {}


@pytest.mark.parametrize(
    ("layer", "shape", "axes", "affine"),
    [
        (NormalizeLast((4,)), (2, 3, 4), (-1,), (4,)),
        (NormalizeGroups(2), (2, 6, 5), None, (6, 1)),
        (NormalizeChannels(), (2, 3, 4, 2), (0, 2, 3), (3, 1, 1)),
    ],
    ids=str,
)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_norms_with_given_scale_and_shift_share_with_a_constant_scale(
    layer: Any, shape: tuple[int, ...], axes: Any, affine: tuple[int, ...], count: int
) -> None:
    x = normal(shape, rng()).requires_grad_()
    weight, bias = (normal((affine[0],), rng()).requires_grad_() for _ in range(2))
    given = (weight.detach(), bias.detach())[: count - 1]
    y, cache = layer.forward({}, (x.detach(), *given) if given else x.detach(), Mode())
    r = normal(y.shape, rng())
    grouped = x if axes else x.view(len(x), layer.groups, -1)
    centered = grouped - grouped.mean(axes or (-1,), keepdim=True)
    out = centered / (centered.detach().square().mean(axes or (-1,), keepdim=True) + layer.epsilon).sqrt()
    out = out.view(shape) * (weight.detach().view(affine) if count > 1 else 1)
    out = out + bias.view(affine) if count > 2 else out
    assert_close(y, out.detach(), 1e-12)
    expected = times_gradient(out, r, x, *([bias] if count > 2 else []))
    found, dparams = FixedScale(TINY)(layer, {}, cache, r)
    assert dparams == {}
    parts = found if count > 1 else (found,)
    assert_close(parts[0], expected[0], 1e-9)
    assert [part is None for part in parts[1:]] == [True, False][: count - 1]
    if count > 2:
        assert_close(parts[2], expected[1], 1e-9)


def test_other_norms_have_no_such_form() -> None:
    layer, x = LocalResponseNorm(3), torch.ones(1, 4, 2, 2)
    y, cache = layer.forward({}, x, Mode())
    with pytest.raises(PellucidError, match="FixedScale has no form for LocalResponseNorm"):
        FixedScale()(layer, {}, cache, y)


def test_a_product_of_matrices_shares_by_contributions() -> None:
    a, b = normal((2, 3, 4), rng()).requires_grad_(), normal((4, 5), rng()).requires_grad_()
    y, cache = MatMul().forward({}, (a.detach(), b.detach()), Mode())
    r = normal(y.shape, rng())
    for origins, constant, takes in [
        ((Origin.INPUT, Origin.INPUT), True, (0.5, 0.5)),
        ((Origin.WEIGHTS, Origin.INPUT), False, (0.5, 0.5)),
        ((Origin.WEIGHTS, Origin.INPUT), True, (0, 1)),
        ((Origin.INPUT, Origin.CONSTANT), False, (1, 0)),
        ((Origin.CONSTANT, Origin.CONSTANT), True, (0.5, 0.5)),
        ((Origin.WEIGHTS, Origin.WEIGHTS), True, (0.5, 0.5)),
    ]:
        found, _ = Product(constant, TINY)(MatMul(), {}, cache, r, Use(cache.xs, origins))
        for one, other, part in zip(found, times_gradient(a @ b, r, a, b), takes, strict=True):
            assert (one is None) == (not part)
            if one is not None:
                assert_close(one, part * other, 1e-9)


def test_a_learned_scale_takes_nothing_and_a_gate_half_or_nothing() -> None:
    value, scale = torch.ones(2, 3, 4), torch.full((4,), 2.0)
    r = torch.arange(24.0).view(2, 3, 4)
    _, cache = Times().forward({}, (value, scale), Mode())
    use = Use(cache.xs, (Origin.INPUT, Origin.CONSTANT))
    assert torch.equal(Share()(Times(), {}, cache, r, use)[0][0], r)  # pyright: ignore[reportArgumentType]
    gate = Use(cache.xs, (Origin.INPUT, Origin.WEIGHTS))
    half = Share()(Times(), {}, cache, r, gate)[0]
    assert [one.sum().item() for one in half if one is not None] == [138.0, 138.0]
    assert Share(constant_weights=True)(Times(), {}, cache, r, gate)[0][1] is None


def test_an_einstein_sum_of_one_or_three_factors_shares_equally_among_those_from_the_input() -> None:
    xs = [normal(shape, rng()).requires_grad_() for shape in ((2, 3), (3, 4), (4, 2))]
    for count, equation in ((1, "ij->i"), (3, "ij,jk,kl->il")):
        parts = xs[:count]
        layer = Einsum(equation)
        y, cache = layer.forward({}, tuple(x.detach() for x in parts) if count > 1 else parts[0].detach(), Mode())
        r = normal(y.shape, rng())
        expected = times_gradient(torch.einsum(equation, *parts), r, *parts)
        found, _ = Product(stabilizer=TINY)(layer, {}, cache, r)
        for one, other in zip(found if count > 1 else (found,), expected, strict=True):
            assert_close(one, other / count, 1e-9)
    use = Use(cache.xs, (Origin.INPUT, Origin.CONSTANT, Origin.INPUT))
    found, _ = Product(stabilizer=TINY)(layer, {}, cache, r, use)
    assert found[1] is None
    assert_close(found[0], expected[0] / 2, 1e-9)


def test_a_variance_shares_by_half_of_its_derivative() -> None:
    x = normal((2, 5), rng()).requires_grad_()
    y = x.var(1)
    layer = Variance((1,))
    _, cache = layer.forward({}, x.detach(), Mode())
    r = normal((2,), rng())
    found, _ = Norm(TINY, degree=2)(layer, {}, cache, r)
    assert_close(found, times_gradient(y, r, x)[0] / 2, 1e-9)
    assert_close(found.sum(1), r, 1e-9)


def test_every_operator_has_a_rule_in_every_composite_of_relevance() -> None:
    box = {"low": -1.0, "high": 1.0}
    layers = [Learned((1,)), Fixed((1,)), ShiftMask(4, 2, 1), *(case.layer for case in CASES)]
    for name in ("epsilon", "epsilon_plus_flat", "epsilon_gamma_box", "cp_lrp", "attn_lrp"):
        rules = COMPOSITES[name](**(box if name == "epsilon_gamma_box" else {}))(Entrance(torch.ones(1)))
        check_has_rules(Parallel({str(number): one for number, one in enumerate(layers)}, Add()), "lrp", rules)


def graph(last: Any, factor: dict[str, Any]) -> Graph:
    return Graph({**factor, "y": (last, "input", list(factor)[-1])}, ("y",))


@pytest.mark.parametrize(
    ("factor", "half"),
    [
        ({"g": (Sigmoid(), "input")}, {"cp_lrp": False, "attn_lrp": True}),
        ({"g": (Learned((4,)),)}, {"cp_lrp": False, "attn_lrp": False}),
        ({"f": (Fixed((4,)),), "g": (Sigmoid(), "f")}, {"cp_lrp": False, "attn_lrp": False}),
        ({"g": (Power(-0.5), "input")}, {"cp_lrp": False, "attn_lrp": False}),
        ({"g": (Power(2.0), "input")}, {"cp_lrp": True, "attn_lrp": True}),
    ],
    ids=["gate", "learned", "constant", "divisor", "value"],
)
def test_what_is_constant_in_a_product_is_found_in_the_forward_pass(factor: Any, half: dict[str, bool]) -> None:
    for name, is_half in half.items():
        for last in (Times(), Multiply()) if factor["g"][1:] == ("input",) else (Times(),):
            net = graph(last, factor)
            kept: dict[str, Tensor] = {}

            def watch(path: str, layer: Any, dy: Any, dx: Any, dparams: Any, kept: Any = kept) -> None:
                kept[path] = dx

            lrp(net, {name: {"": torch.ones(4)} for name in net.nodes}, torch.ones(1, 4), 1, name, watch=watch)
            assert (kept["y"][1] is not None) == is_half


def test_a_table_without_a_rule_for_attention_is_refused() -> None:
    net = Graph({"y": (Attention(), "input", "input", "input"), "z": (Softmax(2), "y")}, ("y",))
    with pytest.raises(PellucidError, match=r"lrp has no rule for 1 layer of this network, first y \(Attention\)"):
        lrp(net, {"y": {}, "z": {}}, torch.ones(1, 2, 3), 0, composite((Softmax, Taylor())))


def test_weights_of_attention_that_depend_on_no_input_are_constant() -> None:
    layer = Attention()
    q, k, v = (normal((1, 2, 3), rng()) for _ in range(3))
    y, cache = layer.forward({}, (q, k, v), Mode())
    found, _ = Attend(stabilizer=TINY)(
        layer, {}, cache, y, Use(cache.xs, (Origin.CONSTANT, Origin.CONSTANT, Origin.INPUT))
    )
    assert found[0] is None
    assert_close(found[2], v * (F.softmax(q @ k.mT / 3**0.5, -1).mT @ torch.ones_like(y)), 1e-9)
