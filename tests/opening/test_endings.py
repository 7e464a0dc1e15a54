"""Endings of networks: variants of the last operators, opened from PyTorch and from ONNX, with every kind of loss."""

import copy
import io
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid import PellucidError
from tests.oracle import assert_close

CLASSES = 4


class Ending(nn.Module):
    """A convolution and one of several endings."""

    def __init__(self, name: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.end = name
        self.conv = nn.Conv2d(3, CLASSES, 3, padding=1)
        self.scores = nn.Linear(CLASSES, CLASSES)
        self.number = nn.Linear(CLASSES, 1)
        self.identity = nn.Identity()

    def before(self, x: Tensor) -> tuple[Tensor, Tensor]:
        maps = self.conv(x).relu()
        return maps, self.scores(maps.mean((2, 3)))

    def forward(self, x: Tensor) -> Any:
        maps, y = self.before(x)
        return ENDINGS[self.end][0](self, maps, y)


# The ending, and its default loss.
ENDINGS: dict[str, tuple[Any, str]] = {
    "scores": (lambda net, maps, y: y, "SoftmaxCrossEntropy"),
    "softmax": (lambda net, maps, y: y.softmax(1), "Quadratic"),
    "softmax, identity": (lambda net, maps, y: net.identity(y.softmax(1)), "Quadratic"),
    "softmax, reshape": (lambda net, maps, y: y.softmax(1).reshape(-1, CLASSES), "Quadratic"),
    "softmax of pixels, flattened": (lambda net, maps, y: y[:, :, None, None].softmax(1).flatten(1), "Quadratic"),
    "log softmax": (lambda net, maps, y: y.log_softmax(1), "NegativeLogLikelihood"),
    "sigmoid": (lambda net, maps, y: y.sigmoid(), "ProbabilityCrossEntropy"),
    "column": (lambda net, maps, y: net.number(y), "Quadratic"),
    "column, sigmoid": (lambda net, maps, y: net.number(y).sigmoid(), "Quadratic"),
    "number": (lambda net, maps, y: net.number(y)[:, 0], "Quadratic"),
    "number, sigmoid": (lambda net, maps, y: net.number(y).sigmoid().squeeze(1), "Quadratic"),
    "maps": (lambda net, maps, y: maps, "SoftmaxCrossEntropy"),
    "softmax of maps": (lambda net, maps, y: maps.softmax(1), "Quadratic"),
    "map": (lambda net, maps, y: maps[:, :1], "Quadratic"),
    "dict": (lambda net, maps, y: {"scores": y, "maps": maps}, "Quadratic"),
    "dict of one": (lambda net, maps, y: {"out": maps}, "SoftmaxCrossEntropy"),
    "tuple": (lambda net, maps, y: (y, maps), "Quadratic"),
    "dict with probabilities": (lambda net, maps, y: {"p": y.softmax(1), "maps": maps.sigmoid()}, "Quadratic"),
}


def example() -> Tensor:
    return torch.rand(2, 3, 8, 9, generator=torch.Generator().manual_seed(1))


def tensors(y: Any) -> list[Tensor]:
    values = y.values() if isinstance(y, dict) else y if isinstance(y, tuple) else (y,)
    return list(values)


@pytest.mark.parametrize("loss", ["default", None, "quadratic"])
@pytest.mark.parametrize("name", ENDINGS)
def test_every_ending_opens_with_every_loss(name: str, loss: str | None) -> None:
    network = Ending(name).eval()
    model = pellucid.open(network, example(), **({} if loss == "default" else {"loss": loss}))
    assert type(model.loss).__name__ == ("Quadratic" if loss == "quadratic" else ENDINGS[name][1])
    for ours, theirs in zip(tensors(model(example())), tensors(network(example())), strict=True):
        assert_close(ours, theirs.detach(), 1e-5)


@pytest.mark.parametrize("name", ENDINGS)
def test_every_ending_opens_from_onnx(name: str, tmp_path: Path) -> None:
    network = Ending(name).eval()
    outputs = network(example())
    names = list(outputs) if isinstance(outputs, dict) else [f"y{number}" for number in range(len(tensors(outputs)))]
    file = io.BytesIO()
    axes = {"x": {0: "N"}, **{output: {0: "N"} for output in names}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network, (example(),), file, dynamo=False, input_names=["x"], output_names=names, dynamic_axes=axes
        )
    path = tmp_path / "network.onnx"
    path.write_bytes(file.getvalue())
    model = pellucid.open(path)
    for ours, theirs in zip(tensors(model(example())), tensors(outputs), strict=True):
        assert_close(ours, theirs.detach(), 1e-5)
    assert model.output_names == tuple(names)
    target = (0, 1) if len(names) > 1 else None if "map" not in name and name != "dict of one" else (0, 2, 3)
    from_torch = pellucid.open(network, example())
    expected = from_torch.explain(example(), "saliency", target).as_subclass(Tensor)
    assert_close(model.explain(example(), "saliency", target).as_subclass(Tensor), expected, 1e-5)


@pytest.mark.parametrize("name", [name for name in ENDINGS if "softmax" in name or "sigmoid" in name])
def test_maps_are_of_the_score_before_the_probabilities(name: str) -> None:
    network = Ending(name).double()
    x = example().double()
    model = pellucid.open(network, x)
    inputs = x.clone().requires_grad_()
    maps, y = network.before(inputs)
    if "maps" in name:
        target: Any = (2, 3, 4)
        score = maps[:, 2, 3, 4]
    elif "column" in name or "number" in name:
        target = None
        score = network.number(y)
    else:
        target = 2
        score = y[:, 2]
    (gradient,) = torch.autograd.grad(score.sum(), inputs)
    assert_close(model.explain(x, "saliency", target, signed=True).as_subclass(Tensor), gradient, 1e-12)
    account = model.ledger(x, target)
    assert account.score == pytest.approx(float(score.detach().sum()), abs=1e-12)
    assert abs(account.gap) < 1e-12


def test_a_path_and_a_function_explain_the_probabilities_themselves() -> None:
    network = Ending("softmax").double()
    x = example().double()
    model = pellucid.open(network, x)
    inputs = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(inputs)[:, 2].sum(), inputs)
    path = next(path for path in model.net.layers if "softmax" in path)
    first = torch.zeros(CLASSES).double().index_fill(0, torch.tensor([2]), 1.0)
    for target in (f"{path}[2]", (lambda y: y[:, 2], first.expand_as)):
        assert_close(model.explain(x, "saliency", target, signed=True).as_subclass(Tensor), gradient, 1e-12)


def test_a_softmax_whose_probabilities_are_computed_with_stays() -> None:
    class Squared(Ending):
        def forward(self, x: Tensor) -> Any:
            probabilities = self.before(x)[1].softmax(1)
            return probabilities, probabilities.square().sum(1)

    network = Squared("softmax").double()
    x = example().double()
    inputs = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(inputs)[1].sum(), inputs)
    model = pellucid.open(network, x)
    assert_close(model.explain(x, "saliency", (1,), signed=True).as_subclass(Tensor), gradient, 1e-12)


def test_outputs_keep_their_names() -> None:
    model = pellucid.open(Ending("dict").eval(), example())
    y = model(example())
    assert model.output_names == ("scores", "maps")
    assert torch.equal(y["maps"], y[1])
    assert torch.equal(copy.deepcopy(y)["maps"], y[1])
    with pytest.raises(PellucidError, match="no output 'map'; did you mean 'maps'"):
        y["map"]


def test_entries_with_several_outputs_give_no_names() -> None:
    class Listed(Ending):
        def forward(self, x: Tensor) -> Any:
            return {"both": list(self.before(x)), "number": 3}

    model = pellucid.open(Listed("dict").eval(), example())
    assert model.output_names == ()
    assert len(model(example())) == 2
