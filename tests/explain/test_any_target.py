"""Any target of an explanation: compared with torch's autograd and Captum, for all methods by one definition."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid import Model, PellucidError
from pellucid.explain import METHODS, ledger, scores
from pellucid.explain.names import target_by_index, target_text
from tests.explain.networks import network_and_batch
from tests.oracle import assert_close, cast

CLASSES = 4
SIZE = (5, 6)


class Outputs(nn.Module):
    """A small network with one of several kinds of outputs."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind = kind
        self.conv = nn.Conv2d(2, 3, 3, padding=1)
        self.maps = nn.Conv2d(3, CLASSES, 3, padding=1)
        self.classes = nn.Linear(CLASSES, CLASSES)
        self.number = nn.Linear(CLASSES, 1)

    def forward(self, x: Tensor) -> Any:
        maps = self.maps(torch.relu(self.conv(x)))
        values = maps.mean((2, 3))
        if self.kind == "classes":
            return self.classes(values)
        if self.kind == "number":
            return self.number(values)[:, 0]
        if self.kind == "column":
            return self.number(values)
        if self.kind == "maps":
            return maps
        if self.kind == "map":
            return maps[:, :1]
        return {"scores": self.classes(values), "maps": maps}


WEIGHTS = torch.linspace(-1, 1, CLASSES).double()
EACH = torch.stack([WEIGHTS, WEIGHTS.flip(0)])
PIXELS = torch.linspace(0, 1, CLASSES * SIZE[0] * SIZE[1]).double().view(CLASSES, *SIZE)
EVEN = (torch.arange(CLASSES) % 2).double()


def energy(y: Tensor) -> Tensor:
    return y.logsumexp(1)


# outputs, target, the score by torch
TARGETS: dict[str, tuple[str, Any, Callable[[Any], Tensor]]] = {
    "largest class": ("classes", None, lambda y: y.amax(1)),
    "class": ("classes", 2, lambda y: y[:, 2]),
    "name": ("classes", "cow", lambda y: y[:, 2]),
    "names": ("classes", ["cow", "ant"], lambda y: y[torch.arange(2), [2, 0]]),
    "difference": ("classes", "cow - ant", lambda y: y[:, 2] - y[:, 0]),
    "contrast": ("classes", {"cow": 1.0, "ant": -0.5, 1: -0.5}, lambda y: y[:, 2] - 0.5 * (y[:, 0] + y[:, 1])),
    "different kinds": ("classes", ["cow - ant", WEIGHTS], lambda y: torch.stack([y[0, 2] - y[0, 0], y[1] @ WEIGHTS])),
    "weights": ("classes", WEIGHTS, lambda y: y @ WEIGHTS),
    "weights of each": ("classes", EACH, lambda y: (y * EACH).sum(1)),
    "mask": ("classes", EVEN.bool(), lambda y: y[:, 1] + y[:, 3]),
    "array": ("classes", WEIGHTS.numpy(), lambda y: y @ WEIGHTS),
    "function": ("classes", (energy, lambda y: y.softmax(1)), energy),
    "number": ("number", None, lambda y: y),
    "number 0": ("number", 0, lambda y: y),
    "column": ("column", None, lambda y: y[:, 0]),
    "pixel": ("maps", (2, 3, 4), lambda y: y[:, 2, 3, 4]),
    "region": ("maps", (2, slice(1, 3), slice(None)), lambda y: y[:, 2, 1:3].sum((1, 2))),
    "largest of a map": ("maps", (1,), lambda y: y[:, 1].flatten(1).amax(1)),
    "weights of pixels": ("maps", PIXELS, lambda y: (y * PIXELS).sum((1, 2, 3))),
    "map": ("map", None, lambda y: y.sum((1, 2, 3))),
    "one of several": ("dict", ("scores", 1), lambda y: y["scores"][:, 1]),
    "second of several": ("dict", (1, 0, 2, 2), lambda y: y["maps"][:, 0, 2, 2]),
    "sum over several": (
        "dict",
        {("scores", 1): 1.0, ("maps", 3, 0, 0): -2.0},
        lambda y: y["scores"][:, 1] - 2 * y["maps"][:, 3, 0, 0],
    ),
    "weights of several": (
        "dict",
        (WEIGHTS, PIXELS),
        lambda y: y["scores"] @ WEIGHTS + (y["maps"] * PIXELS).sum((1, 2, 3)),
    ),
}  # fmt: skip
NAMES = ["ant", "bee", "cow", "dog"]


