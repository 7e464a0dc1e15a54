"""The session of the view Draw: its numbers equal those of Model.trace."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pellucid.data import load
from pellucid.model import Model
from pellucid.nested import flatten
from pellucid.studio.command import DEFAULT_MODELS
from pellucid.studio.messages import pack
from pellucid.studio.session import Session
from pellucid.studio.view import Library
from tests.studio.talk import Tab, parsed

WEIGHTS = {"mnist-mlp-100": "features.dense1.weight[32, 400]", "mnist-lenet": "features.conv2.weight[3, 2, 1, 4]"}


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_derivative_equals_that_of_the_library(name: str) -> None:
    tab, what = Tab(), WEIGHTS[name]
    described = tab.ask("draw.open", model=name)
    assert described["parameters"] == sum(layer["parameters"] for layer in described["layers"])
    result = tab.draw(label=5)
    assert (result["read"], result["label"]) == (3, 5)
    trace = Model.load(name).trace(result["tensors"]["x"][None], torch.tensor([5]))
    assert result["cost"] == trace.loss
    assert result["probabilities"] == trace["loss.probabilities"][0].tolist()
    for layer in described["layers"]:
        torch.testing.assert_close(result["tensors"][layer["y"]], trace[layer["y"]][0].float(), rtol=0, atol=0)
    explained = tab.ask("draw.explain", what=what)
    assert explained["gradient"] == trace.explain(what).gradient
    assert explained["exact"]
    checked = tab.ask("draw.check", what=what, eps=1e-4)
    assert checked["gradient"] == explained["gradient"]
    assert checked["numeric"] == pytest.approx(explained["gradient"], rel=1e-4, abs=1e-9)


def test_weights_are_shown_by_row_and_by_column() -> None:
    tab = Tab()
    tab.draw()
    weight = Model.load("mnist-mlp-100").trace(torch.zeros(1, 1, 28, 28), torch.zeros(1).long())["head.scores.weight"]
    row = tab.ask("draw.weights", path="head.scores", row=3)
    column = tab.ask("draw.weights", path="head.scores", col=7)
    torch.testing.assert_close(row["tensors"]["weight"], weight[3].float())
    torch.testing.assert_close(column["tensors"]["weight"], weight[:, 7].float())
    assert "bias" in row
    assert "bias" not in column


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_step_lowers_the_loss_by_the_squared_gradient_and_can_be_undone(name: str) -> None:
    tab = Tab()
    tab.ask("draw.open", model=name)
    before = tab.draw(label=5)
    gradient = tab.ask("draw.explain", what=WEIGHTS[name])["gradient"]
    one = tab.ask("draw.step", what=WEIGHTS[name], rate=0.01)
    assert one["before"] == before["cost"]
    assert one["predicted"] == pytest.approx(-0.01 * gradient**2, rel=1e-9)
    assert one["after"] - one["before"] == pytest.approx(one["predicted"], rel=0.05, abs=1e-12)
    every = tab.ask("draw.step", rate=0.001)
    assert (every["steps"], every["before"]) == (2, one["after"])
    assert every["after"] < every["before"] - 0.01
    assert tab.ask("draw.undo")["cost"] == one["after"]
    assert tab.ask("draw.undo")["cost"] == before["cost"]
    assert tab.ask("draw.run", label=5)["cost"] == before["cost"]
    assert tab.ask("draw.undo")["message"] == "there is no step to undo"


def test_tabs_do_not_share_weights() -> None:
    one, two = Tab(), Tab()
    cost = one.draw(label=5)["cost"]
    two.draw(label=5)
    two.ask("draw.step", rate=0.1)
    assert two.ask("draw.run", label=5)["cost"] < cost
    assert one.ask("draw.run", label=5)["cost"] == cost
    assert Tab().draw(label=5)["cost"] == cost


def test_a_drawing_without_a_label_is_read_and_has_no_cost() -> None:
    tab = Tab()
    result = tab.draw(0)
    assert (result["read"], result["label"], result["cost"]) == (0, None, None)
    assert not [name for name in result["tensors"] if name.startswith("∂")]
    for kind, fields in (("draw.explain", {"what": "head.scores.weight[0, 0]"}), ("draw.step", {"rate": 0.1})):
        assert "no label yet" in tab.ask(kind, **fields)["message"]


@pytest.mark.parametrize("model", DEFAULT_MODELS)
def test_the_strongest_weights_are_those_of_all_gradients(model: str) -> None:
    tab = Tab(Library((model,), Model.load))
    tab.draw(label=5)
    found = tab.ask("draw.explain", what="head.scores.weight[0, 0]")["strongest"]
    gradients = tab.session.sessions["draw"].trace.gradients
    sizes = np.sort(np.concatenate([np.abs(one.numpy()).ravel() for one in gradients.values()]))[::-1]
    assert [abs(one["gradient"]) for one in found] == pytest.approx(sizes[:5].tolist(), rel=1e-12)
    for one in found:
        assert tab.ask("draw.explain", what=one["name"])["gradient"] == pytest.approx(one["gradient"], rel=1e-9)


def test_the_label_of_a_sample_is_that_of_the_data() -> None:
    x, y = load("digits").test.x, load("digits").test.y
    tab = Tab()
    for digit in range(10):
        answer = tab.ask("draw.sample", name=str(digit), n=2)
        assert answer["label"] == digit
        source = x[torch.nonzero(y == digit).flatten()[2], 0]  # (8, 8)
        small = F.adaptive_avg_pool2d(answer["tensors"]["picture"].double()[None, None], 12)[0, 0, 2:10, 2:10]
        assert float(torch.corrcoef(torch.stack([small.flatten(), source.flatten().double()]))[0, 1]) > 0.98


@pytest.mark.parametrize("model", DEFAULT_MODELS)
def test_the_first_samples_are_read_surely(model: str) -> None:
    tab = Tab(Library((model,), Model.load))
    for digit in range(10):
        picture = tab.ask("draw.sample", name=str(digit))["tensors"]["picture"]
        assert tab.ask("draw.run", {"picture": picture})["probabilities"][digit] > 0.95


def test_the_first_model_reads_the_samples_of_the_page() -> None:
    tab = Tab(Library(DEFAULT_MODELS, Model.load))
    assert [tab.draw(digit)["read"] for digit in range(10)] == [*range(10)]


def test_a_network_of_photographs_offers_no_digits() -> None:
    tab = Tab(Library(("signs", "cifar"), Model.load))
    for name, kind, label in (("signs", "hand", "5"), ("cifar", "photo", None)):
        opened = tab.ask("draw.open", model=name)
        assert {sample.partition(" ")[0] for sample in opened["samples"]} == {kind}
        taken = tab.ask("draw.sample", name=f"{kind} 1")
        assert taken["label"] == (None if label is None else opened["classes"].index(label))
        result = tab.ask("draw.run", {"picture": taken["tensors"]["picture"]})
        assert taken["tensors"]["x"].shape == tuple(opened["input"])
        expected = torch.as_tensor(Model.load(name).predict(taken["tensors"]["x"][None]))[0]
        assert result["probabilities"] == pytest.approx(expected.tolist(), abs=1e-5)
        assert "no sample '3'" in tab.ask("draw.sample", name="3")["message"]


def test_a_huge_step_is_reported_and_can_be_undone() -> None:
    tab = Tab()
    cost = tab.draw(label=5)["cost"]
    for _ in range(60):
        tab.ask("draw.step", rate=1000)
    assert tab.ask("draw.run", label=5)["steps"] == 50
    for _ in range(50):
        assert tab.ask("draw.undo")["kind"] == "draw.undo"
    assert cost > 0


def test_a_residual_network_for_colours_runs_and_explains_too() -> None:
    session = Session(Library(("cifar",), Model.load))
    picture = torch.zeros(64, 64, dtype=torch.uint8)
    picture[20:40, 30:36] = 255

    def ask(kind: str, **fields: str | float) -> dict[str, object]:
        tensors = {"picture": picture} if kind == "draw.run" else {}
        return parsed(session.answer(pack(kind, 1, fields, tensors)))[0]

    described = ask("draw.open")
    assert ask("draw.run", label=3)["kind"] == "draw.run"
    layers = described["layers"]
    assert isinstance(layers, list)
    what = next(f"{layer['path']}.weight[1, 2, 1, 0]" for layer in layers if layer["weight"] and layer["weight"][1] > 3)
    explained, checked = ask("draw.explain", what=what), ask("draw.check", what=what, eps=1e-5)
    assert explained["exact"]
    assert checked["numeric"] == pytest.approx(explained["gradient"], rel=1e-2, abs=1e-7)
    stepped = ask("draw.step", rate=1e-4)
    assert isinstance(stepped["after"], float)
    assert stepped["after"] < float(str(stepped["before"]))


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("what", ["noise", "stripes", "scribble"])
def test_noise_has_the_confidence_of_the_network_in_pytorch(name: str, what: str) -> None:
    tab = Tab()
    tab.ask("draw.open", model=name)
    one, same, other = (tab.ask("draw.nonsense", what=what, n=n) for n in (0, 0, 1))
    assert torch.equal(one["tensors"]["picture"], same["tensors"]["picture"])
    assert not torch.equal(one["tensors"]["picture"], other["tensors"]["picture"])
    w = {path: one.double() for path, one in flatten(Model.load(name).params).items()}
    x = one["tensors"]["x"][None].double()

    def linear(x: torch.Tensor, path: str) -> torch.Tensor:
        return F.linear(x, w[f"{path}.weight"], w[f"{path}.bias"])

    def conv(x: torch.Tensor, path: str, padding: int) -> torch.Tensor:
        return F.max_pool2d(F.conv2d(x, w[f"{path}.weight"], w[f"{path}.bias"], padding=padding).relu(), 2)

    if name == "mnist-lenet":  # its loss is the cross-entropy of a softmax
        h = conv(conv(x, "features.conv1", 2), "features.conv2", 0).flatten(1)
        h = linear(linear(h, "head.dense1").relu(), "head.dense2").relu()
        p = linear(h, "head.scores").softmax(1)[0]
    else:  # the loss is the cross-entropy of a sigmoid for each class
        p = linear(linear(x.flatten(1), "features.dense1").sigmoid(), "head.scores").sigmoid()[0]
    assert one["read"] == int(p.argmax())
    assert one["confidence"] == pytest.approx(float(p.max()), rel=1e-6)
    drawn = tab.ask("draw.run", {"picture": one["tensors"]["picture"]})
    assert drawn["probabilities"][drawn["read"]] == pytest.approx(one["confidence"], rel=1e-9)


def test_noise_keeps_the_drawing() -> None:
    tab = Tab()
    drawn = tab.draw(label=5)
    tab.ask("draw.nonsense", what="noise")
    assert tab.ask("draw.run", label=5)["cost"] == drawn["cost"]
    assert "no kind of nonsense 'music'" in tab.ask("draw.nonsense", what="music")["message"]
    assert "n must be from 0" in tab.ask("draw.nonsense", what="noise", n=-1)["message"]


def test_a_network_with_a_layer_without_input_is_drawn() -> None:
    tab = Tab(Library(("vit-tiny",), Model.load))
    layers = {row["path"]: row for row in tab.ask("draw.open", model="vit-tiny")["layers"]}
    assert (layers["features.embed.positions"]["x"], layers["features.embed.positions"]["grid"]) == ("", [])
    picture = tab.ask("draw.sample", name="photo 0")["tensors"]["picture"]
    answer = tab.ask("draw.run", {"picture": picture}, label=3)
    assert answer["tensors"][layers["head.scores"]["y"]].shape == (10,)


@pytest.mark.slow
def test_values_of_a_large_network_are_sent_when_they_are_asked_for() -> None:
    tab = Tab(Library(("signs",), Model.load))
    opened = tab.ask("draw.open")
    picture = tab.ask("draw.sample", name=opened["samples"][0])["tensors"]["picture"]
    whole = tab.ask("draw.run", {"picture": picture}, label=2)["tensors"]
    parts = tab.ask("draw.run", label=2, whole=False)["tensors"]
    assert {"x", "head.scores.y"} <= parts.keys() < whole.keys()
    assert sum(tensor.numel() for tensor in parts.values()) < 300_000 < sum(tensor.numel() for tensor in whole.values())
    names = ["features.stem.conv.y", "∂features.stem.conv.y"]
    assert not {*names} & parts.keys()
    values = tab.ask("draw.values", names=[*names, "nothing.y"])["tensors"]
    assert values.keys() == {*names}
    assert all(torch.equal(values[name], whole[name]) for name in names)
    params = flatten(Model.load("signs").params)
    weight, bias = (params[f"features.stem.conv.{name}"] for name in ("weight", "bias"))
    expected = F.conv2d(whole["x"][None], weight, bias)[0]
    assert torch.allclose(values[names[0]], expected, atol=1e-4)
    assert tab.ask("draw.values", names=["x"] * 9)["kind"] == "error"
    tab.ask("draw.run")
    assert not tab.ask("draw.values", names=names[1:])["tensors"]  # without a label there is no gradient


def test_a_small_network_is_sent_whole() -> None:
    tab = Tab()
    tab.ask("draw.open", model="mnist-lenet")
    whole = tab.draw(label=3)["tensors"]
    assert tab.ask("draw.run", label=3, whole=False)["tensors"].keys() == whole.keys()
