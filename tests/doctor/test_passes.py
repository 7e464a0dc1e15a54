"""Outputs and gradients of layers, against PyTorch."""

import pytest
import torch
import torch.nn.functional as F

from pellucid.combine import Fork, Sequential, Shared
from pellucid.doctor import passes
from pellucid.doctor.passes import activity, gradients, normalized_moments, rms, with_batch_statistics
from pellucid.layers import Add, BatchNorm, Conv2d, Dense, Flatten, Identity, ReLU, Tanh
from pellucid.model import Model
from tests.doctor.examined import case, conv_net, corners, model


def test_every_layer_is_there_in_order_with_its_outputs() -> None:
    it, (x, _) = model(), corners()
    p, seen = it.weights, activity(it, x)
    hidden = F.relu(F.linear(x.flatten(1), p["dense1.weight"], p["dense1.bias"]))
    assert list(seen) == ["flatten", "dense1", "relu", "dense2"]
    assert seen["relu"].y.shape == (64, 12, 1)
    torch.testing.assert_close(seen["relu"].y[..., 0], hidden)
    torch.testing.assert_close(seen["relu"].mean, hidden.mean(0))
    torch.testing.assert_close(seen["relu"].std, hidden.std(0, correction=0))


def test_maps_keep_their_places_and_norms_their_mode() -> None:
    it = model(Sequential(conv=Conv2d(3, 3), norm=BatchNorm(), flatten=Flatten(), dense=Dense(4)))
    x, _ = corners()
    maps = F.conv2d(x, it.weights["conv.weight"], it.weights["conv.bias"])
    evaluated, trained = activity(it, x), activity(it, x, train=True)
    torch.testing.assert_close(evaluated["conv"].y, maps.flatten(2))
    torch.testing.assert_close(evaluated["norm"].y, (maps / (1 + 1e-5) ** 0.5).flatten(2))  # by its first statistics
    torch.testing.assert_close(
        trained["norm"].y, F.batch_norm(maps, None, None, training=True).flatten(2), rtol=1e-4, atol=1e-5
    )


def test_running_statistics_stay() -> None:
    it = model(Sequential(norm=BatchNorm(), flatten=Flatten(), dense=Dense(4)))
    before = {path: value.clone() for path, value in it.weights.items()}
    activity(it, corners()[0], train=True)
    assert all(torch.equal(before[path], value) for path, value in it.weights.items())


def test_of_a_shared_layer_the_last_use_counts() -> None:
    net = Sequential(
        flatten=Flatten(), both=Fork(as_is=Identity(), bent=Tanh()), twice=Shared(Dense(5)), add=Add(), scores=Dense(4)
    )
    it, (x, _) = model(net), corners()
    (path, one), *rest = [(path, one) for path, one in activity(it, x).items() if path.startswith("twice")]
    assert not rest
    p = it.weights
    last = F.linear(x.flatten(1).tanh(), p[f"{path}.weight"], p[f"{path}.bias"])
    torch.testing.assert_close(one.y[..., 0], last)


def test_numbers_that_are_not_finite_are_reported() -> None:
    it = model()
    it.weights["dense2.weight"][0] = float("inf")
    seen = activity(it, corners()[0])
    assert seen["relu"].finite
    assert not seen["dense2"].finite


def test_maps_that_take_too_much_memory_are_kept_at_some_places() -> None:
    it = model(Sequential(conv=Conv2d(3, 3), flatten=Flatten(), dense=Dense(4)))
    x, _ = corners()
    whole, few = (
        activity(it, x),
        activity(it, x, max_bytes=3 * 64 * 6 * 4),
    )  # 3 layers, 64 examples, 2 places of 3 units
    assert few["conv"].y.shape == (64, 3, 2)
    assert whole["conv"].size == few["conv"].size == 3 * 2 * 2
    there = (whole["conv"].y[:, :, None] == few["conv"].y[..., None]).all(
        1
    )  # all units at one place: (N, kept, places)
    assert bool((there.sum(2) == 1).all())
    assert bool(there.any(1).sum(1).eq(2).all())  # two places of each example
    assert bool(there.any(1).any(0).all())  # other ones in others
    assert torch.equal(whole["dense"].y, few["dense"].y)