def opened(kind: str) -> tuple[nn.Module, Any, Tensor]:
    network = Outputs(kind).double()
    x = torch.rand(2, 2, *SIZE, generator=torch.Generator().manual_seed(1)).double()
    return network, pellucid.open(network, x, **({"classes": NAMES} if kind == "classes" else {})), x


@pytest.mark.parametrize("name", TARGETS)
def test_the_gradient_of_any_target_equals_autograds_and_its_ledger_closes(name: str) -> None:
    kind, target, score = TARGETS[name]
    network, model, x = opened(kind)
    inputs = x.clone().requires_grad_()
    expected = score(network(inputs))
    (gradient,) = torch.autograd.grad(expected.sum(), inputs)
    assert_close(model.explain(x, "saliency", target, signed=True).as_subclass(Tensor), gradient, 1e-12)
    account = model.ledger(x, target)
    assert account.score == pytest.approx(float(expected.detach().sum()), abs=1e-12)
    assert abs(account.gap) < 1e-12


@pytest.mark.parametrize("name", ["difference", "weights of each", "function", "number", "pixel", "different kinds"])
def test_variants_of_the_input_keep_the_target_of_their_example(name: str) -> None:
    kind, target, score = TARGETS[name]
    network, model, x = opened(kind)
    points, weights = torch.linspace(0, 1, 3).tolist(), [0.25, 0.5, 0.25]
    mean = torch.zeros_like(x)
    for point, weight in zip(points, weights, strict=True):
        inputs = (point * x).requires_grad_()
        mean += weight * torch.autograd.grad(score(network(inputs)).sum(), inputs)[0]
    ours = model.explain(x, "integrated_gradients", target, steps=3, quadrature="trapezoid")
    assert_close(ours.as_subclass(Tensor), x * mean, 1e-12)

    hidden = x.clone()
    hidden[:, :, :3, :3] = 0
    occluded = pellucid.explain.occlude(
        model.net, model.params, x, target_by_index(target, model.classes), square=3, stride=3
    )
    assert_close(occluded.baseline, score(network(x)).detach(), 1e-12)
    assert_close(occluded.score[:, 0, 0], score(network(hidden)).detach(), 1e-12)


def test_integrated_gradients_and_occlusion_of_one_number_equal_captums() -> None:
    from captum.attr import IntegratedGradients, Occlusion

    network, model, x = opened("number")
    expected = IntegratedGradients(network).attribute(x, n_steps=20, method="gausslegendre")
    ours = model.explain(x, "integrated_gradients", steps=20)
    assert_close(ours.as_subclass(Tensor), expected, 1e-9)
    expected = Occlusion(network).attribute(x, (2, 1, 1))
    assert_close(model.explain(x, "occlusion", square=1).as_subclass(Tensor), expected[:, :1].detach(), 1e-9)


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"rollout"}))
def test_each_method_explains_a_difference_as_the_same_weights(method: str) -> None:
    _, model, x = opened("classes")
    weights = torch.tensor([-1.0, 0, 1, 0]).double()
    ours = model.explain(x, method, "cow - ant").as_subclass(Tensor)
    assert torch.equal(ours, model.explain(x, method, weights).as_subclass(Tensor))
    if bool(ours.any()):  # Grad-CAM++ finds nothing for these weights
        assert not torch.equal(ours, model.explain(x, method, 2).as_subclass(Tensor))


class Energy(nn.Module):
    """A function of the outputs in two operators."""

    def forward(self, y: Tensor) -> Tensor:
        return (y.square() * 0.5).sum(1)


def test_a_network_of_ours_as_target_has_its_gradient_by_our_operators() -> None:
    network, model, x = opened("classes")
    target = pellucid.open(Energy(), torch.rand(2, CLASSES))
    inputs = x.clone().requires_grad_()
    expected = Energy()(network(inputs))
    (gradient,) = torch.autograd.grad(expected.sum(), inputs)
    assert_close(model.explain(x, target=target, signed=True).as_subclass(Tensor), gradient, 1e-12)
    account = model.ledger(x, target)
    assert account.score == pytest.approx(float(expected.detach().sum()), abs=1e-12)
    # The energy is half of Σ y ∂E/∂y: its own part is what the linearization lacks.
    assert account.absorbed[0].relevance == pytest.approx(-account.score, abs=1e-12)
    assert abs(account.gap) < 1e-12


