"""One step of each optimizer on a shipped model, against torch.optim with PyTorch's gradients."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.base.errors import PellucidError
from pellucid.model import Model
from pellucid.optim import SGD, Adagrad, Adam, AdamW, MaxNorm, Momentum, Nesterov, Optimizer, RMSprop
from pellucid.optim.regularizers import L2
from pellucid.trace import trace

TARGET = torch.tensor([2, 7])
OPTIMIZERS: dict[str, tuple[Optimizer, Callable[[Any], torch.optim.Optimizer]]] = {
    "sgd": (SGD(0.3), lambda ps: torch.optim.SGD(ps, 0.3)),
    "momentum": (Momentum(0.1, 0.9), lambda ps: torch.optim.SGD(ps, 0.1, 0.9)),
    "nesterov": (Nesterov(0.1, 0.9), lambda ps: torch.optim.SGD(ps, 0.1, 0.9, nesterov=True)),
    "adagrad": (Adagrad(0.05), lambda ps: torch.optim.Adagrad(ps, 0.05)),
    "rmsprop": (RMSprop(0.01), lambda ps: torch.optim.RMSprop(ps, 0.01)),
    "adam": (Adam(0.01), lambda ps: torch.optim.Adam(ps, 0.01)),
}


def loss_of(x: Tensor, w: dict[str, Tensor]) -> Tensor:
    """Return the loss of mnist-lenet by PyTorch's functions."""
    for layer, padding in (("features.conv1", 2), ("features.conv2", 0)):
        x = F.max_pool2d(torch.relu(F.conv2d(x, w[f"{layer}.weight"], w[f"{layer}.bias"], padding=padding)), 2)
    x = x.flatten(1)
    for layer in ("head.dense1", "head.dense2"):
        x = torch.relu(F.linear(x, w[f"{layer}.weight"], w[f"{layer}.bias"]))
    return F.cross_entropy(F.linear(x, w["head.scores.weight"], w["head.scores.bias"]), TARGET)


def leaves(model: Model) -> dict[str, Tensor]:
    return {name: leaf.double().contiguous().requires_grad_() for name, leaf in model.weights.items()}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_equals_torch_optims(lenet: Model, digits: Tensor, name: str) -> None:
    pellucid_optimizer, make_theirs = OPTIMIZERS[name]
    update = trace(lenet, digits, TARGET).step(pellucid_optimizer)
    w = leaves(lenet)
    optimizer = make_theirs(w.values())
    value = loss_of(digits.double(), w)
    value.backward()
    optimizer.step()
    with torch.no_grad():
        assert update.before == pytest.approx(value.item(), rel=1e-12)
        assert update.after == pytest.approx(loss_of(digits.double(), w).item(), rel=1e-9)
    for path, leaf in w.items():
        torch.testing.assert_close(update[path], leaf.detach(), rtol=1e-9, atol=1e-11, msg=path)


def test_a_step_applies_regularizers_clipping_frozen_paths_and_learning_rates(lenet: Model, digits: Tensor) -> None:
    model = Model(
        lenet.net,
        optimizer=SGD(0.2),
        input_shape=(1, 28, 28),
        classes=10,
        regularizer=[L2(0.4), MaxNorm(1.2)],
        clip=0.5,
        seed=4,
    )
    model.freeze("features.conv1.*")
    model.scale_rate("head.scores.*", 0.1)
    update = trace(model, digits, TARGET, n=8).step()
    w = leaves(model)
    value = loss_of(digits.double(), w)
    weight_paths = [path for path in w if path.endswith("weight")]
    (value + sum(0.4 / 16 * (w[path] ** 2).sum() for path in weight_paths)).backward()
    trained = {path: leaf for path, leaf in w.items() if not path.startswith("features.conv1")}
    torch.nn.utils.clip_grad_norm_(trained.values(), 0.5)
    with torch.no_grad():
        for path, leaf in trained.items():
            assert leaf.grad is not None
            leaf.sub_(leaf.grad, alpha=0.2 * (0.1 if path.startswith("head.scores") else 1.0))
            if path.endswith("weight"):
                leaf.copy_(torch.renorm(leaf, 2, 0, 1.2))
            torch.testing.assert_close(update[path], leaf.detach(), rtol=1e-6, atol=1e-9, msg=path)
    assert update.weights.keys() == trained.keys()
    assert "head.dense1.weight" in str(update)
    assert update.to_json()["optimizer"] == "SGD(lr=0.2)"


def test_adamw_shrinks_weights_and_nothing_else(mlp: Model, digits: Tensor) -> None:
    record = trace(mlp, digits, TARGET)
    adam, adamw = record.step(Adam(0.01)), record.step(AdamW(0.01, weight_decay=0.5))
    for path, leaf in mlp.weights.items():
        decay = 0.01 * 0.5 * leaf.double() if path.endswith("weight") else torch.zeros(())
        torch.testing.assert_close(adamw[path], adam[path] - decay, rtol=1e-9, atol=1e-12)


def test_a_small_step_changes_the_loss_along_the_tangent(lenet: Model, digits: Tensor) -> None:
    record = trace(lenet, digits, TARGET)
    update = record.step(SGD(1.0), lr=1e-7)
    squares = sum(float((gradient**2).sum()) for gradient in record.gradients.values())
    assert update.predicted == pytest.approx(-1e-7 * squares, rel=1e-6)
    assert update.after - update.before == pytest.approx(update.predicted, rel=1e-3)
    assert record.step(lr=0.0).after == record.loss, "the model's own optimizer"


def test_step_takes_an_optimizer_by_name_and_a_learning_rate(lenet: Model, digits: Tensor) -> None:
    record = trace(lenet, digits, TARGET)
    assert record.step("sgd", lr=0.25).lr == 0.25
    update = record.step("sgd", lr=1e-5)
    assert f"loss {record.loss:.6g} → " in str(update)
    assert re.search(r"\d-|-\d", str(update)) is None, "a minus is a minus, in exponents as well"
    assert "at learning rate 0.25" in str(record.step(SGD(0.1), lr=0.25))
    with pytest.raises(PellucidError, match="no optimizer 'sdg'"):
        record.step("sdg")
    with pytest.raises(PellucidError, match="lr must be a finite number, 0 or more, not -1"):
        record.step(SGD(0.1), lr=-1)
