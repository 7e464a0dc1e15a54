"""Outputs and gradients of layers, compared with PyTorch."""

import pytest
import torch
import torch.nn.functional as F

from pellucid.combine import Sequential
from pellucid.doctor import passes
from pellucid.doctor.passes import gradients, layer_outputs, rms, with_batch_statistics
from pellucid.layers import BatchNorm, Conv2d, Dense, Flatten, ReLU
from tests.doctor.small_cases import conv_net, corners, make_case, make_model


def test_inputs_beyond_the_memory_are_split_into_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (x, _) = make_model(), corners()
    n_values = sum(y[0].numel() for _, _, y in layer_outputs(model, x))
    monkeypatch.setattr(passes, "MAX_PASS_BYTES", 4 * n_values * 7)
    assert passes.max_batch(model, x) == 7
    assert [len(part) for part in passes.in_batches(model, x)] == [7, 7, 7, 7, 6, 6, 6, 6, 6, 6]
    monkeypatch.setattr(passes, "MAX_PASS_BYTES", 1)
    assert passes.max_batch(model, x) == 2


def test_loss_and_gradients_are_those_of_autograd() -> None:
    model, (x, y) = make_model(Sequential(conv=Conv2d(3, 3), relu=ReLU(), flatten=Flatten(), out=Dense(4))), corners()
    measured = gradients(model, x, y)
    p = {path: value.clone().requires_grad_() for path, value in model.weights.items()}
    maps = F.conv2d(x, p["conv.weight"], p["conv.bias"])
    hidden = F.relu(maps)
    scores = F.linear(hidden.flatten(1), p["out.weight"], p["out.bias"])
    loss = F.cross_entropy(scores, y)
    loss.backward()
    assert set(measured) == set(p)
    for path, value in p.items():
        torch.testing.assert_close(measured[path], value.grad, rtol=1e-4, atol=1e-7)


def test_the_model_and_the_random_state_are_unchanged() -> None:
    model, (x, y) = make_model(conv_net()), corners()
    weights_before = {path: value.clone() for path, value in model.weights.items()}
    rng_state = torch.get_rng_state()
    first, second = gradients(model, x, y), gradients(model, x, y)
    assert all(torch.equal(weights_before[path], value) for path, value in model.weights.items())
    assert torch.equal(rng_state, torch.get_rng_state())
    assert all(torch.equal(value, second[path]) for path, value in first.items())  # dropout is seeded


def test_statistics_of_norms_have_no_gradient() -> None:
    model = make_model(Sequential(norm=BatchNorm(), flatten=Flatten(), dense=Dense(4)))
    assert set(gradients(model, *corners())) == {"norm.weight", "norm.bias", "dense.weight", "dense.bias"}


def test_root_mean_square() -> None:
    assert rms(torch.tensor([3.0, -4.0])) == pytest.approx(12.5**0.5)
    assert rms(torch.zeros(0)) == 0.0


def test_batch_statistics_are_used_by_norms_only() -> None:
    case = make_case(conv_net(), epochs=1)
    weights_before = {path: value.clone() for path, value in case.model.weights.items()}
    x = case.inputs(case.train)
    w = case.model.weights
    y = torch.conv2d(x, w["conv1.weight"], w["conv1.bias"], padding=1)
    y = torch.nn.functional.batch_norm(y, None, None, w["norm.weight"], w["norm.bias"], training=True).relu()
    y = y + torch.conv2d(y, _block_weight(w, "weight"), _block_weight(w, "bias"), padding=1).tanh()
    expected = torch.max_pool2d(y, 2).flatten(1) @ w["scores.weight"].T + w["scores.bias"]
    torch.testing.assert_close(with_batch_statistics(case.model, x), expected, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(weights_before[path], value) for path, value in case.model.weights.items())


def _block_weight(weights: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    return next(value for path, value in weights.items() if path.startswith("block.") and path.endswith(f"conv.{name}"))