@pytest.mark.parametrize(
    ("kind", "target", "message"),
    [
        ("classes", "cat", "no 'cat'"),
        ("classes", "cow - cat", "no 'cat'"),
        ("classes", {"cow": "much"}, "has the weight 'much'; give a number"),
        ("classes", torch.rand(3), r"weights of shape \(3,\) do not fit outputs of shape \(2, 4\)"),
        ("classes", torch.full((4,), torch.nan), "must be finite"),
        ("classes", (1, 2), r"no index \[1, 2\] in outputs of shape \(4,\)"),
        ("classes", [0, None, 1], "list of 3; give one for each of 2 examples"),
        ("classes", (energy, lambda y: y), "is not that of its values: in one direction they change"),
        ("classes", (energy, lambda y: y[:, :2]), r"gradient of the function has the shape \(2,\)"),
        ("classes", (lambda y: y, lambda y: y), "must return one number for each example"),
        ("maps", None, r"not scores of classes; give the target as an index, such as \(3, 10, 20\)"),
        ("number", 1, "has 1 output, numbered from 0"),
        ("dict", 1, "2 outputs; give the target as a path, such as 'head.scores"),
        ("dict", ("aux", 1), "no output 'aux'"),
        ("dict", (2, 1), "has 2 outputs"),
    ],
)
def test_a_target_that_does_not_fit_is_refused(kind: str, target: Any, message: str) -> None:
    _, model, x = opened(kind)
    with pytest.raises(PellucidError, match=message):
        model.explain(x, "saliency", target)


def test_a_layer_with_weights_and_a_model_that_standardizes_are_no_functions() -> None:
    _, model, x = opened("classes")
    with pytest.raises(PellucidError, match=r"Dense has weights; give a pellucid\.Model of it"):
        model.explain(x, target=pellucid.Dense(1))
    net = pellucid.Sequential(flat=pellucid.Flatten(), one=pellucid.Dense(1))
    standardized = Model(net, "quadratic", input_shape=(1, 2, 2), preprocess={"mean": [0.5], "std": [1.0]})
    with pytest.raises(PellucidError, match="has a mean and std"):
        model.explain(x, target=standardized)


def test_a_list_explains_each_example_alone() -> None:
    net, params, x = network_and_batch("vgg")
    together = scores(net, params, x, [{0: 1.0, 1: -1.0}, (2,)])
    alone = [scores(net, params, x[:1], {0: 1.0, 1: -1.0}), scores(net, params, x[1:], 2)]
    assert torch.allclose(together, torch.cat(alone))
    assert abs(ledger(net, params, x, [{0: 1.0, 1: -1.0}, (2,)]).gap) < 1e-10


def test_targets_as_text() -> None:
    assert target_text({2: 1.0, 0: -1.0}, NAMES) == "cow - ant"
    assert target_text({2: 0.5, 3: 0.5, 0: -1.0}, NAMES) == "0.5 cow + 0.5 dog - ant"
    assert target_by_index("a - b", ["a - b", "b"]) == 0  # a class with that name comes first
    assert target_by_index("1 - 0", None) == {1: 1.0, 0: -1.0}


@pytest.mark.parametrize("text", ["0 - 1 - 2", "1 - 1"])
def test_a_difference_of_other_than_two_classes_is_refused(text: str) -> None:
    with pytest.raises(PellucidError, match="a difference has two different classes"):
        target_by_index(text, None)


@pytest.mark.parametrize("gradient", ["zero", "first only", "twice", "numpy", "None"])
def test_a_function_with_a_wrong_gradient_is_refused(gradient: str) -> None:
    net, params, x = network_and_batch("vgg")
    gradients: dict[str, Callable[[Tensor], Any]] = {
        "zero": torch.zeros_like,
        "first only": torch.eye(3).double()[:1].expand_as,
        "twice": lambda y: 2 * torch.ones_like(y),
        "numpy": lambda y: np.ones(y.shape),
        "None": lambda y: None,
    }
    with pytest.raises(PellucidError, match="target: the gradient of the function"):
        pellucid.explain.saliency(net, params, x, (lambda y: y.sum(1), gradients[gradient]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_of_another_dtype_are_converted(dtype: torch.dtype) -> None:
    net, params, x = network_and_batch("vgg")
    other = torch.float64 if dtype is torch.float32 else torch.float32
    target = (lambda y: y.square().sum(1), lambda y: 2 * y.to(other))
    map_ = pellucid.explain.saliency(net, cast(params, dtype), x.to(dtype), target)
    assert map_.dtype is dtype
