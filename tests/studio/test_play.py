"""The session of the playground: its numbers equal those of PyTorch, and its limits are refused in one line."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor

from pellucid.studio.play.problems import CLASS_PROBLEMS, MAX_COORDINATE, digits, problem
from tests.studio.talk import Tab

ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid, "leakyrelu": F.leaky_relu}
LOSSES = {
    "softmax_cross_entropy": F.cross_entropy,
    "binary_cross_entropy": lambda y, t: F.binary_cross_entropy_with_logits(
        y, F.one_hot(t, 2).double(), reduction="none"
    ).sum(1).mean(),
    "quadratic": lambda y, t: (y - (F.one_hot(t, 2) if t.ndim == 1 else t)).square().sum(1).mean() / 2,
    "l1": lambda y, t: (y - t).abs().mean(),
    "huber": F.huber_loss,
}  # fmt: skip
WHOLE = 500  # a batch with all points, whose order does not matter


def params_of(tab: Tab) -> dict[str, Tensor]:
    """Return the network's weights in float64, as leaves of autograd."""
    net = tab.session.sessions["play"].model.params
    layers = {
        **{f"features.{name}": layer for name, layer in net.get("features", {}).items()},
        "head.scores": net["head"]["scores"],
    }
    return {
        f"{path}.{key}": value.clone().requires_grad_()
        for path, layer in layers.items()
        for key, value in layer.items()
    }


def outputs_of(params: dict[str, Tensor], x: Tensor, activation: str) -> list[Tensor]:
    """Return the outputs of each layer in PyTorch."""
    paths = [path.removesuffix(".weight") for path in params if path.endswith(".weight")]
    result = [x.flatten(1)]
    for path in paths:
        z = F.linear(result[-1], params[f"{path}.weight"], params[f"{path}.bias"])
        result.append(z if path == paths[-1] else ACTIVATIONS[activation](z))
    return result


def points_of(answer: Any) -> tuple[Tensor, Tensor]:
    """Return the points for training and their targets."""
    rows = answer["tensors"]["points"][: answer["train"]].double()
    return rows[:, :2], rows[:, 2].long() if answer["has_classes"] else rows[:, 2:]


@pytest.mark.parametrize(
    ("settings", "optimizer"),
    [
        ({"loss": "softmax_cross_entropy", "rate": 0.3}, lambda w: torch.optim.SGD(w, 0.3)),
        ({"loss": "binary_cross_entropy", "activation": "relu", "rate": 0.1}, lambda w: torch.optim.SGD(w, 0.1)),
        ({"loss": "quadratic", "activation": "sigmoid", "optimizer": "adam"}, lambda w: torch.optim.Adam(w, 0.1)),
        ({"problem": "hills", "loss": "huber", "optimizer": "momentum"}, lambda w: torch.optim.SGD(w, 0.1, 0.9)),
        (
            {"problem": "digits", "hidden": [8, 5], "loss": "softmax_cross_entropy", "rate": 0.3},
            lambda w: torch.optim.SGD(w, 0.3),
        ),
        (
            {"problem": "slope", "loss": "l1", "hidden": [], "optimizer": "adagrad"},
            lambda w: torch.optim.Adagrad(w, 0.1),
        ),
    ],
)  # fmt: skip
def test_steps_equal_those_of_pytorch(settings: dict[str, Any], optimizer: Any) -> None:
    tab = Tab()
    answer = tab.ask("play.open", batch=WHOLE, **settings)
    x, target = points_of(answer)
    session = tab.session.sessions["play"]
    x, target = session.x[: len(x)], session.target[: len(x)]  # in float64
    params = params_of(tab)
    update = optimizer([*params.values()])
    for _ in range(5):
        update.zero_grad()
        y = outputs_of(params, x, settings.get("activation", "tanh"))[-1]
        LOSSES[settings["loss"]](y, target).backward()
        update.step()
    learned = tab.ask("play.learn", steps=5)
    y = outputs_of(params, x, settings.get("activation", "tanh"))[-1]
    assert learned["loss"]["train"] == pytest.approx(LOSSES[settings["loss"]](y, target).item(), rel=1e-6)
    for path, weight in params.items():
        torch.testing.assert_close(learned["tensors"][path], weight.detach().float(), rtol=1e-4, atol=1e-5)
    if answer["has_classes"]:
        assert learned["score"]["train"] == pytest.approx(float((y.argmax(1) == target).double().mean()))


