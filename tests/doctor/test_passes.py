"""Outputs and gradients of layers, compared with PyTorch."""

import pytest
import torch
import torch.nn.functional as F

from pellucid.combine import Fork, Sequential, Shared
from pellucid.doctor import passes
from pellucid.doctor.passes import activity, gradients, normalized_moments, rms, with_batch_statistics
from pellucid.layers import Add, BatchNorm, Conv2d, Dense, Flatten, Identity, ReLU, Tanh
from pellucid.model import Model
from tests.doctor.small_cases import conv_net, corners, make_case, make_model


def test_outputs_of_every_layer_are_returned_in_order() -> None:
    model, (x, _) = make_model(), corners()
    p, outputs = model.weights, activity(model, x)
    hidden = F.relu(F.linear(x.flatten(1), p["dense1.weight"], p["dense1.bias"]))
    assert list(outputs) == ["flatten", "dense1", "relu", "dense2"]
    assert outputs["relu"].y.shape == (64, 12, 1)
    torch.testing.assert_close(outputs["relu"].y[..., 0], hidden)
    torch.testing.assert_close(outputs["relu"].mean, hidden.mean(0))
    torch.testing.assert_close(outputs["relu"].std, hidden.std(0, correction=0))


def test_maps_keep_positions_and_norms_use_their_statistics() -> None:
    model = make_model(Sequential(conv=Conv2d(3, 3), norm=BatchNorm(), flatten=Flatten(), dense=Dense(4)))
    x, _ = corners()
    maps = F.conv2d(x, model.weights["conv.weight"], model.weights["conv.bias"])
    evaluated = activity(model, x)
    torch.testing.assert_close(evaluated["conv"].y, maps.flatten(2))
    torch.testing.assert_close(evaluated["norm"].y, (maps / (1 + 1e-5) ** 0.5).flatten(2))  # by initial statistics


def test_running_statistics_are_unchanged() -> None:
    model = make_model(Sequential(norm=BatchNorm(), flatten=Flatten(), dense=Dense(4)))
    weights_before = {path: value.clone() for path, value in model.weights.items()}
    activity(model, corners()[0])
    assert all(torch.equal(weights_before[path], value) for path, value in model.weights.items())


def test_a_shared_layer_has_the_outputs_of_its_last_use() -> None:
    net = Sequential(
        flatten=Flatten(), both=Fork(as_is=Identity(), bent=Tanh()), twice=Shared(Dense(5)), add=Add(), scores=Dense(4)
    )
    model, (x, _) = make_model(net), corners()
    (path, shared), *others = [
        (path, shared) for path, shared in activity(model, x).items() if path.startswith("twice")
    ]
    assert not others
    p = model.weights
    last_output = F.linear(x.flatten(1).tanh(), p[f"{path}.weight"], p[f"{path}.bias"])
    torch.testing.assert_close(shared.y[..., 0], last_output)


def test_outputs_that_are_not_finite_are_reported() -> None:
    model = make_model()
    model.weights["dense2.weight"][0] = float("inf")
    outputs = activity(model, corners()[0])
    assert outputs["relu"].finite
    assert not outputs["dense2"].finite


def test_maps_beyond_the_memory_are_kept_at_some_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(Sequential(conv=Conv2d(3, 3), flatten=Flatten(), dense=Dense(4)))
    x, _ = corners()
    all_outputs = activity(model, x)
    # 3 layers, 64 examples, 2 positions of 3 units
    monkeypatch.setattr("pellucid.doctor.passes.MAX_ACTIVITY_BYTES", 3 * 64 * 6 * 4)
    limited = activity(model, x)
    assert limited["conv"].y.shape == (64, 3, 2)
    assert all_outputs["conv"].size == limited["conv"].size == 3 * 2 * 2
    is_kept = (all_outputs["conv"].y[:, :, None] == limited["conv"].y[..., None]).all(
        1
    )  # (N, kept positions, all positions)
    assert bool((is_kept.sum(2) == 1).all())
    assert bool(is_kept.any(1).sum(1).eq(2).all())  # two positions of each example
    assert bool(is_kept.any(1).any(0).all())  # different positions in different examples
    assert torch.equal(all_outputs["dense"].y, limited["dense"].y)


def test_inputs_beyond_the_memory_are_split_into_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (x, _) = make_model(), corners()
    outputs = activity(model, x)
    n_values = sum(layer_outputs.size for layer_outputs in outputs.values())
    monkeypatch.setattr(passes, "MAX_PASS_BYTES", 4 * n_values * 7)
    assert passes.max_batch(model, x) == 7
    assert [len(part) for part in passes.in_batches(model, x)] == [7, 7, 7, 7, 6, 6, 6, 6, 6, 6]
    torch.testing.assert_close(activity(model, x)["dense2"].y, outputs["dense2"].y)
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
    assert measured.loss == pytest.approx(loss.item(), rel=1e-6)
    assert set(measured.weights) == set(p)
    for path, value in p.items():
        torch.testing.assert_close(measured.weights[path], value.grad, rtol=1e-4, atol=1e-7)


def test_the_model_and_the_random_state_are_unchanged() -> None:
    model, (x, y) = make_model(conv_net()), corners()
    weights_before = {path: value.clone() for path, value in model.weights.items()}
    rng_state = torch.get_rng_state()
    first, second = gradients(model, x, y), gradients(model, x, y)
    assert all(torch.equal(weights_before[path], value) for path, value in model.weights.items())
    assert torch.equal(rng_state, torch.get_rng_state())
    assert first.loss == second.loss  # dropout is seeded


def test_statistics_of_norms_have_no_gradient() -> None:
    model = make_model(Sequential(norm=BatchNorm(), flatten=Flatten(), dense=Dense(4)))
    assert set(gradients(model, *corners()).weights) == {"norm.weight", "norm.bias", "dense.weight", "dense.bias"}


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


def test_normalized_moments_skip_channels_with_a_scale_of_0() -> None:
    model = Model(Sequential(norm=BatchNorm()), input_shape=(3,), loss="quadratic", metrics=())
    model.weights["norm.weight"].copy_(torch.tensor([-2.0, 0.0, 3.0]))
    model.weights["norm.bias"].copy_(torch.tensor([5.0, 1.0, -1.0]))
    model.weights["norm.running_mean"].fill_(1.0)
    model.weights["norm.running_var"].fill_(4.0)
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    mean, std = normalized_moments(model, activity(model, x)["norm"])
    assert torch.allclose(mean, ((x - 1) / 2).mean(0)[[0, 2]], atol=1e-4)
    assert torch.allclose(std, (x / 2).std(0, correction=0)[[0, 2]], atol=1e-4)
