"""`pellucid gestures predict`: pictures, videos and cameras on the command line."""

import csv
import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from pellucid.data import video as frames
from pellucid.data.video import VideoFrame
from pellucid.errors import PellucidError
from pellucid.tasks.gestures.command import frames as command
from tests.cli.conftest import Say
from tests.tasks.gestures.colours import BLUE, GREEN, GREY, PURE, RED, animation, colour_model, picture, tensor


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A model that is unsure below 90 %."""
    colour_model().save(tmp_path / "colours.safetensors")
    return "colours.safetensors"


@pytest.fixture
def plain(tmp_path: Path) -> str:
    """A model without a fitted confidence."""
    colour_model(None).save(tmp_path / "plain.safetensors")
    return "plain.safetensors"


def test_predictions_of_pictures_are_printed_as_text(say: Say, model: str, tmp_path: Path):
    picture(tmp_path / "red.png", RED)
    picture(tmp_path / "grey.png", GREY)
    said = say("gestures", "predict", model, "red.png", "grey.png")
    assert said.out.splitlines()[0].startswith(f"red.png: red  (red {100 * PURE:.2f} %, ")
    assert said.out.splitlines()[1].startswith("grey.png: unsure  (")
    assert said.err == ""


def test_files_that_cannot_be_read_are_left_out_with_the_reason(say: Say, model: str, tmp_path: Path):
    picture(tmp_path / "red.png", RED)
    (tmp_path / "zero.jpg").write_bytes(b"")
    (tmp_path / "Thumbs.db").write_bytes(b"no picture")
    said = say("gestures", "predict", model, "zero.jpg", "red.png", "Thumbs.db", "red.png")
    assert (said.code, [line[:12] for line in said.out.splitlines()]) == (0, ["red.png: red"] * 2)
    assert [line.split()[2] for line in said.err.splitlines()] == ["zero.jpg", "Thumbs.db"]
    output = say("gestures", "predict", model, "zero.jpg", "red.png", "--json").json
    assert [prediction["image"] for prediction in output["predictions"]] == ["red.png"]
    assert [one["image"] for one in output["skipped"]] == ["zero.jpg"]
    assert "zero.jpg is empty" in say("gestures", "predict", model, "zero.jpg", "Thumbs.db").complaint


def test_predictions_of_pictures_are_printed_as_json(say: Say, model: str, tmp_path: Path):
    picture(tmp_path / "red.png", RED)
    picture(tmp_path / "grey.png", GREY)
    output = say("gestures", "predict", model, "red.png", "grey.png", "--json").json
    assert output["confidence"] == {"temperature": 1.0, "threshold": 0.9}
    red, grey = output["predictions"]
    assert (red["image"], red["answer"], red["label"]) == ("red.png", "red", "red")
    assert red["probability"] == pytest.approx(PURE, rel=1e-5)
    assert grey["answer"] is None
    assert sum(grey["probabilities"].values()) == pytest.approx(1)


def test_predictions_of_a_model_without_a_fitted_confidence_say_so(say: Say, plain: str, tmp_path: Path):
    picture(tmp_path / "grey.png", GREY)
    said = say("gestures", "predict", plain, "grey.png")
    assert "unsure" not in said.out
    assert said.err == "pellucid: the model has no fitted confidence, so no answer is unsure\n"
    assert say("gestures", "predict", plain, "grey.png", "--json").json["confidence"] is None


def test_a_line_is_printed_for_each_change_of_the_predicted_class(say: Say, model: str, tmp_path: Path):
    animation(tmp_path / "a.gif", [RED] * 3 + [GREEN] * 2, 500)
    said = say("gestures", "predict", model, "--video", "a.gif", "--smoothing", "0")
    lines = said.out.splitlines()
    assert [line.split("  ")[:2] for line in lines[:2]] == [["0:00.0", "red"], ["0:01.5", "green"]]
    assert lines[2].startswith("5 frames, ")
    assert lines[3:] == ["  red  60.00 %", "  green  40.00 %"]


def test_a_video_as_json_on_one_line(say: Say, model: str, tmp_path: Path):
    animation(tmp_path / "a.gif", [RED] * 4 + [GREY] * 2 + [BLUE] * 2)
    output = say("gestures", "predict", model, "--video", "a.gif", "--smoothing", "0", "--every", "2", "--json").json
    assert (output["frames"], output["dropped"], output["unsure"], output["stopped"]) == (4, 0, 1, False)
    assert output["answers"] == {"red": 2, "blue": 1}
    assert [(change["frame"], change["answer"]) for change in output["changes"]] == [(0, "red"), (4, None), (6, "blue")]
    assert output["source"] == "a.gif"


def test_predictions_of_a_folder_of_frames_have_no_times(say: Say, model: str, tmp_path: Path):
    picture(tmp_path / "frames/1.png", RED)
    assert say("gestures", "predict", model, "--video", "frames").out.startswith("frame 0  red  (")


def test_smoothing_ignores_a_single_different_frame(say: Say, model: str, tmp_path: Path):
    animation(tmp_path / "a.gif", [RED] * 8 + [GREEN] + [RED] * 3)
    smooth = say("gestures", "predict", model, "--video", "a.gif", "--json").json
    rough = say("gestures", "predict", model, "--video", "a.gif", "--smoothing", "0", "--json").json
    assert [change["answer"] for change in smooth["changes"]] == ["red"]
    assert [change["answer"] for change in rough["changes"]] == ["red", "green", "red"]


def test_rows_go_into_a_csv_file(say: Say, model: str, tmp_path: Path):
    animation(tmp_path / "a.gif", [RED, GREY], 200)
    assert say("gestures", "predict", model, "--video", "a.gif", "--smoothing", "0", "--out", "a.csv").code == 0
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["frame"], row["answer"], row["seconds"]) for row in rows] == [("0", "red", "0.0"), ("1", "", "0.2")]
    assert float(rows[0]["probability"]) == pytest.approx(PURE, rel=1e-3)  # one white dot is in it


def test_rows_go_into_a_jsonl_file(say: Say, model: str, tmp_path: Path):
    animation(tmp_path / "a.gif", [RED, GREY])
    output = say(
        "gestures", "predict", model, "--video", "a.gif", "--smoothing", "0", "--out", "a.jsonl", "--json"
    ).json
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [row["answer"] for row in rows] == ["red", None]
    assert sum(rows[1]["probabilities"].values()) == pytest.approx(1)
    assert output["out"] == "a.jsonl"


def film(count: int, end: type[BaseException]) -> Iterator[VideoFrame]:
    for k in range(count):
        yield VideoFrame(2 * k, k / 10, tensor(RED), dropped=1)
    raise end


@pytest.mark.parametrize("json_too", [True, False])
def test_ctrl_c_ends_a_camera_with_its_summary(
    say: Say, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, json_too: bool
):
    monkeypatch.setattr(command, "camera_frames", lambda index, every: film(3, KeyboardInterrupt))
    words = ("gestures", "predict", model, "--camera", "0", "--out", "a.jsonl")
    said = say(*words, *(["--json"] if json_too else []))
    assert said.code == 0
    if json_too:
        assert (said.json["frames"], said.json["dropped"], said.json["stopped"]) == (3, 3, True)
        assert said.json["source"] == "camera 0"
    else:
        assert said.out.splitlines()[0].startswith("0:00.0  red  (")
        assert ", 3 dropped" in said.out
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 3


def test_the_frames_of_an_unplugged_camera_are_kept(say: Say, model: str, monkeypatch: pytest.MonkeyPatch):
    gone = PellucidError("camera 0 sends no more frames; check that it is plugged in")

    def unplugged(index: int, every: int) -> Iterator[VideoFrame]:
        yield from (VideoFrame(k, k / 10, tensor(RED)) for k in range(3))
        raise gone

    monkeypatch.setattr(command, "camera_frames", unplugged)
    said = say("gestures", "predict", model, "--camera", "0", "--json")
    values = json.loads(said.out)
    assert (said.code, values["frames"], values["stopped"]) == (2, 3, True)
    assert said.err == f"pellucid: {gone}\n"
    said = say("gestures", "predict", model, "--camera", "0")
    assert (said.code, "3 frames" in said.out) == (2, True)


def test_ctrl_c_before_the_first_frame_prints_0_frames(say: Say, model: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(command, "camera_frames", lambda index, every: film(0, KeyboardInterrupt))
    assert say("gestures", "predict", model, "--camera", "0").out == "0 frames, 0 dropped\n"
    assert say("gestures", "predict", model, "--camera", "0", "--json").json["fps"] is None


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ([], "needs exactly one of images, --video FILE and --camera N, not nothing"),
        (["a.png", "--camera", "0"], "not images and camera"),
        (["--video", "a.gif", "--camera", "0"], "not video and camera"),
        (["a.png", "--every", "2"], "--every is only for --video and --camera"),
        (["a.png", "--smoothing", "0"], "--smoothing is only for --video and --camera"),
        (["none.png"], "none.png is missing"),
        (["--video", "none.mp4"], "none.mp4 is missing"),
        (["--video", "none.mp4", "--every", "0"], "every must be 1"),
        (["--video", "none.mp4", "--smoothing", "1"], "smoothing must be from 0 (none) to less than 1"),
        (["--video", "none.mp4", "--out", "a.txt"], "--out a.txt must end in .csv or .jsonl"),
        (["--camera", "-1"], "the first camera is 0"),
        (["--camera", "front"], "invalid int value: 'front'"),
        (["--camera", "0", "--smoothin", "0"], "did you mean '--smoothing'?"),
    ],
)
def test_an_invalid_argument_is_reported_in_one_line_with_a_remedy(say: Say, model: str, words: list[str], hint: str):
    assert hint in say("gestures", "predict", model, *words).complaint


def test_a_camera_without_opencv_is_reported_in_one_line(
    say: Say, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(frames, "import_module", missing)
    words = ("gestures", "predict", model, "--camera", "0", "--out", "a.csv")
    assert 'pip install "pellucid[camera]"' in say(*words).complaint
    assert not (tmp_path / "a.csv").exists()


@pytest.mark.skipif(find_spec("cv2") is None, reason="OpenCV is not installed: pip install -e .[camera]")
def test_a_missing_camera_is_reported_in_one_line(say: Say, model: str):
    assert "camera 63 cannot be opened" in say("gestures", "predict", model, "--camera", "63").complaint