def test_the_plane_shows_the_outputs_of_each_neuron() -> None:
    tab = Tab()
    tab.ask("play.open", inputs=["x1", "x1·x2", "sin x2"], hidden=[3, 2])
    answer = tab.ask("play.learn", steps=20)
    side = 40
    axis = np.linspace(-MAX_COORDINATE, MAX_COORDINATE, side)
    x1, x2 = np.tile(axis, side), np.repeat(axis[::-1], side)  # row by row from the top left
    x = torch.from_numpy(np.stack([x1, x1 * x2, np.sin(x2)], 1))
    layers = outputs_of(params_of(tab), x, "tanh")
    p = layers[-1].softmax(1)
    expected = torch.cat([*layers[:-1], p], 1).T.detach().float()
    torch.testing.assert_close(answer["tensors"]["units"], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(answer["tensors"]["plane"], (p[:, 1] - p[:, 0]).detach().float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"l2": 1.0, "batch": 20},
        {"problem": "hills", "optimizer": "adam", "hidden": [5]},
        {"problem": "digits", "hidden": [6], "seed": 3, "loss": "quadratic"},
    ],
)
def test_the_python_text_computes_the_same_loss(settings: dict[str, Any]) -> None:
    tab = Tab()
    opened = tab.ask("play.open", **settings)
    answer = tab.ask("play.learn", steps=3 * opened["batches"])
    assert answer["epoch"] == 3
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(tab.ask("play.code")["text"], {})
    assert float(printed.getvalue().split()[-1]) == pytest.approx(answer["loss"]["train"], rel=1e-9)


