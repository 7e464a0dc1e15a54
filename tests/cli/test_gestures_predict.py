"""`pellucid gestures predict` of pictures, videos and cameras."""

import csv
import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from pellucid.base.errors import PellucidError
from pellucid.data import video as frames
from pellucid.data.video import VideoFrame
from pellucid.tasks.gestures.command import frames as command
from tests.cli.conftest import Cli
from tests.tasks.gestures.colours import BLUE, GREEN, GREY, PURE, RED, animation, colour_model, picture, tensor


@pytest.fixture
def confident_model(tmp_path: Path) -> str:
    """A model that reports predictions with a probability below 90 % as unsure."""
    colour_model().save(tmp_path / "colours.safetensors")
    return "colours.safetensors"


@pytest.fixture
def uncalibrated_model(tmp_path: Path) -> str:
    """A model whose probabilities are not calibrated."""
    colour_model(None).save(tmp_path / "plain.safetensors")
    return "plain.safetensors"


def test_predictions_of_pictures_are_printed_as_text(cli: Cli, confident_model: str, tmp_path: Path):
    picture(tmp_path / "red.png", RED)
    picture(tmp_path / "grey.png", GREY)
    result = cli("gestures", "predict", confident_model, "red.png", "grey.png")
    assert result.out.splitlines()[0].startswith(f"red.png: red  (red {100 * PURE:.2f} %, ")
    assert result.out.splitlines()[1].startswith("grey.png: unsure  (")
    assert result.err == ""


def test_files_that_cannot_be_read_are_left_out_with_the_reason(cli: Cli, confident_model: str, tmp_path: Path):
    picture(tmp_path / "red.png", RED)
    (tmp_path / "zero.jpg").write_bytes(b"")
    (tmp_path / "Thumbs.db").write_bytes(b"no picture")
    result = cli("gestures", "predict", confident_model, "zero.jpg", "red.png", "Thumbs.db", "red.png")
    assert (result.code, [line[:12] for line in result.out.splitlines()]) == (0, ["red.png: red"] * 2)
    assert [line.split()[2] for line in result.err.splitlines()] == ["zero.jpg", "Thumbs.db"]
    output = cli("gestures", "predict", confident_model, "zero.jpg", "red.png", "--json").json
    assert [prediction["image"] for prediction in output["predictions"]] == ["red.png"]
    assert [skipped["image"] for skipped in output["skipped"]] == ["zero.jpg"]
    assert output["engine"] == "pellucid"
    assert "zero.jpg is empty" in cli("gestures", "predict", confident_model, "zero.jpg", "Thumbs.db").error_line


def test_predictions_of_pictures_are_printed_as_json(cli: Cli, confident_model: str, tmp_path: Path):
    picture(tmp_path / "red.png", RED)
    picture(tmp_path / "grey.png", GREY)
    output = cli("gestures", "predict", confident_model, "red.png", "grey.png", "--json").json
    assert output["confidence"] == {"temperature": 1.0, "threshold": 0.9}
    red, grey = output["predictions"]
    assert (red["image"], red["answer"], red["label"]) == ("red.png", "red", "red")
    assert red["probability"] == pytest.approx(PURE, rel=1e-5)
    assert grey["answer"] is None
    assert sum(grey["probabilities"].values()) == pytest.approx(1)


def test_predictions_of_an_uncalibrated_model_are_marked(cli: Cli, uncalibrated_model: str, tmp_path: Path):
    picture(tmp_path / "grey.png", GREY)
    result = cli("gestures", "predict", uncalibrated_model, "grey.png")
    assert "unsure" not in result.out
    assert result.err == "pellucid: the model has no fitted confidence, so no answer is unsure\n"
    assert cli("gestures", "predict", uncalibrated_model, "grey.png", "--json").json["confidence"] is None


def test_a_line_is_printed_for_each_change_of_the_predicted_class(cli: Cli, confident_model: str, tmp_path: Path):
    animation(tmp_path / "a.gif", [RED] * 3 + [GREEN] * 2, 500)
    result = cli("gestures", "predict", confident_model, "--video", "a.gif", "--smoothing", "0")
    lines = result.out.splitlines()
    assert [line.split("  ")[:2] for line in lines[:2]] == [["0:00.0", "red"], ["0:01.5", "green"]]
    assert lines[2].startswith("5 frames, ")
    assert lines[3:] == ["  red  60.00 %", "  green  40.00 %"]


def test_a_video_as_json_on_one_line(cli: Cli, confident_model: str, tmp_path: Path):
    animation(tmp_path / "a.gif", [RED] * 4 + [GREY] * 2 + [BLUE] * 2)
    output = cli(
        "gestures", "predict", confident_model, "--video", "a.gif", "--smoothing", "0", "--every", "2", "--json"
    ).json
    assert (output["frames"], output["dropped"], output["unsure"], output["stopped"]) == (4, 0, 1, False)
    assert output["answers"] == {"red": 2, "blue": 1}
    assert [(change["frame"], change["answer"]) for change in output["changes"]] == [(0, "red"), (4, None), (6, "blue")]
    assert output["source"] == "a.gif"
    assert output["engine"] in ("pellucid", "onnxruntime")  # the faster one


