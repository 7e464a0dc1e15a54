"""Gradients of a batch, against PyTorch's automatic ones."""

import pytest
import torch
import torch.nn.functional as F

from pellucid.combine import Sequential
from pellucid.doctor.measure.backward import flow, rms
from pellucid.layers import BatchNorm, Conv2d, Dense, Flatten, ReLU
from tests.doctor.examined import conv_net, corners, model


def test_loss_and_gradients_are_those_of_autograd() -> None:
    it, (x, y) = model(Sequential(conv=Conv2d(3, 3), relu=ReLU(), flatten=Flatten(), out=Dense(4))), corners()
    found = flow(it, x, y)
    p = {path: value.clone().requires_grad_() for path, value in it.weights.items()}
    maps = F.conv2d(x, p["conv.weight"], p["conv.bias"])
    hidden = F.relu(maps)
    scores = F.linear(hidden.flatten(1), p["out.weight"], p["out.bias"])
    for value in (maps, hidden, scores):
        value.retain_grad()
    loss = F.cross_entropy(scores, y)
    loss.backward()
    assert found.loss == pytest.approx(loss.item(), rel=1e-6)
    assert list(found.dy) == ["out", "flatten", "relu", "conv"]  # the last first
    for path, value in (("conv", maps), ("relu", hidden), ("out", scores)):
        assert value.grad is not None
        assert found.dy[path] == pytest.approx(value.grad.square().mean().sqrt().item(), rel=1e-5)
    assert set(found.gradients) == set(p)
    for path, value in p.items():
        torch.testing.assert_close(found.gradients[path], value.grad, rtol=1e-4, atol=1e-7)


def test_the_model_and_the_draws_of_others_stay_as_they_are() -> None:
    it, (x, y) = model(conv_net()), corners()
    before = {path: value.clone() for path, value in it.weights.items()}
    drawn = torch.get_rng_state()
    one, two = flow(it, x, y), flow(it, x, y)
    assert all(torch.equal(before[path], value) for path, value in it.weights.items())
    assert torch.equal(drawn, torch.get_rng_state())
    assert (one.loss, one.dy) == (two.loss, two.dy)  # dropout draws by the seed


def test_statistics_of_norms_have_no_gradient() -> None:
    it = model(Sequential(norm=BatchNorm(), flatten=Flatten(), dense=Dense(4)))
    assert set(flow(it, *corners()).gradients) == {"norm.weight", "norm.bias", "dense.weight", "dense.bias"}


def test_root_mean_square() -> None:
    assert rms(torch.tensor([3.0, -4.0])) == pytest.approx(12.5**0.5)
    assert rms(torch.zeros(0)) == 0.0
