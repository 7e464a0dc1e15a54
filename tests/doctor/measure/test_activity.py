"""What layers put out, against PyTorch's own functions."""

import pytest
import torch
import torch.nn.functional as F

from pellucid.combine import Fork, Sequential, Shared
from pellucid.doctor.measure import room
from pellucid.doctor.measure.activity import activity
from pellucid.layers import Add, BatchNorm, Conv2d, Dense, Flatten, Identity, Tanh
from tests.doctor.examined import corners, model


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


def test_numbers_that_are_not_finite_are_told() -> None:
    it = model()
    it.weights["dense2.weight"][0] = float("inf")
    seen = activity(it, corners()[0])
    assert seen["relu"].finite
    assert not seen["dense2"].finite


def test_maps_that_take_too_much_memory_are_kept_at_some_places() -> None:
    it = model(Sequential(conv=Conv2d(3, 3), flatten=Flatten(), dense=Dense(4)))
    x, _ = corners()
    whole, few = activity(it, x), activity(it, x, most=3 * 64 * 6 * 4)  # 3 layers, 64 examples, 2 places of 3 units
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
    monkeypatch.setattr(room, "MOST", 4 * numbers * 7)
    assert room.room(it, x) == 7
    assert [len(part) for part in room.parts(it, x)] == [7, 7, 7, 7, 6, 6, 6, 6, 6, 6]
    torch.testing.assert_close(activity(it, x)["dense2"].y, whole["dense2"].y)
    monkeypatch.setattr(room, "MOST", 1)
    assert room.room(it, x) == 2