def test_the_overfitted_network_of_the_page_reads_new_points_better_with_l2_or_more_points() -> None:
    names = ["x1", "x2", "x1²", "x2²", "x1·x2", "sin x1", "sin x2"]
    settings = {"problem": "moons", "noise": 1.0, "hidden": [8, 8], "inputs": names, "optimizer": "adam", "rate": 0.03}

    def accuracy(tab: Tab, epochs: int, **changes: Any) -> dict[str, float]:
        batches = tab.ask("play.open", **settings, **changes)["batches"]
        for _ in range(epochs // 10 - 1):
            tab.ask("play.learn", steps=10 * batches)
        return tab.ask("play.learn", steps=10 * batches)["score"]

    for seed in (0, 1, 2):
        tab = Tab()
        overfitted = accuracy(tab, 150, count=100, seed=seed)
        assert overfitted["train"] >= 0.98
        assert overfitted["test"] <= 0.84
        assert accuracy(tab, 100, count=100, seed=seed, l2=1.0)["test"] > overfitted["test"]
    tab = Tab()
    overfitted = accuracy(tab, 150, count=100)
    assert accuracy(tab, 60, count=400)["test"] > overfitted["test"] + 0.1


def test_own_points_are_learned_and_their_text_has_them() -> None:
    tab = Tab()
    points = torch.tensor([[-1, -1, 0], [1, 1, 1], [-1, 1, 1], [1, -1, 0]], dtype=torch.float32)
    opened = tab.ask("play.open", {"points": points}, problem="own", hidden=[4], rate=1.0)
    assert (opened["train"], opened["batches"], opened["loss"]["test"]) == (4, 1, None)
    assert torch.equal(opened["tensors"]["points"], points)
    answer = tab.ask("play.learn", steps=200)
    assert answer["score"]["train"] == 1
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(tab.ask("play.code")["text"], {})
    assert float(printed.getvalue().split()[-1]) == pytest.approx(answer["loss"]["train"], rel=1e-9)


def test_own_points_keep_those_for_testing() -> None:
    tab = Tab()
    before = tab.ask("play.open", count=20)
    rows = before["tensors"]["points"]
    points = torch.cat([rows[:10], torch.tensor([[0.0, 0.0, 1.0]]), rows[10:]])
    after = tab.ask("play.open", {"points": points}, problem="own", train=11)
    assert (after["train"], len(after["tensors"]["points"])) == (11, 21)
    assert after["loss"]["test"] == pytest.approx(before["loss"]["test"], rel=1e-6)  # points are sent in float32
    learned = tab.ask("play.learn", steps=2 * after["batches"])
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(tab.ask("play.code")["text"], {})
    assert float(printed.getvalue().split()[-1]) == pytest.approx(learned["loss"]["train"], rel=1e-3)
    assert "from 0 to 21, not 22" in tab.ask("play.open", {"points": points}, problem="own", train=22)["message"]


def test_digits_are_those_of_scikit_learn() -> None:
    bundled = load_digits()
    classes = {image.tobytes(): label for image, label in zip(bundled.images, bundled.target, strict=True)}
    x, target = digits(400, noise=0.0, seed=1)
    found = [classes[image.tobytes()] for image in (16 * x[:, 0]).numpy()]
    assert found == target.tolist()
    assert len({image.tobytes() for image in x.numpy()}) == 400
    noisy = digits(400, noise=0.5, seed=1)[0] - x
    assert (float(noisy.mean()), float(noisy.std())) == pytest.approx((0, 0.5), abs=0.02)


def test_neurons_for_digits_show_weights_and_the_picture_that_excites_them_most() -> None:
    tab = Tab()
    opened = tab.ask("play.open", problem="digits", hidden=[8, 4], count=100)
    assert (opened["sizes"], opened["classes"], opened["side"]) == ([64, 8, 4, 10], [*"0123456789"], 8)
    answer = tab.ask("play.learn", steps=60)
    units, session = answer["tensors"]["units"], tab.session.sessions["play"]
    x, target = session.x[50:], session.target[50:]
    layers = outputs_of(params_of(tab), x, "tanh")
    torch.testing.assert_close(units[:8], answer["tensors"]["features.dense1.weight"])
    for row, outputs in ((8, layers[2]), (12, layers[3].softmax(1))):
        strongest = x[outputs.argmax(0)].flatten(1).float()
        torch.testing.assert_close(units[row : row + len(strongest)], strongest)
    is_right = layers[3].argmax(1) == target
    assert answer["score"]["test"] == pytest.approx(float(is_right.double().mean()))
    sheet = answer["tensors"]["plane"]
    for k in range(50):
        row, column = 8 * (k // 10), 8 * (k % 10)
        sign = 1 if is_right[k] else -1
        torch.testing.assert_close(sheet[row : row + 8, column : column + 8], sign * x[k, 0].float())
        place = [-MAX_COORDINATE + 0.6 * (k % 10) + 0.3, MAX_COORDINATE - 0.6 * (k // 10) - 0.3, float(target[k])]
        assert opened["tensors"]["points"][50 + k].tolist() == pytest.approx(place, abs=1e-6)
    assert not sheet[40:].any()
    assert float(opened["tensors"]["points"][:50, :2].min()) > MAX_COORDINATE  # training images are not on it


def test_before_the_first_step_settings_begin_anew() -> None:
    changed, new = Tab(), Tab()
    changed.ask("play.open", hidden=[4, 2])
    one = changed.ask("play.open", hidden=[3, 2])["tensors"]
    two = new.ask("play.open", hidden=[3, 2])["tensors"]
    assert all(torch.equal(one[name], two[name]) for name in two)


def test_weights_are_kept_where_shapes_allow() -> None:
    tab = Tab()
    tab.ask("play.open")
    before = tab.ask("play.learn", steps=30)
    after = tab.ask("play.open", hidden=[4, 3], activation="relu", optimizer="adam", l2=0.1)
    assert (after["epoch"], after["step"]) == (before["epoch"], before["step"])
    for name in ("weight", "bias"):
        path = f"features.dense1.{name}"
        assert torch.equal(before["tensors"][path], after["tensors"][path])
    assert after["tensors"]["features.dense2.weight"].shape == (3, 4)
    fresh = tab.ask("play.open", fresh=True)
    assert fresh["step"] == 0
    assert not torch.equal(before["tensors"]["head.scores.weight"], fresh["tensors"]["head.scores.weight"])


def test_momentum_is_kept_while_the_rate_changes() -> None:
    steady, changed = Tab(), Tab()
    for tab in (steady, changed):
        tab.ask("play.open", optimizer="momentum", batch=WHOLE)
        tab.ask("play.learn", steps=5)
    changed.ask("play.open", optimizer="momentum", batch=WHOLE, noise=0.1)  # the same settings again
    one, two = (tab.ask("play.learn", steps=1)["tensors"] for tab in (steady, changed))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    "name", ["features.dense1.weight[2, 1]", "features.dense2.bias[1]", "head.scores.weight[0, 1]"]
)
def test_a_derivative_equals_that_of_autograd_here_and_in_draw(name: str) -> None:
    tab = Tab()
    tab.ask("play.open")
    tab.ask("play.learn", steps=30)
    session, params = tab.session.sessions["play"], params_of(tab)
    p = outputs_of(params, session.x[:100], "tanh")[-1].softmax(1)
    worst = int(p.gather(1, session.target[:100, None]).argmin())
    for point in (None, 150):
        index = worst if point is None else point
        grads = torch.autograd.grad(
            F.cross_entropy(
                outputs_of(params, session.x[index : index + 1], "tanh")[-1], session.target[index : index + 1]
            ),
            [*params.values()],
        )
        path, place = name.rstrip("]").split("[")
        expected = float(dict(zip(params, grads, strict=True))[path][tuple(map(int, place.split(",")))])
        answer = tab.ask("play.explain", what=name, point=point)
        assert answer["point"] == index
        assert answer["explained"]["gradient"] == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert answer["numeric"] == pytest.approx(expected, rel=1e-4, abs=1e-9)
        assert tab.ask("draw.open", model="playground")["models"] == ["playground"]
        assert tab.ask("draw.run", label=int(session.target[index]))["cost"] == pytest.approx(answer["cost"], rel=1e-12)
        assert tab.ask("draw.explain", what=name)["gradient"] == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert tab.ask("inspect.open", model="playground")["models"][-1] == "playground"
    message = "no model 'playground'; train it again in the view Playground, and open it from there"
    assert Tab().ask("draw.open", model="playground")["message"] == message


def test_a_loss_that_overflows_is_named_and_the_session_goes_on() -> None:
    tab = Tab()
    tab.ask("play.open", rate=100.0, loss="quadratic", activation="relu")
    message = tab.ask("play.learn", steps=500)["message"]
    assert message.startswith("the loss is ")
    assert "lower the rate" in message
    tab.ask("play.open", fresh=True)
    assert tab.ask("play.learn", steps=1)["step"] == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"problem": "moon"}, "did you mean 'moons'"),
        ({"hidden": [9]}, "layers of 1 to 8 neurons, not 9"),
        ({"hidden": [0]}, "layers of 1 to 8 neurons, not 0"),
        ({"hidden": [1] * 7}, "at most 6 layers, not 7"),
        ({"inputs": []}, "1 to 7 names, not 0"),
        ({"inputs": ["x1", "x1"]}, "different names"),
        ({"inputs": ["x3"]}, "no input 'x3'"),
        ({"count": 501}, "count must be from 4 to 500, not 501"),
        ({"count": -1}, "count must be from 4 to 500"),
        ({"noise": 2.0}, "noise must be from 0 to 1"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"rate": 0.0}, "rate must be above 0"),
        ({"rate": 1e9}, "rate must be above 0, at most 100"),
        ({"batch": 0}, "batch must be from 1 to 500"),
        ({"l2": -1.0}, "l2 must be from 0 to 100"),
        ({"loss": "dice"}, "no loss 'dice'"),
        ({"optimizer": "sgdd"}, "did you mean 'sgd'"),
        ({"init": "random"}, "no initialization 'random'"),
        ({"activation": "softmax"}, "no activation 'softmax'"),
        ({"problem": "own"}, "needs points"),
    ],
)
def test_settings_beyond_the_limits_are_refused(settings: dict[str, Any], message: str) -> None:
    tab = Tab()
    answer = tab.ask("play.open", **settings)
    assert answer["kind"] == "error"
    assert message in answer["message"]
    assert "\n" not in answer["message"]
    assert "send play.open first" in tab.ask("play.learn", steps=1)["message"]


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (torch.zeros(501, 3), "1 to 500 of them"),
        (torch.zeros(4, 2), "(N, 3)"),
        (torch.full((4, 3), 4.0), "from -3 to 3"),
        (torch.full((4, 3), 0.5), "a class, 0 or 1"),
    ],
)
def test_points_beyond_the_limits_are_refused(points: Tensor, message: str) -> None:
    answer = Tab().ask("play.open", {"points": points}, problem="own")
    assert message in answer["message"]