def test_inputs_without_room_go_through_one_part_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    it, (x, _) = model(), corners()
    whole = activity(it, x)
    numbers = sum(seen.size for seen in whole.values())
    monkeypatch.setattr(passes, "MAX_PASS_BYTES", 4 * numbers * 7)
    assert passes.max_batch(it, x) == 7
    assert [len(part) for part in passes.in_batches(it, x)] == [7, 7, 7, 7, 6, 6, 6, 6, 6, 6]
    torch.testing.assert_close(activity(it, x)["dense2"].y, whole["dense2"].y)
    monkeypatch.setattr(passes, "MAX_PASS_BYTES", 1)
    assert passes.max_batch(it, x) == 2


def test_loss_and_gradients_are_those_of_autograd() -> None:
    it, (x, y) = model(Sequential(conv=Conv2d(3, 3), relu=ReLU(), flatten=Flatten(), out=Dense(4))), corners()
    found = gradients(it, x, y)
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
    assert set(found.weights) == set(p)
    for path, value in p.items():
        torch.testing.assert_close(found.weights[path], value.grad, rtol=1e-4, atol=1e-7)


def test_the_model_and_the_draws_of_others_stay_as_they_are() -> None:
    it, (x, y) = model(conv_net()), corners()
    before = {path: value.clone() for path, value in it.weights.items()}
    drawn = torch.get_rng_state()
    one, two = gradients(it, x, y), gradients(it, x, y)
    assert all(torch.equal(before[path], value) for path, value in it.weights.items())
    assert torch.equal(drawn, torch.get_rng_state())
    assert (one.loss, one.dy) == (two.loss, two.dy)  # dropout draws by the seed


def test_statistics_of_norms_have_no_gradient() -> None:
    it = model(Sequential(norm=BatchNorm(), flatten=Flatten(), dense=Dense(4)))
    assert set(gradients(it, *corners()).weights) == {"norm.weight", "norm.bias", "dense.weight", "dense.bias"}


def test_root_mean_square() -> None:
    assert rms(torch.tensor([3.0, -4.0])) == pytest.approx(12.5**0.5)
    assert rms(torch.zeros(0)) == 0.0


def test_norms_alone_are_in_training_mode() -> None:
    it = case(conv_net(), epochs=1)
    before = {path: value.clone() for path, value in it.model.weights.items()}
    x = it.inputs(it.train)
    w = it.model.weights
    y = torch.conv2d(x, w["conv1.weight"], w["conv1.bias"], padding=1)
    y = torch.nn.functional.batch_norm(y, None, None, w["norm.weight"], w["norm.bias"], training=True).relu()
    y = y + torch.conv2d(y, _body(w, "weight"), _body(w, "bias"), padding=1).tanh()
    expected = torch.max_pool2d(y, 2).flatten(1) @ w["scores.weight"].T + w["scores.bias"]
    torch.testing.assert_close(with_batch_statistics(it.model, x), expected, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(before[path], value) for path, value in it.model.weights.items())


def _body(weights: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    return next(value for path, value in weights.items() if path.startswith("block.") and path.endswith(f"conv.{name}"))


def test_scale_and_shift_are_undone_and_channels_scaled_away_left_out() -> None:
    it = Model(Sequential(norm=BatchNorm()), input_shape=(3,), loss="quadratic", metrics=())
    it.weights["norm.weight"].copy_(torch.tensor([-2.0, 0.0, 3.0]))
    it.weights["norm.bias"].copy_(torch.tensor([5.0, 1.0, -1.0]))
    it.weights["norm.running_mean"].fill_(1.0)
    it.weights["norm.running_var"].fill_(4.0)
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    mean, std = normalized_moments(it, activity(it, x)["norm"])
    assert torch.allclose(mean, ((x - 1) / 2).mean(0)[[0, 2]], atol=1e-4)
    assert torch.allclose(std, (x / 2).std(0, correction=0)[[0, 2]], atol=1e-4)
