"""The messages of the view Inspect, compared with plain PyTorch and NumPy."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pellucid.model import Model
from pellucid.studio.inspect.session import BINS
from pellucid.studio.view import Library
from tests.studio.talk import Tab


@pytest.fixture
def tab() -> Tab:
    return Tab()


def test_the_ledger_counts_as_the_formulas_do(tab: Tab) -> None:
    layers = tab.ask("inspect.open", model="mnist-lenet")["layers"]
    rows = {row["path"]: row for row in layers}
    conv, dense = rows["features.conv1"], rows["head.scores"]
    (o, c, h, w), (_, rows_out, columns) = conv["weight"], conv["shape"]
    assert conv["parameters"] == o * c * h * w + o
    assert conv["multiply_adds"] == o * c * h * w * rows_out * columns
    out, inputs = dense["weight"]
    assert (dense["parameters"], dense["multiply_adds"]) == (out * inputs + out, out * inputs)
    assert sum(row["parameters"] for row in layers) == 61_706  # LeNet-5 with padding, counted by hand
    assert [row["sources"] for row in layers[1:]] == [[k] for k in range(len(layers) - 1)]  # a chain


def test_what_skips_layers_is_named() -> None:
    tab = Tab(Library(("cifar",), Model.load))
    layers = tab.ask("inspect.open")["layers"]
    joined = [row for row in layers if row["layer"].startswith("Add")]
    assert len(joined) == 3
    for row in joined:
        own = layers.index(row)
        assert own - 1 in row["sources"]
        (skipped,) = {*row["sources"]} - {own - 1}
        assert layers[skipped]["shape"] == row["shape"]


def test_filters_and_maps_are_those_of_the_network(tab: Tab) -> None:
    opened = tab.ask("inspect.open", model="mnist-lenet")
    flat = {name: one.detach() for name, one in Model.load("mnist-lenet").params["features"]["conv1"].items()}
    filters = tab.ask("inspect.tiles", path="features.conv1")["tensors"]["tiles"]
    assert torch.equal(filters, flat["weight"][:, 0])
    assert tab.ask("inspect.tiles", path="features.conv2", channel=6)["kind"] == "error"
    x = opened["tensors"]["x"][None]
    expected = F.conv2d(x, flat["weight"], flat["bias"], padding=2)[0]
    maps = tab.ask("inspect.tiles", path="features.conv1", show="maps")
    torch.testing.assert_close(maps["tensors"]["tiles"], expected, rtol=1e-5, atol=1e-5)
    assert maps["silent"] == [k for k in range(len(expected)) if float(expected[k].max()) <= 0]


def test_histograms_count_as_numpy_does(tab: Tab) -> None:
    tab.ask("inspect.open", model="mnist-lenet")
    found = tab.ask("inspect.histograms", path="features.conv2")
    weight = Model.load("mnist-lenet").params["features"]["conv2"]["weight"].detach().numpy()
    counts, edges = np.histogram(weight, BINS)
    assert int(found["tensors"]["weight"].sum()) == weight.size
    assert np.abs(found["tensors"]["weight"].numpy() - counts).sum() <= 2  # rounding at the edges of float32
    assert found["ranges"]["weight"]["low"] == pytest.approx(edges[0])
    assert found["ranges"]["weight"]["std"] == pytest.approx(float(weight.std()), rel=1e-5)


def test_a_layers_gradients_are_checked_and_a_wrong_one_is_told(tab: Tab, monkeypatch: pytest.MonkeyPatch) -> None:
    tab.ask("inspect.open", model="mnist-lenet")
    good = tab.ask("inspect.verify", path="features.conv1")
    assert {row["what"] for row in good["rows"]} == {"dx", "weight", "bias"}
    assert all(row["ok"] and row["autograd"] <= good["tolerance"] for row in good["rows"])
    from pellucid.layers import ReLU

    right = ReLU.backward
    monkeypatch.setattr(ReLU, "backward", lambda *given: (right(*given)[0] * 1.001, {}))
    assert not all(row["ok"] for row in tab.ask("inspect.verify", path="features.relu1")["rows"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bccd", "camvid", "faces", "colorize"])
def test_models_of_every_task_open(name: str) -> None:
    tab = Tab(Library((name,), Model.load))
    opened = tab.ask("inspect.open")
    learned = sum(row["parameters"] + row["buffers"] for row in opened["layers"])
    params = Model.load(name).params

    def size(tree: object) -> int:
        return sum(map(size, tree.values())) if isinstance(tree, dict) else tree.numel()  # type: ignore[attr-defined]

    assert learned == size(params)
    weighted = next(row for row in opened["layers"] if row["weight"])
    assert tab.ask("inspect.tiles", path=weighted["path"], show="maps")["kind"] == "inspect.tiles"


def test_before_a_model_is_open_one_line_says_so(tab: Tab) -> None:
    assert "send inspect.open first" in tab.ask("inspect.verify", path="features.conv1")["message"]
    tab.ask("inspect.open", model="mnist-lenet")
    assert "no layer" in tab.ask("inspect.tiles", path="features.conv9")["message"]
    assert "has no filters" in tab.ask("inspect.tiles", path="features.relu1")["message"]
