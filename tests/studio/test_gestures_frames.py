"""The view Teach without a browser: single frames, the held-out frames of a cell, and thresholds that are moved."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from pellucid.base.errors import PellucidError
from pellucid.data.images import resized
from pellucid.model import Model
from pellucid.studio.gestures import session
from pellucid.studio.gestures.frames import ClassFrames
from pellucid.studio.gestures.taught import light_remarks, n_distinct
from tests.studio.collected import frame
from tests.studio.talk import Tab
from tests.studio.test_gestures import collect, library_in, taught  # noqa: F401


@pytest.mark.parametrize("index", [0, 11, 29])
@pytest.mark.slow
def test_one_frame_is_removed(index: int, tmp_path: Path) -> None:
    tab = Tab(library_in(tmp_path))
    tab.ask("gestures.edit", name=None, becomes="a")
    frames = [frame("circle", 1, number) for number in range(30)]
    collect(tab, "a", frames)
    removed = tab.ask("gestures.remove", name="a", index=index, count=30)
    del frames[index]
    assert removed["classes"][0]["frames"] == 29
    assert torch.equal(removed["tensors"]["frame"], frames[-1])
    for page, (first, end) in enumerate([(5, 29), (0, 5), (0, 5)]):  # the last page is beyond the oldest
        answer = tab.ask("gestures.frames", name="a", page=page)
        assert (answer["page"], answer["first"]) == (min(page, 1), first)
        shown = [answer["tensors"][f"frame{k}"] for k in range(end - first)]
        assert torch.equal(torch.stack(shown), torch.stack(frames[first:end]))
        assert len(answer["tensors"]) == end - first
    for wrong, count in ((29, 29), (-1, 29), (0, 30)):
        assert tab.ask("gestures.remove", name="a", index=wrong, count=count)["kind"] == "error"


@pytest.mark.heavy
@pytest.mark.slow
def test_a_cell_has_the_held_out_frames_behind_it(taught: tuple[Tab, Any, Path]) -> None:  # noqa: F811
    tab, answer, _ = taught
    counts = np.array(answer["counts"])
    for true, predicted in np.ndindex(counts.shape):
        cell = tab.ask("gestures.cell", true=int(true), predicted=int(predicted))
        assert cell["count"] == counts[true, predicted]
        assert len(cell["tensors"].get("images", ())) == counts[true, predicted]
    shown = tab.ask("gestures.cell", true=0, predicted=0)["tensors"]["images"].double()
    red, blue = (shown[:, channel, 48:80, 48:80].mean() for channel in (0, 2))
    assert red > blue + 20  # circles are red
    assert tab.ask("gestures.cell", true=3, predicted=0)["kind"] == "error"


def test_the_frames_of_a_cell_have_the_ratios_of_their_sides(tmp_path: Path) -> None:
    tab = Tab(library_in(tmp_path))
    tab.ask("gestures.open")
    sizes = {"b": [(100, 200), (160, 80)], "a": [(64, 128), (90, 60), (200, 50)]}
    for name, of_class in sizes.items():
        tab.ask("gestures.edit", name=None, becomes=name)
        shape = {"a": "circle", "b": "cross"}[name]
        for number in range(30):
            height, width = of_class[number % len(of_class)]
            collect(tab, name, [resized(frame(shape, 1, number), (height, width))])
    counts = np.array(tab.ask("gestures.fit")["counts"])
    for true, name in enumerate(sorted(sizes)):
        expected = [width / height for height, width in (sizes[name][k % len(sizes[name])] for k in range(24, 30))]
        cells = [tab.ask("gestures.cell", true=true, predicted=predicted)["ratios"] for predicted in (0, 1)]
        assert [len(cell) for cell in cells] == counts[true].tolist()
        assert sorted(cells[0] + cells[1]) == pytest.approx(sorted(expected))
        assert cells[true] == pytest.approx(expected) or counts[true, 1 - true] > 0


def test_another_connection_reads_the_step_of_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = library_in(tmp_path)
    tab = Tab(library)
    name = tab.ask("gestures.open")["collection"]
    for shape in ("circle", "cross"):
        tab.ask("gestures.edit", name=None, becomes=shape)
        collect(tab, shape, [frame(shape, 1, number) for number in range(6)])
    found = []

    def teach(frames: Any, begin: Any) -> Any:
        def begin_and_ask(step: int) -> None:
            begin(step)
            answer = Tab(library).ask("gestures.progress", collection=name)
            found.append((answer["step"], len(answer["steps"])))

        return original(frames, begin_and_ask)

    original = session.teach
    monkeypatch.setattr(session, "teach", teach)
    assert tab.ask("gestures.fit")["kind"] == "gestures.fit"
    assert found == [(1, 4), (2, 4), (3, 4), (4, 4)]
    tab.ask("gestures.edit", name="cross", becomes=None)
    assert tab.ask("gestures.fit")["kind"] == "error"
    for collection in (name, "unknown"):
        assert Tab(library).ask("gestures.progress", collection=collection)["step"] == 0


def test_moved_thresholds_are_applied_and_saved(taught: tuple[Tab, Any, Path]) -> None:  # noqa: F811
    tab, answer, folder = taught
    before = {name: answer[name] for name in ("unsure", "unlike")}
    picture = {"frame": frame("cross", 1, 999)}
    distance = tab.ask("gestures.predict", picture)["distance"]
    for unsure, unlike in ((1.0, distance * 0.99), (0.0, distance * 1.01)):
        moved = tab.ask("gestures.thresholds", unsure=unsure, unlike=unlike)
        assert moved["unsure"] == unsure
        assert moved["unlike"] == pytest.approx(unlike)
        found = tab.ask("gestures.predict", picture)
        assert (found["is_unsure"], found["is_unlike"]) == (unsure == 1, unlike < distance)
    tab.ask("gestures.thresholds", unlike=1e-9)
    saved = Model.load(str(folder / tab.ask("gestures.save", name="moved")["run"]))
    assert saved.confidence is not None
    assert saved.confidence.threshold == 0
    assert saved.familiarity is not None
    assert (saved.familiarity.threshold, saved.familiarity.alarms) == (1e-9, 1.0)
    for name, value in (("unsure", 1.5), ("unlike", 0.0), ("unlike", -1.0)):
        assert tab.ask("gestures.thresholds", None, **{name: value})["kind"] == "error"
    assert tab.ask("gestures.thresholds", None, **before)["unlike"] == before["unlike"]


def test_a_page_that_is_loaded_again_gets_the_results_without_another_fit(
    taught: tuple[Tab, Any, Path],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They stay those of the frames that were learned, and say whether these have changed."""
    tab, answer, _ = taught
    monkeypatch.setattr(session, "teach", lambda frames: pytest.fail("trained again"))
    kept = tab.ask("gestures.fit", kept=True)
    assert kept["is_current"]
    assert {**kept, **{key: answer[key] for key in ("id", "tensors")}} == {
        **answer,
        "is_current": True,
        "moved": {key: answer[key] for key in ("unsure", "unlike")},
    }
    tab.ask("gestures.thresholds", unsure=0.4)
    assert tab.ask("gestures.fit", kept=True)["moved"] == {"unsure": 0.4, "unlike": answer["unlike"]}
    tab.ask("gestures.thresholds", unsure=answer["unsure"])
    changes = [
        ("gestures.collect", {"name": "cross", "stretch": 77}, {"frame": frame("cross", 1, 0)}),
        ("gestures.drop", {"name": "cross", "stretch": 77}, {}),
        ("gestures.edit", {"name": "cross", "becomes": "x"}, {}),
        ("gestures.edit", {"name": "x", "becomes": "cross"}, {}),
    ]
    for number, (kind, fields, tensors) in enumerate(changes):  # each second one undoes that before
        tab.ask(kind, tensors, **fields)
        assert tab.ask("gestures.fit", kept=True)["is_current"] == (number % 2 == 1)


