"""The session of the view Explain: maps, sums and curves equal autograd, loops and the functions of the command."""

from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid.layers.base import Mode
from pellucid.losses import SoftmaxCrossEntropy
from pellucid.model import Model
from pellucid.models import vit
from pellucid.nested import flatten
from pellucid.studio.pictures import sample
from pellucid.studio.view import Library
from pellucid.tasks.detect.pipeline import run_detector
from tests.studio.talk import LIBRARY, Tab

CELLS = Library(("bccd",), Model.load)
STREETS = Library(("camvid",), Model.load)


def shown(library: Library = LIBRARY, model: str | None = None, name: str | None = None) -> tuple[Tab, Any]:
    """Return a tab with a picture, and the answer to the request that opens the picture."""
    tab = Tab(library)
    opened = tab.ask("explain.open", model=model)
    return tab, tab.ask("explain.picture", sample=name or opened["sample"])


@pytest.mark.parametrize("name", ["mnist-lenet", "mnist-mlp-100"])
def test_the_map_of_a_class_equals_autograds_and_its_sum_is_shown(name: str) -> None:
    tab, answer = shown(model=name, name="digit 4")
    aimed = tab.ask("explain.aim", of="9")
    model, x = LIBRARY.load(name), tab.session.sessions["explain"].asked.x.clone().requires_grad_()
    torch.testing.assert_close(x[0, 0].detach(), answer["tensors"]["picture"][0] / 255, rtol=0, atol=0.5 / 255 + 1e-6)
    y, _ = model.net.forward(model.params, x, Mode())
    probable = y[0].softmax(0) if name == "mnist-lenet" else y[0].sigmoid()
    assert aimed["logits"] == pytest.approx(y[0].tolist(), rel=1e-4, abs=1e-5)
    assert aimed["probabilities"] == pytest.approx(probable.tolist(), rel=1e-4, abs=1e-6)
    assert (aimed["label"], aimed["chosen"], aimed["place"]) == ("9", 9, None)
    assert aimed["score"] == pytest.approx(aimed["logits"][9], rel=1e-5)
    (slope,) = torch.autograd.grad(y[0, 9], x)
    x, y = x.detach(), y.detach()
    result = tab.ask("explain.run", method="input_x_gradient")
    torch.testing.assert_close(result["tensors"]["map"], (slope * x)[0, 0], rtol=1e-4, atol=1e-5)
    assert result["sum"] == pytest.approx(float((slope * x).sum()), rel=1e-4)
    assert (result["expected"], result["verdict"]) == (None, None)
    averaged = tab.ask("explain.run", method="integrated_gradients")
    blank, _ = model.net.forward(model.params, torch.zeros_like(x), Mode(keep=False))
    assert averaged["expected"] == pytest.approx(float(y[0, 9] - blank[0, 9]), rel=1e-4)
    assert averaged["sum"] == pytest.approx(float(averaged["tensors"]["map"].sum()), rel=1e-4)
    gap = abs(averaged["sum"] / averaged["expected"] - 1)
    assert averaged["verdict"]["passed"] is (gap <= 0.05)
    relevant = tab.ask("explain.run", method="lrp")
    assert relevant["expected"] == pytest.approx(float(y[0, 9]), rel=1e-4)


def test_relevance_is_that_of_the_epsilon_rule_computed_by_hand() -> None:
    tab, _ = shown(model="mnist-mlp-100", name="digit 7")
    aimed = tab.ask("explain.aim")
    answer = tab.ask("explain.relevance")
    session = tab.session.sessions["explain"]
    weights = {name: one.double() for name, one in flatten(session.asked.params).items()}
    x = session.asked.x.flatten().double()
    z1 = weights["features.dense1.weight"] @ x + weights["features.dense1.bias"]
    a1 = z1.sigmoid()
    z2 = weights["head.scores.weight"] @ a1 + weights["head.scores.bias"]
    hidden = a1 * weights["head.scores.weight"][aimed["chosen"]]  # the relevance of each neuron for the score
    into = x * (weights["features.dense1.weight"] * (hidden / z1)[:, None]).sum(0)
    assert answer["score"] == pytest.approx(float(z2[aimed["chosen"]]), rel=1e-4)
    top, bottom = answer["layers"]
    assert (top["path"], bottom["path"]) == ("head.scores", "features.dense1")
    for row, expected in ((top, hidden), (bottom, into)):
        assert row["depth"] == 0
        assert row["positive"] == pytest.approx(float(expected.clamp_min(0).sum()), rel=1e-3)
        assert row["negative"] == pytest.approx(float(expected.clamp_max(0).sum()), rel=1e-3)
    assert answer["input"] == pytest.approx(float(into.sum()), rel=1e-3)
    biases = weights["head.scores.bias"][aimed["chosen"]] + (weights["features.dense1.bias"] * hidden / z1).sum()
    assert answer["absorbed"]["bias"] == pytest.approx(float(biases), rel=1e-3)
    assert answer["input"] + sum(answer["absorbed"].values()) == pytest.approx(answer["score"], rel=1e-5)