@pytest.mark.parametrize("steps", [0, 501])
def test_a_request_takes_a_limited_number_of_steps(steps: int) -> None:
    tab = Tab()
    tab.ask("play.open")
    assert "steps must be from 1 to 500" in tab.ask("play.learn", steps=steps)["message"]


@pytest.mark.parametrize("name", CLASS_PROBLEMS)
def test_a_problem_has_both_classes_apart_and_in_the_plane(name: str) -> None:
    points, target = problem(name, 400, 0.0, 3)
    assert torch.equal(points, problem(name, 400, 0.0, 3)[0])
    assert int(target.sum()) == 200
    assert float(points.abs().max()) <= MAX_COORDINATE
    distance = torch.cdist(points, points) + 1e9 * torch.eye(400)
    assert float((target[distance.argmin(1)] == target).double().mean()) > 0.97  # the nearest point is of the class
    x1, x2, radius = points[:, 0], points[:, 1], points.norm(dim=1)
    rules = {"xor": x1 * x2 > 0, "circles": radius < 1.5}
    if name in rules:
        assert torch.equal(rules[name], target == 1)


def test_the_loss_surface_lies_along_the_principal_directions_of_the_path() -> None:
    tab = Tab()
    tab.ask("play.open", hidden=[3])
    flat = [np.concatenate([w.detach().numpy().ravel() for w in params_of(tab).values()])]
    for _ in range(6):
        tab.ask("play.learn", steps=7)
        flat.append(np.concatenate([w.detach().numpy().ravel() for w in params_of(tab).values()]))
    answer = tab.ask("play.surface")
    path = np.stack(flat) - flat[-1]
    values, vectors = np.linalg.eigh(path.T @ path)  # not by an SVD, as in the library
    directions = vectors[:, ::-1][:, :2]
    coordinates = path @ directions
    shown = answer["tensors"]["path"].double().numpy()
    signs = np.sign((coordinates * shown).sum(0))
    np.testing.assert_allclose(shown, coordinates * signs, atol=1e-6)
    assert answer["share"] == pytest.approx(values[-2:].sum() / values.sum(), rel=1e-6)
    assert answer["reach"] >= np.abs(coordinates).max()
    session, params = tab.session.sessions["play"], params_of(tab)
    side = np.linspace(-answer["reach"], answer["reach"], 25)
    losses = answer["tensors"]["losses"].view(25, 25)
    for row, column in ((12, 12), (0, 0), (3, 20)):
        moved = torch.from_numpy(
            flat[-1] + (side[column] * signs[0]) * directions[:, 0] + (side[row] * signs[1]) * directions[:, 1]
        )
        parts = moved.split([w.numel() for w in params.values()])
        here = {path: part.view_as(w) for (path, w), part in zip(params.items(), parts, strict=True)}
        y = outputs_of(here, session.x[:100], "tanh")[-1]
        assert float(losses[row, column]) == pytest.approx(F.cross_entropy(y, session.target[:100]).item(), rel=1e-5)


def test_the_loss_surface_before_the_first_step_has_no_path() -> None:
    tab = Tab()
    opened = tab.ask("play.open")
    answer = tab.ask("play.surface")
    assert answer["share"] is None
    assert answer["loss"] == pytest.approx(opened["loss"]["train"], rel=1e-12)
    assert bool(answer["tensors"]["losses"].isfinite().all())