def test_the_accuracy_has_wilsons_interval(taught: tuple[Tab, Any, Path]) -> None:  # noqa: F811
    counts = torch.tensor(taught[1]["counts"])
    expected = binomtest(int(counts.diagonal().sum()), int(counts.sum())).proportion_ci(method="wilson")
    assert taught[1]["interval"] == pytest.approx((expected.low, expected.high), abs=1e-6)


@pytest.mark.parametrize("page", [0, 1])
def test_shown_frames_say_which_are_held_out(page: int, taught: tuple[Tab, Any, Path]) -> None:  # noqa: F811
    """Of two stretches of 25 frames, the last five of each."""
    answer = taught[0].ask("gestures.frames", name="circle", page=page)
    numbers = range(answer["first"], answer["first"] + len(answer["held_out"]))
    assert answer["held_out"] == [number % 25 >= 20 for number in numbers]
    assert len(answer["held_out"]) == len(answer["tensors"])


@pytest.mark.parametrize(("distinct", "is_remarked"), [(1, True), (5, True), (24, False), (40, False)])
def test_repeated_frames_of_enough_different_ones_are_not_remarked(
    distinct: int, is_remarked: bool, tmp_path: Path
) -> None:
    tab = Tab(library_in(tmp_path))
    for name in ("circle", "square"):
        tab.ask("gestures.edit", name=None, becomes=name)
        collect(tab, name, [frame(name, k % distinct, k % distinct) for k in range(3 * max(distinct, 10))])
    remarks = tab.ask("gestures.fit")["remarks"]
    assert any("move and turn" in one for one in remarks) == is_remarked


