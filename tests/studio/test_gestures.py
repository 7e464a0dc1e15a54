"""The view Teach without a browser: collected frames, the model of them, its answers, remarks, and the saved run."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.cli.main import main
from pellucid.explain import explain
from pellucid.model import Model
from pellucid.recipe.resume import resume
from pellucid.studio.gestures.frames import MAX_CLASSES, MAX_FRAMES, ClassFrames, Frame, held_out
from pellucid.studio.gestures.session import MAX_KEPT
from pellucid.studio.gestures.shortcut import middle_mask
from pellucid.studio.runs import Runs
from pellucid.studio.view import Library
from pellucid.task import task_of
from tests.studio.collected import frame, picture
from tests.studio.talk import Tab

COUNT = 25  # frames of a stretch; two stretches of three classes give 30 held-out frames


def library_in(folder: Path) -> Library:
    return Library(("mnist-mlp-100",), Model.load, Runs(folder))


def collect(tab: Tab, name: str, frames: Sequence[Tensor], stretch: int = 0) -> None:
    answers = [tab.ask("gestures.collect", {"frame": one}, name=name, stretch=stretch) for one in frames]
    assert {answer["kind"] for answer in answers} <= {"gestures.collect"}, answers


def taught_tab(folder: Path, backgrounds: dict[str, tuple[str, int]], stretches: int = 2) -> tuple[Tab, Any]:
    """Return a tab that was taught classes, each a shape in front of a street, and the answer to gestures.fit."""
    tab = Tab(library_in(folder))
    tab.ask("gestures.open")
    for name, (shape, background) in backgrounds.items():
        tab.ask("gestures.edit", name=None, becomes=name)
        for stretch in range(stretches):
            numbers = range(stretch * COUNT, stretch * COUNT + COUNT)
            collect(tab, name, [frame(shape, background, number) for number in numbers], stretch)
    return tab, tab.ask("gestures.fit")


TAUGHT: list[tuple[Tab, Any, Path]] = []


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tab, Any, Path]:
    """A tab that was taught three classes, once for all files of tests; a test that changes it changes it back."""
    if not TAUGHT:
        folder = tmp_path_factory.mktemp("runs")
        tab, answer = taught_tab(folder, {name: (name, 1) for name in ("circle", "square", "cross")})
        assert answer["kind"] == "gestures.fit", answer
        TAUGHT.append((tab, answer, folder))
    return TAUGHT[0]


def test_the_last_fifth_of_each_stretch_is_held_out() -> None:
    assert held_out([1] * 5 + [2] * 10) == [False] * 4 + [True] + [False] * 8 + [True] * 2
    assert held_out([1, 2, 3, 4, 5]) == [False] * 4 + [True]  # five stretches of one frame
    assert held_out([1, 2, 1, 2, 1, 1, 1]) == [False] * 6 + [True]  # two stretches at the same time
    assert sum(held_out([3] * 23)) == 4


@pytest.mark.heavy
@pytest.mark.slow
def test_three_classes_are_measured_on_later_frames(taught: tuple[Tab, Any, Path]) -> None:
    _, answer, _ = taught
    counts = np.array(answer["counts"])
    assert answer["classes"] == ["circle", "cross", "square"]
    assert counts.sum(1).tolist() == [2 * COUNT // 5] * 3
    assert answer["train"] == 3 * 2 * COUNT * 4 // 5
    assert answer["accuracy"] == pytest.approx(counts.trace() / counts.sum())
    assert answer["accuracy"] > 0.9
    assert 0 < answer["unsure"] < 1
    assert answer["unlike"] > 0
    assert answer["shortcuts"] == []


def test_a_frame_is_answered_and_explained_as_in_python(taught: tuple[Tab, Any, Path]) -> None:
    tab, _, _ = taught
    one = frame("cross", 1, 1000)
    answer = tab.ask("gestures.predict", {"frame": one})
    model = tab.session.sessions["gestures"].own.taught.model
    x = task_of(model).resize_to_input(model, task_of(model).predictor(model).frame(one))
    outputs = model.confidence.calibrate(model.predict(x[None]))[0]
    assert answer["label"] == "cross"
    assert answer["probabilities"] == pytest.approx(outputs.tolist(), abs=1e-6)
    assert (answer["is_unsure"], answer["is_unlike"]) == (False, False)
    why = tab.ask("gestures.why")
    method, layer = "layercam", "features.stage5.block3"
    map_ = explain(model.net, model.params, model.scaled(x[None]), method, 1, layer=layer)[0].sum(0)
    torch.testing.assert_close(why["tensors"]["map"], map_, atol=1e-5, rtol=1e-4)
    height, width = map_.shape
    rows, columns = range(26, height - 26), range(26, width - 26)  # a fifth of 128 pixels is 25.6
    middle = sum(float(map_[row, column]) for row in rows for column in columns)
    assert why["edge"] == pytest.approx(1 - middle / float(map_.sum()), abs=1e-4)
    assert (why["label"], why["shortcut"]) == ("cross", None)


def test_noise_is_unlike_anything_and_half_and_half_is_unsure(taught: tuple[Tab, Any, Path]) -> None:
    tab, answer, _ = taught
    noise = torch.randint(0, 256, (3, 128, 171), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    found = tab.ask("gestures.predict", {"frame": noise})
    assert found["is_unlike"]
    assert found["distance"] > found["limit"]
    blends = [(frame("circle", 1, k) * 0.5 + frame("square", 1, k) * 0.5).to(torch.uint8) for k in range(6)]
    for blend in blends:
        found = tab.ask("gestures.predict", {"frame": blend})
        assert found["is_unsure"] == (max(found["probabilities"]) < answer["unsure"])


def test_repeated_frames_are_remarked(taught: tuple[Tab, Any, Path], tmp_path: Path) -> None:
    tab = Tab(library_in(tmp_path))
    tab.ask("gestures.open")
    for name in ("circle", "square"):
        tab.ask("gestures.edit", name=None, becomes=name)
    collect(tab, "circle", [frame("circle", 1, 1)] * 40)
    collect(tab, "square", [frame("square", 2, k) for k in range(6)])
    remarks = tab.ask("gestures.fit")["remarks"]
    assert any("39 of 40 frames of circle nearly repeat" in one for one in remarks)
    assert any("few training frames to learn from in class square (5)" in one for one in remarks)
    assert any("circle has 32 training frames and square 5" in one for one in remarks)


@pytest.mark.parametrize("count", [15, 45, 50, 75])
def test_a_remark_says_unlike_anything_only_of_a_model_that_can(count: int, tmp_path: Path) -> None:
    tab = Tab(library_in(tmp_path))
    tab.ask("gestures.open")
    for name in ("circle", "square"):
        tab.ask("gestures.edit", name=None, becomes=name)
        collect(tab, name, [frame(name, 1, 1)] * count)
    answer = tab.ask("gestures.fit")
    n_test = 2 * (count // 5)
    (remark,) = (one for one in answer["remarks"] if "held-out frames nearly repeat" in one)
    assert f"{n_test} of {n_test} held-out" in remark
    assert (answer["unlike"] is not None) == (n_test >= 20)  # as the page says
    assert ("unlike anything" in remark) == (n_test >= 20)


@pytest.mark.heavy
@pytest.mark.slow
def test_classes_that_differ_in_their_background_are_a_shortcut(tmp_path: Path) -> None:
    """A third class differs in its shape, and is none; the map of the shortcut lies at the edge."""
    tab, answer = taught_tab(tmp_path, {"a": ("circle", 1), "b": ("circle", 2), "c": ("cross", 1)}, stretches=1)
    (sentence,) = answer["shortcuts"]
    assert "shortcut: a and b are told apart by their background" in sentence
    edge = answer["tensors"]["map0"][~middle_mask(128, 128)].sum() / answer["tensors"]["map0"].sum()
    assert float(edge) > 0.5
    assert answer["tensors"]["picture0"].shape == (3, 128, 128)
    tab.ask("gestures.predict", {"frame": frame("circle", 2, 500)})
    assert tab.ask("gestures.why")["shortcut"] == sentence
    tab.ask("gestures.predict", {"frame": frame("cross", 1, 500)})
    assert tab.ask("gestures.why")["shortcut"] is None


@pytest.mark.slow
def test_shapes_before_different_backgrounds_are_no_shortcut(tmp_path: Path) -> None:
    _, answer = taught_tab(tmp_path, {"a": ("circle", 1), "b": ("cross", 2)}, stretches=1)
    assert answer["shortcuts"] == []


@pytest.mark.heavy
@pytest.mark.slow
def test_a_saved_run_is_read_by_commands(
    taught: tuple[Tab, Any, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tab, answer, folder = taught
    saved = [tab.ask("gestures.save", name="shapes") for _ in range(2)]
    assert [one["run"] for one in saved] == ["shapes-1", "shapes-2"]
    assert sorted(path.name for path in folder.glob("*shapes*")) == ["shapes-1", "shapes-2"]
    run = saved[0]["path"]
    images = tmp_path / "images"
    images.mkdir()
    for shape in answer["classes"]:
        picture(shape, 1, 1001).save(images / f"{shape}.png")
    capsys.readouterr()
    assert main(["predict", run, str(images), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["predictions"]
    assert [row["label"] for row in rows] == answer["classes"]
    live = tab.ask("gestures.predict", {"frame": frame("circle", 1, 1001)})
    assert [*rows[0]["probabilities"].values()] == pytest.approx(live["probabilities"], abs=1e-3)
    assert main(["evaluate", run, "--json"]) == 0
    evaluation = json.loads(capsys.readouterr().out)
    assert evaluation["accuracy"] == pytest.approx(answer["accuracy"])
    assert evaluation["n"] == sum(map(sum, answer["counts"]))
    assert main(["explain", run, str(images / "cross.png"), "--method", "gradcam", "--out", str(tmp_path / "why")]) == 0
    assert main(["export", run, "--to", "onnx", "--out", str(tmp_path / "shapes.onnx")]) == 0
    assert run.endswith("shapes-1")
    assert "shapes-1" in Library((), Model.load, Runs(folder)).trained


@pytest.mark.slow
def test_classes_of_the_same_frames_are_no_better_than_guessing(tmp_path: Path) -> None:
    _, answer = taught_tab(tmp_path, {"a": ("circle", 1), "b": ("circle", 1)}, stretches=1)
    counts = np.array(answer["counts"])
    assert counts.trace() / counts.sum() <= 0.5
    assert f"{counts.trace()} of 10 held-out frames right is no better than guessing" in answer["remarks"][0]


def test_an_accuracy_of_shapes_is_above_guessing(taught: tuple[Tab, Any, Path]) -> None:
    assert not any("guessing" in remark for remark in taught[1]["remarks"])


def test_a_saved_run_is_finished_and_not_resumed(taught: tuple[Tab, Any, Path]) -> None:
    tab, answer, folder = taught
    run = tab.ask("gestures.save", name="finished")["run"]
    state = tab.ask("train.state", run=run)
    assert (state["status"], state["epochs"]) == ("finished", 0)
    assert f"accuracy {100 * answer['accuracy']:.1f}" in state["message"]
    assert tab.ask("train.confusion", run=run, epoch=0)["counts"] == answer["counts"]
    files = {file: file.read_bytes() for file in (folder / run).rglob("*") if file.is_file()}
    assert "nothing to resume" in tab.ask("train.control", run=run, action="resume")["message"]
    with pytest.raises(PellucidError, match="taught in the studio"):
        resume(folder / run)
    assert {file: file.read_bytes() for file in (folder / run).rglob("*") if file.is_file()} == files


def test_an_unsaved_run_leaves_nothing(taught: tuple[Tab, Any, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    tab, _, folder = taught
    before = sorted(folder.iterdir())

    def fail(*given: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Model, "save", fail)
    answer = tab.ask("gestures.save", name="full")
    assert "No space left on device" in answer["message"]
    assert sorted(folder.iterdir()) == before


def test_a_page_that_connects_again_finds_its_frames(tmp_path: Path) -> None:
    library = library_in(tmp_path)
    tab = Tab(library)
    name = tab.ask("gestures.open")["collection"]
    tab.ask("gestures.edit", name=None, becomes="a")
    collect(tab, "a", [frame("circle", 1, 1)], stretch=4)
    again = Tab(library).ask("gestures.open", collection=name)
    assert again["classes"] == [{"name": "a", "frames": 1, "stretch": 4}]
    assert torch.equal(again["tensors"]["frame0"], frame("circle", 1, 1))
    other = Tab(library).ask("gestures.open", collection="unknown")
    assert (other["classes"], other["collection"] != "unknown") == ([], True)


def test_classes_are_added_renamed_and_removed_and_stretches_dropped(tmp_path: Path) -> None:
    tab = Tab(library_in(tmp_path))
    for name in ("a", "b"):
        tab.ask("gestures.edit", name=None, becomes=name)
    collect(tab, "a", [frame("circle", 1, 1)] * 2, stretch=1)
    collect(tab, "a", [frame("circle", 1, 2)], stretch=2)
    assert tab.ask("gestures.edit", name="a", becomes="ä")["classes"][0] == {"name": "ä", "frames": 3, "stretch": 2}
    dropped = tab.ask("gestures.drop", name="ä", stretch=2)
    assert dropped["classes"][0]["frames"] == 2
    assert torch.equal(dropped["tensors"]["frame"], tab.session.sessions["gestures"].own.frames.of("ä")[-1].picture)
    assert [one["name"] for one in tab.ask("gestures.edit", name="ä", becomes=None)["classes"]] == ["b"]


NAMES = [
    "",
    " ",
    "a" * 41,
    "../a",
    "a/b",
    "a\\b",
    ".",
    "..",
    ".hidden",
    "a\n",
    "\x00",
    "a\u202e",
    "\ud800",
    "B",
    "CON:",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_no_name_of_a_folder_is_refused(name: str, tmp_path: Path) -> None:
    tab = Tab(library_in(tmp_path))
    tab.ask("gestures.edit", name=None, becomes="b")
    assert tab.ask("gestures.edit", name=None, becomes=name)["kind"] == "error"
    if name != "B":  # the class itself may be written in another way
        assert tab.ask("gestures.edit", name="b", becomes=name)["kind"] == "error"
    assert tab.ask("gestures.open")["classes"] == [{"name": "b", "frames": 0, "stretch": None}]


@pytest.mark.parametrize(
    "refused",
    [
        torch.zeros(128, 128, dtype=torch.uint8),
        torch.zeros(1, 128, 128, dtype=torch.uint8),
        torch.zeros(3, 47, 128, dtype=torch.uint8),
        torch.zeros(3, 128, 257, dtype=torch.uint8),
        torch.zeros(3, 128, 128),
    ],
)
def test_a_frame_of_another_kind_is_refused(refused: Tensor, tmp_path: Path) -> None:
    tab = Tab(library_in(tmp_path))
    tab.ask("gestures.edit", name=None, becomes="a")
    message = tab.ask("gestures.collect", {"frame": refused}, name="a", stretch=0)["message"]
    assert "frame must be uint8 (3, H, W), 48 to 256 pixels high and wide" in message
    assert tab.ask("gestures.predict", {"frame": frame("circle", 1, 1)})["kind"] == "error"


def test_the_numbers_of_classes_and_frames_are_bounded() -> None:
    tab = Tab()
    for number in range(MAX_CLASSES):
        tab.ask("gestures.edit", name=None, becomes=f"class {number}")
    assert "at most 12" in tab.ask("gestures.edit", name=None, becomes="more")["message"]
    small = torch.zeros(3, 48, 48, dtype=torch.uint8)
    collect(tab, "class 1", [small] * MAX_FRAMES)
    answer = tab.ask("gestures.collect", {"frame": small}, name="class 2", stretch=0)
    assert "1,000 frames are collected, which is the limit" in answer["message"]


def test_too_few_classes_and_frames_are_refused(tmp_path: Path) -> None:
    tab = Tab(library_in(tmp_path))
    assert "at least two" in tab.ask("gestures.fit")["message"]
    for name in ("a", "b"):
        tab.ask("gestures.edit", name=None, becomes=name)
    collect(tab, "a", [frame("circle", 1, 1)] * 5)
    assert "b has 0 frames; collect at least 5" in tab.ask("gestures.fit")["message"].replace("'", "")
    for kind in ("gestures.why", "gestures.save"):
        assert "no model is trained yet" in tab.ask(kind)["message"]
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("name", ["", "../a", "a/b", "-a", "a" * 41, ".a", "a\n"])
def test_a_run_is_saved_only_under_a_plain_name(name: str, taught: tuple[Tab, Any, Path]) -> None:
    tab, _, folder = taught
    before = sorted(folder.rglob("*"))
    assert "1 to 40 letters" in tab.ask("gestures.save", name=name)["message"]
    assert sorted(folder.rglob("*")) == before


def test_frames_of_a_copy_are_independent() -> None:
    frames = ClassFrames()
    frames.add_class("a")
    copied = frames.copy()
    frames.add_class("b")
    assert [*copied.by_class] == ["a"]


@pytest.mark.parametrize("lengths", [(5,), (10, 5, 30), (7, 25), (9, 9, 9), (2, 2, 1)])
def test_written_frames_are_read_with_their_stretches(lengths: tuple[int, ...], tmp_path: Path) -> None:
    frames = ClassFrames()
    rng = torch.Generator().manual_seed(0)
    for name in ("b", "a"):
        frames.add_class(name)
        for stretch, length in enumerate(lengths):
            for _ in range(length):
                picture_of_noise = torch.randint(0, 256, (3, 48, 64), generator=rng).to(torch.uint8)
                frames.add(name, Frame(stretch, picture_of_noise))
    frames.write(tmp_path / "frames")
    (tmp_path / "frames/train/a/9999.png").symlink_to(tmp_path / "frames/train/b/0001.png")
    again = ClassFrames.read(tmp_path / "frames")
    assert [*again.by_class] == ["a", "b"]
    for name in ("a", "b"):
        before = frames.of(name)
        after = again.of(name)
        assert torch.equal(torch.stack([one.picture for one in after]), torch.stack([one.picture for one in before]))
        assert held_out([one.stretch for one in after]) == held_out([one.stretch for one in before])


def test_a_saved_run_is_continued_with_its_frames(taught: tuple[Tab, Any, Path]) -> None:
    tab, answer, folder = taught
    run = tab.ask("gestures.save", name="continued")["run"]
    again = Tab(library_in(folder))
    assert run in again.ask("gestures.open")["saved"]
    opened = again.ask("gestures.open", run=run)
    assert [(one["name"], one["frames"]) for one in opened["classes"]] == [
        (name, 2 * COUNT) for name in answer["classes"]
    ]
    assert not opened["is_taught"]
    assert torch.equal(opened["tensors"]["frame0"], frame("circle", 1, 2 * COUNT - 1))
    again.ask("gestures.edit", name=None, becomes="fourth")
    assert len(again.ask("gestures.open", collection=opened["collection"])["classes"]) == 4
    assert "no saved run '../x'" in again.ask("gestures.open", run="../x")["message"]


def test_the_collection_that_was_not_opened_for_longest_is_dropped_and_its_page_is_told(tmp_path: Path) -> None:
    library = library_in(tmp_path)
    names = []
    for _ in range(MAX_KEPT):
        answer = Tab(library).ask("gestures.open")
        assert answer["note"] == ""
        names.append(answer["collection"])
    assert Tab(library).ask("gestures.open", collection=names[0])["collection"] == names[0]  # it is used again
    Tab(library).ask("gestures.open")
    assert Tab(library).ask("gestures.open", collection=names[0])["note"] == ""
    lost = Tab(library).ask("gestures.open", collection=names[1])
    assert lost["collection"] != names[1]
    assert f"keeps the {MAX_KEPT} collections" in lost["note"]