def test_predictions_of_a_folder_of_frames_have_no_times(cli: Cli, confident_model: str, tmp_path: Path):
    picture(tmp_path / "frames/1.png", RED)
    assert cli("gestures", "predict", confident_model, "--video", "frames").out.startswith("frame 0  red  (")


def test_smoothing_ignores_a_single_different_frame(cli: Cli, confident_model: str, tmp_path: Path):
    animation(tmp_path / "a.gif", [RED] * 8 + [GREEN] + [RED] * 3)
    smooth = cli("gestures", "predict", confident_model, "--video", "a.gif", "--json").json
    rough = cli("gestures", "predict", confident_model, "--video", "a.gif", "--smoothing", "0", "--json").json
    assert [change["answer"] for change in smooth["changes"]] == ["red"]
    assert [change["answer"] for change in rough["changes"]] == ["red", "green", "red"]


def test_rows_go_into_a_csv_file(cli: Cli, confident_model: str, tmp_path: Path):
    animation(tmp_path / "a.gif", [RED, GREY], 200)
    assert (
        cli("gestures", "predict", confident_model, "--video", "a.gif", "--smoothing", "0", "--out", "a.csv").code == 0
    )
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["frame"], row["answer"], row["seconds"]) for row in rows] == [("0", "red", "0.0"), ("1", "", "0.2")]
    assert float(rows[0]["probability"]) == pytest.approx(PURE, rel=1e-3)  # its picture has a white dot


def test_rows_go_into_a_jsonl_file(cli: Cli, confident_model: str, tmp_path: Path):
    animation(tmp_path / "a.gif", [RED, GREY])
    output = cli(
        "gestures", "predict", confident_model, "--video", "a.gif", "--smoothing", "0", "--out", "a.jsonl", "--json"
    ).json
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [row["answer"] for row in rows] == ["red", None]
    assert sum(rows[1]["probabilities"].values()) == pytest.approx(1)
    assert output["out"] == "a.jsonl"


def frames_of(count: int, end: type[BaseException]) -> Iterator[VideoFrame]:
    for k in range(count):
        yield VideoFrame(2 * k, k / 10, tensor(RED), dropped=1)
    raise end


@pytest.mark.parametrize("json_too", [True, False])
def test_ctrl_c_ends_a_camera_with_its_summary(
    cli: Cli, confident_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, json_too: bool
):
    monkeypatch.setattr(command, "camera_frames", lambda index, every: frames_of(3, KeyboardInterrupt))
    words = ("gestures", "predict", confident_model, "--camera", "0", "--out", "a.jsonl")
    result = cli(*words, *(["--json"] if json_too else []))
    assert result.code == 0
    if json_too:
        assert (result.json["frames"], result.json["dropped"], result.json["stopped"]) == (3, 3, True)
        assert result.json["source"] == "camera 0"
    else:
        assert result.out.splitlines()[0].startswith("0:00.0  red  (")
        assert ", 3 dropped" in result.out
    assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 3


def test_the_frames_of_an_unplugged_camera_are_kept(cli: Cli, confident_model: str, monkeypatch: pytest.MonkeyPatch):
    gone = PellucidError("camera 0 sends no more frames; check that it is plugged in")

    def unplugged(index: int, every: int) -> Iterator[VideoFrame]:
        yield from (VideoFrame(k, k / 10, tensor(RED)) for k in range(3))
        raise gone

    monkeypatch.setattr(command, "camera_frames", unplugged)
    result = cli("gestures", "predict", confident_model, "--camera", "0", "--json")
    values = json.loads(result.out)
    assert (result.code, values["frames"], values["stopped"]) == (2, 3, True)
    assert result.err == f"pellucid: {gone}\n"
    result = cli("gestures", "predict", confident_model, "--camera", "0")
    assert (result.code, "3 frames" in result.out) == (2, True)


def test_ctrl_c_before_the_first_frame_prints_0_frames(cli: Cli, confident_model: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(command, "camera_frames", lambda index, every: frames_of(0, KeyboardInterrupt))
    assert cli("gestures", "predict", confident_model, "--camera", "0").out == "0 frames, 0 dropped\n"
    assert cli("gestures", "predict", confident_model, "--camera", "0", "--json").json["fps"] is None


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
def test_an_invalid_argument_is_reported_in_one_line_with_a_remedy(
    cli: Cli, confident_model: str, words: list[str], hint: str
):
    assert hint in cli("gestures", "predict", confident_model, *words).error_line


def test_a_camera_without_opencv_is_reported_in_one_line(
    cli: Cli, confident_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(frames, "import_module", missing)
    words = ("gestures", "predict", confident_model, "--camera", "0", "--out", "a.csv")
    assert 'pip install "pellucid[camera]"' in cli(*words).error_line
    assert not (tmp_path / "a.csv").exists()


@pytest.mark.skipif(find_spec("cv2") is None, reason="OpenCV is not installed: pip install -e .[camera]")
def test_a_missing_camera_is_reported_in_one_line(cli: Cli, confident_model: str):
    assert "camera 63 cannot be opened" in cli("gestures", "predict", confident_model, "--camera", "63").error_line
