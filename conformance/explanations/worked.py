"""The numerical examples of Captum's tests."""

from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from conformance.case import Case, Mismatch
from pellucid import explain
from pellucid.combine import Graph, Parallel, Sequential
from pellucid.layers import Add, Conv2d, Dense, Flatten, Identity, Layer, MaxPool2d, ReLU, Tanh
from pellucid.layers.base import Params
from pellucid.rules import Deconv, Epsilon, Gamma, Guided, Norm, Pass, ZPlus, composite

TOLERANCE = 2e-3  # some expected numbers in Captum's tests have three digits
STABILIZER = 1e-9  # Captum's stabilizer
IMAGE = torch.arange(16.0).double().view(1, 1, 4, 4)
VECTOR = torch.tensor([[1.0, 2.0, 3.0]]).double()

Net = tuple[Layer, Params]
Example = tuple[str, Any, Callable[[], Any], Any]  # name, subject, our computation, expected


def cases() -> Iterator[Case]:
    """Yield every example, grouped by the class or function that it checks."""
    examples = [*convolution(), *integrals(), *relevance()]
    for subject in dict.fromkeys(example[1] for example in examples):
        for name, example_subject, compute, expected in examples:
            if example_subject is subject:
                check = partial(_compare, compute, expected)
                yield Case(
                    f"Captum worked examples, {subject.__name__}",
                    version("captum"),
                    name,
                    example_subject,
                    check,
                    TOLERANCE,
                )


def _compare(compute: Callable[[], Any], expected: Any) -> float:
    actual = compute()
    if isinstance(actual, tuple):
        return max(
            _compare(lambda value=value: value, numbers) for value, numbers in zip(actual, expected, strict=True)
        )
    expected_tensor = torch.tensor(expected, dtype=actual.dtype)
    if actual.numel() != expected_tensor.numel():
        raise Mismatch(f"{actual.numel()} numbers instead of {expected_tensor.numel()}")
    error = (actual.flatten() - expected_tensor.flatten()).abs().max() / expected_tensor.abs().max()
    return float(error)


def dense(rows: Any, bias: Any = None) -> Net:
    """Return a dense layer with these weights (outputs, inputs) and this bias, and its parameters."""
    weight = torch.tensor(rows, dtype=torch.float64)
    params = {"weight": weight} if bias is None else {"weight": weight, "bias": torch.tensor(bias, dtype=torch.float64)}
    return Dense(len(weight), bias=bias is not None), params


def sequential(**parts: Layer | Net) -> Net:
    """Return a Sequential of the named parts, and its parameters."""
    nets = {name: part if isinstance(part, tuple) else (part, {}) for name, part in parts.items()}
    return Sequential(**{name: net for name, (net, _) in nets.items()}), {name: p for name, (_, p) in nets.items()}


def convolution() -> list[Example]:
    """Return the examples of a network with one convolution."""
    weight = torch.ones(2, 1, 3, 3).double()
    conv = Conv2d(2, 3), {"weight": weight, "bias": torch.tensor([-50.0, -75.0]).double()}
    fc = dense([[1.0] * 5 + [-1.0] * 3] * 4, [0.0] * 4)
    net = sequential(conv1=conv, relu1=ReLU(), flat=Flatten(), fc1=fc, relu2=ReLU())
    image_pair, nodes = (IMAGE, torch.ones_like(IMAGE)), {"sum": (Add(), "x", "x2"), "net": (net[0], "sum")}
    two_input_net = Graph(nodes, ("net",), ("x", "x2")), {"sum": {}, "net": net[1]}
    guided = [[0, 1, 1, 1], [1, 3, 3, 2], [1, 3, 3, 2], [1, 2, 2, 1]]
    guided_sum = [[1, 2, 2, 1], [2, 4, 4, 2], [2, 4, 4, 2], [1, 2, 2, 1]]
    deconv = [[2, 3, 3, 1], [3, 5, 5, 2], [3, 5, 5, 2], [1, 2, 2, 1]]
    relevance_map = [[0, 1, 2, 3], [0, 5, 6, 7], [0, 9, 10, 11], [0, 0, 0, 0]]
    epsilon_table = composite((Conv2d, Epsilon(STABILIZER)), (Dense, Epsilon(STABILIZER)), (ReLU, Pass()))
    return [
        ("class", Guided, lambda: explain.guided_backprop(*net, IMAGE, 0), guided),
        ("neuron", Guided, lambda: explain.guided_backprop(*net, IMAGE, "fc1[0]"), guided),
        (
            "two inputs",
            Guided,
            lambda: explain.guided_backprop(*two_input_net, image_pair, 0),
            (guided_sum, guided_sum),
        ),
        (
            "two inputs, neuron",
            Guided,
            lambda: explain.guided_backprop(*two_input_net, image_pair, "net.fc1[3]"),
            (guided_sum,) * 2,
        ),
        ("class", Deconv, lambda: explain.deconvnet(*net, IMAGE, 0, activation=False), deconv),
        ("neuron", Deconv, lambda: explain.deconvnet(*net, IMAGE, "fc1[0]", activation=False), deconv),
        (
            "two inputs",
            Deconv,
            lambda: explain.deconvnet(*two_input_net, image_pair, 0, activation=False),
            (deconv, deconv),
        ),
        (
            "neuron 3",
            Deconv,
            lambda: explain.deconvnet(*two_input_net, image_pair, "net.fc1[3]", activation=False),
            (deconv, deconv),
        ),
        ("convolution", explain.gradcam, lambda: _cam(net, IMAGE, "conv1"), [[11.25, 13.5], [20.25, 22.5]]),
        ("ReLU", explain.gradcam, lambda: _cam(net, IMAGE, "relu1"), [[0, 4], [28, 32.5]]),
        ("two inputs", explain.gradcam, lambda: _cam(two_input_net, image_pair, "net.conv1"), [[14.5, 19], [32.5, 37]]),
        ("convolution", Epsilon, lambda: explain.lrp(*net, IMAGE, 0, epsilon_table), relevance_map),
    ]


