"""User-defined classes of every kind train, resume, save, load, verify, explain and export as Pellucid's own do."""

import onnxruntime
import pytest
import torch
from torch.nn import functional as F

from pellucid.export import to_onnx
from pellucid.extend.registry import REGISTERED
from pellucid.model import Model
from pellucid.run.history import read_csv
from pellucid.training.checkpoint import SavedState
from tests.forked import run_forked
from tests.own import elsewhere, killed, parts
from tests.training.killed import killed_and_resumed
from tests.training.small import digits


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    monkeypatch.setattr("pellucid.extend.registry.REGISTERED", dict(REGISTERED))


def reference(weights, x):
    """Return the logits of the network, by PyTorch's functions."""
    y = F.conv2d(x, weights["conv.weight"], weights["conv.bias"], padding=1) * weights["scale.factor"]
    return F.linear(F.max_pool2d(F.relu(y), 2).flatten(1), weights["scores.weight"], weights["scores.bias"])


def focal_loss(y, target):
    p = y.softmax(1)[torch.arange(len(y)), target]
    return -((1 - p) ** 1.5 * p.log()).mean()


@pytest.mark.heavy
@pytest.mark.slow
def test_user_defined_classes_train_save_load_and_resume(tmp_path):
    # A training that is killed and resumed twice has the hash of an uninterrupted training.
    expected = killed.train(tmp_path / "whole")
    last = tmp_path / "run/weights/last.safetensors"
    weights_hash, steps = killed_and_resumed(killed.train, tmp_path / "run", kills=2)
    assert weights_hash == expected
    assert steps == sorted(set(steps))  # each process reached a later step than the previous one
    rows = read_csv(tmp_path / "run/metrics.csv")
    assert {"val_accuracy", "val_errors", "val_output_std", "train_errors"} <= set(rows[0])
    for row in rows:
        assert row["val_errors"] == pytest.approx(1 - row["val_accuracy"])
    val_errors = [row["val_errors"] for row in rows]
    checkpoint_state = SavedState(last).progress["callbacks"]["1-Checkpoint"]
    assert (checkpoint_state["best"], checkpoint_state["best_epoch"]) == (
        min(val_errors),
        1 + val_errors.index(min(val_errors)),
    )

    # Load and save in a new process, in which no class is registered.
    code, (sha256, actual) = run_forked(elsewhere.load_and_save, last, tmp_path / "again.safetensors")
    assert code == 0
    model = Model.load(tmp_path / "again.safetensors", custom=parts.PARTS)
    assert sha256 == model.sha256() == expected
    assert actual == model.evaluate(digits(300, 350))
    test = digits(300, 350)
    logits = reference(model.weights, test.x)
    assert actual["errors"] == pytest.approx((logits.argmax(1) != test.y).double().mean().item())
    assert actual["loss"] == pytest.approx(focal_loss(logits, test.y).item(), rel=1e-5)
    assert actual["output_std"] == pytest.approx(logits.std().item(), rel=1e-5)

    # Verify, trace and explain agree with PyTorch's autograd.
    x, y = test.x[:4], test.y[:4]
    assert model.verify(x, y).ok
    weights = {path: weight.double().requires_grad_() for path, weight in model.weights.items()}
    image = x.double().requires_grad_()
    scores = reference(weights, image)
    cost = focal_loss(scores, y)
    factor, pixels = torch.autograd.grad(cost, [weights["scale.factor"], image], retain_graph=True)
    trace = model.trace(x, y, dtype=torch.float64)
    assert trace.loss == pytest.approx(cost.item(), rel=1e-9)
    torch.testing.assert_close(trace["scale.dfactor"], factor)
    torch.testing.assert_close(trace["dx"], pixels)
    explanation = trace.explain("scale.factor[1, 0, 0]")
    assert explanation.gradient == pytest.approx(factor[1].item(), rel=1e-9)
    score_gradient = torch.autograd.grad(scores[torch.arange(4), scores.argmax(1)].sum(), image)[0]
    torch.testing.assert_close(model.explain(x, "input_x_gradient"), (score_gradient * x).float(), rtol=1e-4, atol=1e-5)

    # The exported ONNX file has equal outputs in onnxruntime.
    to_onnx(model, tmp_path / "own.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "own.onnx", providers=["CPUExecutionProvider"])
    torch.testing.assert_close(torch.from_numpy(session.run(None, {"input": test.x.numpy()})[0]), logits)