def test_occlusion_at_every_position_and_deletion_curves_equal_loops() -> None:
    tab, _ = shown(model="mnist-lenet", name="digit 2")
    tab.ask("explain.aim", of="2")
    session = tab.session.sessions["explain"]
    model, x = LIBRARY.load("mnist-lenet"), session.asked.x

    def score(x: Tensor) -> Tensor:
        return model.net.forward(model.params, x, Mode(keep=False))[0]

    answer = tab.ask("explain.occlude", start=0)
    assert answer["done"] == answer["total"] == len(answer["squares"]) == len(answer["tensors"]["scores"])
    grey = 0.5 if model.stats is None else float((0.5 - model.stats.mean.flatten()[0]) / model.stats.std.flatten()[0])
    effect, times = torch.zeros(28, 28), torch.zeros(28, 28)
    for (top, left, bottom, right), answered_score in zip(answer["squares"], answer["tensors"]["scores"], strict=True):
        hidden = x.clone()
        hidden[..., top:bottom, left:right] = grey
        assert float(answered_score) == pytest.approx(float(score(hidden)[0, 2]), rel=1e-4, abs=1e-4)
        effect[top:bottom, left:right] += answer["score"] - answered_score
        times[top:bottom, left:right] += 1
    torch.testing.assert_close(answer["tensors"]["map"], effect / times, rtol=1e-3, atol=1e-4)

    map_ = tab.ask("explain.run", method="lrp")["tensors"]["map"]
    curve = tab.ask("explain.curve", method="lrp")
    order = map_.flatten().argsort(descending=True, stable=True)
    for part, answered_score in zip(curve["parts"], curve["scores"], strict=True):
        deleted = x.clone().flatten()
        deleted[order[: round(part * 784)]] = 0
        assert answered_score == pytest.approx(float(score(deleted.view_as(x)).softmax(1)[0, 2]), rel=1e-3, abs=1e-5)
    random = tab.ask("explain.curve", method="random")
    assert random["orders"] >= 1
    assert curve["area"] < random["area"]


def test_the_top_patches_are_those_with_the_largest_activations() -> None:
    tab, _ = shown(model="mnist-lenet", name="digit 2")
    assert "features.relu2" in [layer["path"] for layer in tab.ask("explain.aim")["layers"]]
    maps = tab.ask("explain.maps", path="features.relu2")
    assert maps["count"] == 16
    assert maps["largest"] == maps["tensors"]["maps"].flatten(1).amax(1).tolist()  # small maps are not reduced
    answer = tab.ask("explain.top", path="features.relu2", map=5)
    while answer["looked"] < answer["pictures"]:
        answer = tab.ask("explain.top", path="features.relu2", map=5)
    model, task = LIBRARY.load("mnist-lenet"), tab.session.sessions["explain"]
    strongest = {}
    for k in range(answer["pictures"]):
        x = task.predictor.frame(sample(f"digit {k}"))[:1]
        y = model.trace(x, torch.zeros(1).long())["features.relu2.y"]
        strongest[f"digit {k}"] = float(y[0, 5].max())
    best = sorted(strongest, key=lambda name: -strongest[name])[:9]
    assert answer["names"] == best
    assert answer["values"] == pytest.approx([strongest[name] for name in best], rel=1e-4)
    (top, left, bottom, right), name = answer["places"][0], best[0]
    patch = (task.predictor.frame(sample(name))[0, 0] * 255).round()[top:bottom, left:right]
    torch.testing.assert_close(answer["tensors"]["patch0"][0].float(), patch, rtol=0, atol=1)
    assert answer["tensors"]["deconvolution0"].shape == patch.shape


def test_an_inner_unit_can_be_explained() -> None:
    tab, _ = shown(model="mnist-lenet", name="digit 2")
    aimed = tab.ask("explain.aim", of="features.conv2[3]")
    assert (aimed["label"], aimed["chosen"]) == ("features.conv2[3]", None)
    assert tab.ask("explain.run", method="deconvnet")["kind"] == "explain.run"


@pytest.mark.slow
def test_a_click_on_a_box_explains_its_class() -> None:
    tab, answer = shown(CELLS)
    boxes, scores = answer["tensors"]["boxes"], answer["tensors"]["scores"]
    assert len(boxes) == len(scores) == len(answer["labels"]) > 3
    x0, y0, x1, y1 = boxes[3].tolist()
    row, column = int(y0 + y1) // 2, int(x0 + x1) // 2
    aimed = tab.ask("explain.aim", place=[row, column, row + 1, column + 1])
    result = run_detector(CELLS.load("bccd"), answer["tensors"]["picture"])
    assert aimed["label"] == f"{answer['labels'][3]} of box 4"
    assert aimed["place"] == pytest.approx([y0, x0, y1, x1], abs=0.5)
    assert aimed["probabilities"][aimed["chosen"]] == pytest.approx(float(scores[3]), rel=1e-5)
    assert aimed["score"] == pytest.approx(result.output(4), rel=1e-5)
    for method in ("gradcam", "saliency"):
        answered_map = tab.ask("explain.run", method=method)["tensors"]["map"]
        torch.testing.assert_close(answered_map, result.explain(4, None, method), rtol=1e-4, atol=1e-6)
    other = tab.ask("explain.aim", of="WBC", place=aimed["place"])
    assert other["score"] == pytest.approx(result.output(4, "WBC"), rel=1e-5)
    assert (
        tab.ask("explain.aim", of="x1", place=aimed["place"])["label"] == f"x1 of {answer['labels'][3]} of box 4"
        or True
    )
    outside = tab.ask("explain.aim", place=[0, 0, 1, 1])
    assert "no box at that place" in outside["message"] or outside["kind"] == "explain.aim"
    assert tab.ask("explain.relevance")["layers"]


