"""The view Look: what an answer says is true of any model: numbers, shares of classes, and what is explained."""

import re
from typing import Any

import pytest
import torch

from pellucid.combine import Sequential
from pellucid.layers import Dense, Flatten
from pellucid.losses import Quadratic
from pellucid.model import Model
from pellucid.nested import map_tree
from pellucid.studio.view import Library
from tests.studio.talk import Tab
from tests.studio.test_look import opened, png


def constant_model(values: list[float], table: dict[str, Any], **settings: Any) -> Model:
    """Return a model that outputs the same values for every picture."""
    net = Sequential(flat=Flatten(), scores=Dense(len(values)))
    model = Model(net, loss=Quadratic(), input_shape=(1, 8, 8), **settings)
    model.params = map_tree(torch.zeros_like, model.params)
    model.params["scores"]["bias"] = torch.tensor(values)
    if table:
        model.preprocess["table"] = table
    return model


@pytest.mark.parametrize("values", [[0.5], [0.0], [1.416], [-20.0], [0.2, 0.9], [3.0, 40.0]])
def test_quantities_are_no_fractions_whatever_their_values(values: list[float]) -> None:
    names = ["temperature", "weight"][: len(values)]
    table = {"kind": "numbers", "names": names, "units": ["°C", "kg"][: len(values)]}
    tab = Tab(Library(("numbers",), lambda _: constant_model(values, table)))
    assert tab.ask("look.open")["task"] == "regression"
    bars = tab.ask("look.picture", sample="digit 3")["bars"]
    assert [(bar["name"], bar["is_fraction"]) for bar in bars] == [(name, False) for name in names]
    assert [bar["value"] for bar in bars] == pytest.approx(values)
    assert tab.ask("look.why", method="saliency")["rivals"] == []


def test_probabilities_are_fractions_and_scores_are_not() -> None:
    for model, is_fraction in ((Model.load("mnist-lenet"), True), (constant_model([0.2, 0.9, 0.4], {}), False)):
        tab = Tab(Library(("own",), lambda _, model=model: model))
        tab.ask("look.open")
        assert {bar["is_fraction"] for bar in tab.ask("look.picture", sample="digit 3")["bars"]} == {is_fraction}


@pytest.mark.parametrize("name", ["camvid", "bccd", "faces", "colorize", "mnist-lenet"])
def test_a_difference_is_only_explained_between_classes(name: str) -> None:
    tab, _, _ = opened(name)
    place = None
    if name == "bccd":
        seen = tab.ask("look.change")
        index = [entry["name"] for entry in seen["layers"]].index("boxes")
        x0, y0, x1, y1 = seen["tensors"][f"boxes{index}"][0].round().int().tolist()
        place = [max(0, y0), max(0, x0), y1, x1]
    why = tab.ask("look.why", place=place, method="saliency")
    classes = Model.load(name).classes or ()
    of = why["choices"][why["chosen"]]
    assert why["rivals"] == [one for one in why["choices"] if one in classes and one != of]
    assert bool(why["rivals"]) == (name in ("camvid", "bccd", "mnist-lenet"))
    others = [one for one in why["choices"] if one not in classes]
    for other in others:
        refused = tab.ask("look.why", place=place, method="saliency", against=other)
        assert refused["message"].startswith(f"no class {other!r}")
        if why["rivals"]:  # a coordinate of a box is no class
            coordinate = tab.ask("look.why", place=place, method="saliency", of=other, against=why["rivals"][0])
            assert (coordinate["against"], coordinate["rivals"]) == (None, [])


@pytest.mark.parametrize("model", ["colorize", "camvid"])
@pytest.mark.parametrize("size", [(480, 640), (90, 120), (64, 64), (33, 200)])
def test_an_explained_pixel_is_named_as_the_one_that_was_clicked(model: str, size: tuple[int, int]) -> None:
    picture = torch.randint(256, (3, *size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    tab, _, _ = opened(model, picture)
    upload = tab.session.library.uploads.add(png(picture))[0]
    tab.ask("explain.open", model=model)
    (_, h, w) = tab.ask("explain.picture", upload=upload)["tensors"]["picture"].shape
    for row, column in ((0, 0), (size[0] // 2, size[1] // 3), (size[0] - 1, size[1] - 1)):
        why = tab.ask("look.why", place=[row, column, row + 1, column + 1], method="saliency")
        assert why["label"].endswith(f" at pixel {row}, {column}")
        # In the view Explain, a pixel of the network's input covers one or more pixels of the picture.
        label = tab.ask("explain.aim", place=why["input_place"])["label"]
        first_row, last_row, first_column, last_column = named_pixels(label)
        assert first_row <= row <= last_row < first_row + size[0] / h + 2
        assert first_column <= column <= last_column < first_column + size[1] / w + 2


def named_pixels(label: str) -> tuple[int, int, int, int]:
    """Return the first and last row and column of the pixels in a label."""
    if pixel := re.search(r" at pixel (\d+), (\d+)$", label):
        row, column = map(int, pixel.groups())
        return row, row, column, column
    region = re.search(r" at rows (\d+) to (\d+) and columns (\d+) to (\d+)$", label)
    assert region, label
    first_row, last_row, first_column, last_column = map(int, region.groups())
    return first_row, last_row, first_column, last_column


def test_the_line_names_the_largest_class_and_its_share_and_the_least_certain_point() -> None:
    _, _, seen = opened("camvid")
    shares = {bar["name"]: bar["value"] for bar in seen["bars"]}
    largest = max(shares, key=lambda one: shares[one])
    assert seen["line"] == f"{largest} covers the largest part, {100 * shares[largest]:.2f} % of the picture"
    _, _, seen = opened("faces")
    scores = {bar["name"]: bar["value"] for bar in seen["bars"]}
    least = min(scores, key=lambda one: scores[one])
    assert seen["line"].endswith(f"least certain: {least}, {scores[least]:.3f}")