def test_opening_no_collection_begins_an_empty_one(tmp_path: Path) -> None:
    tab = Tab(library_in(tmp_path))
    first = tab.ask("gestures.open")["collection"]
    tab.ask("gestures.edit", name=None, becomes="circle")
    again = tab.ask("gestures.open")
    assert again["classes"] == []
    assert again["collection"] != first
    assert [one["name"] for one in tab.ask("gestures.open", collection=first)["classes"]] == ["circle"]


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.05])
@pytest.mark.parametrize("side", [12, 24, 60])
def test_an_object_that_moves_before_a_camera_at_rest_is_not_too_alike(side: int, noise: float) -> None:
    rng = np.random.default_rng(side)
    scene = rng.uniform(0.2, 0.8, (3, 32, 32)).repeat(4, 1).repeat(4, 2)
    places = [(0, 2 * k) for k in range(32)]  # a slow path, by two pixels a frame
    for is_moved in (True, False):
        pictures = np.stack([scene + rng.normal(0, noise, scene.shape) for _ in places])
        for one, (top, left) in zip(pictures, places, strict=True):
            one[:, top : top + side, left * is_moved : left * is_moved + side] = 1
        found = n_distinct(torch.from_numpy(pictures).float())
        assert found > 16 if is_moved and side >= 24 else found < 16 if not is_moved else found >= 4


@pytest.mark.parametrize("light", [0.02, 0.1, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("count", [0, 3, 20])
def test_frames_without_light_or_with_too_much_are_remarked(light: float, count: int) -> None:
    """A scene is never as bright as white, nor black, but for the exposure."""
    rng = np.random.default_rng(1)
    scene = torch.from_numpy(rng.uniform(0.2, 1.0, (20, 3, 32, 32))).float()
    dark, bright = scene.clone(), scene.clone()
    dark[:count] *= light
    bright[:count] = 1 - light * (1 - bright[:count]) / 2
    is_dark = light <= 0.1 and count == 20
    expected = [f"{count} of 20 frames of cup are nearly black; add light"] if is_dark else []
    assert light_remarks("cup", dark) == expected
    is_bright = light <= 0.1 and count == 20
    expected = [f"{count} of 20 frames of cup are nearly white; use less light"] if is_bright else []
    assert light_remarks("cup", bright) == expected


def test_the_answered_frames_are_those_that_are_not_unsure(taught: tuple[Tab, Any, Path]) -> None:  # noqa: F811
    tab, fitted, _ = taught
    held_out = [frame(name, 1, number) for name in fitted["classes"] for number in (*range(20, 25), *range(45, 50))]
    answers = [tab.ask("gestures.predict", {"frame": one}) for one in held_out]
    assert fitted["answered"] == sum(not answer["is_unsure"] for answer in answers)


@pytest.mark.parametrize(("first", "second"), [("mug", "MUG"), ("Straße", "STRASSE"), ("a", "a")])
def test_a_name_in_use_is_refused_with_the_class_that_has_it(first: str, second: str) -> None:
    frames = ClassFrames()
    frames.add_class(first)
    with pytest.raises(PellucidError, match=f"there is a class '{first}' already"):
        frames.add_class(second)