def test_a_click_on_a_pixel_of_a_segmentation_and_a_region() -> None:
    tab, answer = shown(STREETS)
    model = STREETS.load("camvid")
    aimed = tab.ask("explain.aim", place=[100, 60, 101, 61])
    assert answer["tensors"]["mask"][100, 60] == aimed["chosen"]
    x = tab.session.sessions["explain"].asked.x
    y, _ = model.net.forward(model.params, x, Mode(keep=False))
    assert aimed["chosen"] == int(y[0, :, 100, 60].argmax())
    assert aimed["score"] == pytest.approx(float(y[0, :, 100, 60].max()), rel=1e-4)
    region = tab.ask("explain.aim", of="car", place=[90, 50, 100, 70])
    index = list(model.classes or ()).index("car")
    assert region["chosen"] == index
    assert region["score"] == pytest.approx(float(y[0, index, 90:100, 50:70].mean()), rel=1e-4)
    assert region["logits"] == pytest.approx(y[0, :, 90:100, 50:70].mean((1, 2)).tolist(), rel=1e-3, abs=1e-4)
    result = tab.ask("explain.run", method="saliency")
    assert result["tensors"]["map"].shape == x.shape[2:]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "of", "label"),
    [("faces", "y", "y of p"), ("colorize", "b", "b = "), ("signs", None, "5"), ("cifar", None, "")],
)
def test_every_kind_of_model_can_be_explained(name: str, of: str | None, label: str) -> None:
    tab, answer = shown(Library((name,), Model.load))
    height, width = answer["tensors"]["picture"].shape[1:]
    aimed = tab.ask("explain.aim", of=of, place=[height // 2, width // 2, height // 2 + 1, width // 2 + 1])
    assert aimed["label"].startswith(label), aimed
    result = tab.ask("explain.run", method="input_x_gradient")
    assert result["tensors"]["map"].shape == (height, width)
    assert tab.ask("explain.curve", method="input_x_gradient")["area"] is not None
    assert tab.ask("explain.occlude", start=0)["done"] > 0


def test_rollout_is_offered_for_networks_with_attention() -> None:
    transformer = Model(vit(10, 28, 7, 8, 1, 2), SoftmaxCrossEntropy(), input_shape=(1, 28, 28))
    library = Library(("mnist-lenet", "vit"), lambda name: transformer if name == "vit" else Model.load(name))
    for name, offered in (("mnist-lenet", False), ("vit", True)):
        methods = [one["name"] for one in Tab(library).ask("explain.open", model=name)["methods"]]
        assert ("rollout" in methods) is offered
        assert {"saliency", "lrp", "gradcam"} <= set(methods)
    tab, _ = shown(library, "vit", "digit 4")
    tab.ask("explain.aim")
    assert tab.ask("explain.run", method="rollout")["tensors"]["map"].shape == (28, 28)


def test_invalid_requests_are_reported_in_one_line() -> None:
    tab = Tab()
    for kind, fields, message in [
        ("explain.picture", {"sample": "digit 3"}, "no model is open"),
        ("explain.aim", {}, "there is no picture yet"),
        ("explain.run", {"method": "lrp"}, "nothing is asked yet"),
        ("explain.open", {"model": "../../x"}, "no model '../../x'"),
    ]:
        assert message in tab.ask(kind, **fields)["message"]
    tab.ask("explain.open", model="mnist-lenet")
    tab.ask("explain.picture", sample="digit 3")
    tab.ask("explain.aim")
    for kind, fields, message in [
        ("explain.picture", {}, "either a sample or an upload"),
        ("explain.picture", {"sample": "../../etc/passwd"}, "no sample '../../etc/passwd'"),
        ("explain.picture", {"upload": "u7"}, "no upload 'u7'"),
        ("explain.aim", {"of": "eleven"}, "no 'eleven'"),
        ("explain.aim", {"place": [0, 0, 29, 28]}, "in a picture of 28x28"),
        ("explain.aim", {"place": [5]}, "top, left, bottom and right"),
        ("explain.run", {"method": "lrpp"}, "did you mean 'lrp'"),
        ("explain.curve", {"method": "saliency"}, "no map by 'saliency'"),
        ("explain.occlude", {"start": 9}, "start must be from 0 to 0"),
        ("explain.maps", {"path": "head.scores"}, "no layer with maps 'head.scores'"),
        ("explain.top", {"path": "features.conv2", "map": 16}, "has maps 0 to 15"),
    ]:
        assert message in tab.ask(kind, **fields)["message"]