def integrals() -> list[Example]:
    """Return the examples of integrated gradients and saliency, including those of Sundararajan et al. 2017."""
    first = sequential(relu=ReLU(), difference=dense([[1.0, -1.0]], [-1.0]), out=ReLU())
    second = sequential(
        ahead=dense([[1.0, 0.0], [0.0, 1.0]], [-1.0, 0.0]), relu=ReLU(), difference=dense([[1.0, -1.0]]), out=ReLU()
    )
    capped_net = sequential(turned=dense([[-1.0]], [1.0]), relu=ReLU(), back=dense([[-1.0]], [1.0]))
    x = torch.tensor([[3.0, 1.0]]).double()
    values = torch.tensor([[1.0], [2.0], [3.0], [0.0], [-1.0], [7.0]]).double()
    integral = explain.integrated_gradients
    return [
        *((f"{name}, {quadrature}", integral, partial(integral, *net, x, 0, 0.0, 1500, quadrature), [1.5, -0.5])
          for name, net in (("ReLU(ReLU(x1) - 1 - ReLU(x2))", first), ("ReLU(ReLU(x1 - 1) - ReLU(x2))", second))
          for quadrature in explain.QUADRATURES),
        ("1 - ReLU(1 - x)", explain.saliency, lambda: explain.saliency(*capped_net, values, 0), [0, 0, 0, 1, 1, 0]),
        ("1 - ReLU(1 - x)", explain.input_x_gradient, lambda: explain.input_x_gradient(*capped_net, values, 0),
         [0, 0, 0, 0, -1, 0]),
    ]  # fmt: skip


def relevance() -> list[Example]:
    """Return the examples of layer-wise relevance propagation."""
    twos, threes, negative = [[2.0] * 3] * 3, dense([[3.0] * 3]), [[-2.0, 2.0, 2.0], [2.0] * 3, [2.0] * 3]
    plain = sequential(linear=dense(twos), relu=ReLU(), linear2=threes)
    mixed = sequential(linear=dense(negative), relu=ReLU(), linear2=threes)
    tanh = sequential(linear=dense([[0.1] * 3] * 3), tanh=Tanh(), linear2=dense([[0.1] * 3]))
    skip = Parallel({"linear": Dense(2, bias=False), "input": Identity()}, Add())
    skip_params = {"linear": {"weight": torch.full((2, 2), 5.0).double()}, "input": {}, "merge": {}}
    epsilon, passing = (Dense, Epsilon(STABILIZER)), ((ReLU, Tanh), Pass())
    gamma_table = composite(
        ("linear", Gamma(1, STABILIZER, by_sign=False)), ("linear2", Gamma(0.25, STABILIZER)), passing
    )
    pool = sequential(pool=MaxPool2d(2), flat=Flatten())
    image = torch.tensor([[[[1.0, 2.0], [5.0, 6.0]]]]).double()
    layered = sequential(
        linear0=dense([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [0.0] * 3),
        linear1=dense([[1.0] * 3] * 4, [-10.0, 1.0, 1.0, 1.0]),
        relu=ReLU(),
        linear2=dense([[1.0] * 4] * 2, [-1.0, 1.0]),
    )
    nodes = {"sum": (Add(), "x", "x2"), "net": (layered[0], "sum")}
    summed = Graph(nodes, ("net",), ("x", "x2")), {"sum": {}, "net": layered[1]}
    sums, batch = composite(epsilon, passing, (Add, Norm(STABILIZER))), torch.cat((VECTOR, 3 * VECTOR))
    return [
        ("two layers", Epsilon, lambda: explain.lrp(*plain, VECTOR, 0, composite(epsilon, passing)), [18, 36, 54]),
        ("two examples", Epsilon, lambda: explain.lrp(*plain, batch, 0, composite(epsilon, passing)),
         [[18, 36, 54], [54, 108, 162]]),
        ("tanh", Epsilon, lambda: explain.lrp(*tanh, VECTOR, 0, composite(epsilon, passing)), [0.0269, 0.0537, 0.0806]),
        ("max pooling", Epsilon, lambda: explain.lrp(*pool, image, 0, composite(epsilon)), [0, 0, 0, 6]),
        ("two layers", Gamma, lambda: explain.lrp(*mixed, VECTOR, 0, gamma_table), [28 / 3, 104 / 3, 52]),
        ("two layers", ZPlus, lambda: explain.lrp(*mixed, VECTOR, 0, composite((Dense, ZPlus(STABILIZER)), passing)),
         [12, 33.6, 50.4]),
        ("identity rule", Pass, lambda: explain.lrp(*mixed, VECTOR, 0, composite(("linear", Pass()), epsilon, passing)),
         [24, 36, 36]),
        ("skip connection", Norm, lambda: explain.lrp(skip, skip_params, torch.tensor([[2.0, 3.0]]).double(), 1, sums),
         [10, 18]),
        # Captum has no rule for the operator +, which is not a module: both inputs receive the relevance of the sum.
        ("two inputs", Epsilon, lambda: explain.lrp(*summed, (VECTOR, 3 * VECTOR), 0, composite(epsilon, passing)),
         ([16, 32, 48], [16, 32, 48])),
    ]  # fmt: skip


def _cam(net: Net, x: Any, layer: str) -> Tensor:
    maps = explain.gradcam(*net, x, 0, layer, signed=True, upsample=False)
    return maps[0] if isinstance(maps, tuple) else maps  # the same map for each of several inputs
