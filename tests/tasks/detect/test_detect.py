"""`pellucid detect` on pictures of any size, folders with damaged files, videos and a camera."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.cli.main import main
from pellucid.data import DetectionFolder
from pellucid.data.video import VideoFrame
from pellucid.detectors import Detector
from pellucid.model import Model
from pellucid.ops.image_objects import Detections
from pellucid.report.figures.overlay import object_overlay
from pellucid.tasks.detect.finder import ObjectFinder
from pellucid.tasks.outputs import CocoResults
from tests.detectors.drawn import Rectangles, small_single_stage

CaptureFixture = pytest.CaptureFixture[str]


@pytest.fixture
def model_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a detector's file; it finds the upper left quarter of each image and, with a lower score, all of it."""

    def predict(self: Model, x: torch.Tensor) -> list[Detections]:
        height, width = x.shape[2:]
        boxes = torch.tensor([[0.0, 0.0, width / 2, height / 2], [0.0, 0.0, width, height]])
        masks = torch.zeros(2, height, width, dtype=torch.bool)
        masks[0, : height // 2, : width // 2] = True
        found = Detections(boxes, torch.tensor([0.9, 0.4]), torch.tensor([1, 0]), masks)
        return [found.take(found.scores >= cast(Detector, self.objective).score_threshold)] * len(x)

    monkeypatch.setattr(Model, "predict", predict)
    model = Model(
        small_single_stage(), input_shape=(3, None, None), classes=Rectangles.classes, preprocess={"size": 64}
    )
    model.save(tmp_path / "m.safetensors")
    return str(tmp_path / "m.safetensors")


def save_picture(path: Path, width: int, height: int, **options: object) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (width, height), (128, 128, 128)).save(path, **options)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in pycocotools
def test_folder_is_detected_without_its_damaged_file(model_file: str, tmp_path: Path, capsys: CaptureFixture) -> None:
    pycocotools = pytest.importorskip("pycocotools.coco")
    folder, out = tmp_path / "in", tmp_path / "out"
    exif = Image.Exif()
    exif[0x0112] = 6  # displayed with a quarter turn
    save_picture(folder / "a.jpg", 60, 40, exif=exif)
    save_picture(folder / "b.png", 1, 1)
    (folder / "c.png").write_bytes(b"no picture")
    save_picture(folder / "d.png", 1200, 300)
    assert main(["detect", model_file, str(folder), "--out", str(out), "--json"]) == 2
    captured = capsys.readouterr()
    assert "c.png" in captured.err
    assert captured.err.count("\n") == 1
    output = json.loads(captured.out)
    assert [picture["image"] for picture in output["skipped"]] == ["c.png"]
    assert output["engine"] == "pellucid"
    assert [(picture["image"], picture["width"], picture["height"]) for picture in output["pictures"]] == [
        ("a.jpg", 40, 60), ("b.png", 1, 1), ("d.png", 1200, 300),
    ]  # fmt: skip
    for picture in output["pictures"]:
        ((number, name, score, box),) = [tuple(detection.values()) for detection in picture["detections"]]
        assert (number, name, score) == (1, "green", pytest.approx(0.9))
        assert box == pytest.approx([0, 0, picture["width"] / 2, picture["height"] / 2])
    for name, size in (("a", (280, 420)), ("b", (400, 400)), ("d", (1200, 300))):
        with Image.open(out / f"{name}-detections.png") as overlay:
            assert overlay.size == size
    coco = pycocotools.COCO(output["annotations"])
    rows = coco.loadAnns(coco.getAnnIds())
    assert [row["bbox"] for row in rows] == [[0, 0, 20, 30], [0, 0, 0.5, 0.5], [0, 0, 600, 150]]
    assert coco.annToMask(rows[2]).sum() == 600 * 150
    assert [row["score"] for row in rows] == pytest.approx([0.9] * 3)
    assert coco.loadCats(rows[0]["category_id"])[0]["name"] == "green"
    capsys.readouterr()
    assert main(["detect", model_file, str(folder / "b.png"), "--out", str(out)]) == 0  # its own files are overwritten
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{out / 'b-detections.png'}: 1 object (green 1)", f"wrote {out / 'detections.json'}"]


def test_score_option_is_the_minimum_score_of_detections(
    model_file: str, tmp_path: Path, capsys: CaptureFixture
) -> None:
    save_picture(tmp_path / "a.png", 8, 8)
    for score, expected in (("0.3", "2 objects (green 1, red 1)"), ("0.95", "no objects")):
        assert main(["detect", model_file, str(tmp_path / "a.png"), "--score", score]) == 0
        assert capsys.readouterr().out == f"a.png: {expected}\n"
    assert main(["detect", model_file, str(tmp_path / "a.png"), "--score", "0.95", "--out", str(tmp_path / "out")]) == 0
    annotations = json.loads((tmp_path / "out/detections.json").read_text())
    assert annotations["annotations"] == []
    assert len(annotations["images"]) == 1
    capsys.readouterr()
    assert main(["detect", model_file, str(tmp_path / "a.png")]) == 0
    detect_output = capsys.readouterr().out
    assert main(["predict", model_file, str(tmp_path)]) == 0  # `predict` runs the command of the model's task
    assert capsys.readouterr().out == detect_output
    for arguments in (["--score", "2", str(tmp_path / "a.png")], [], [str(tmp_path / "a.png"), "--camera", "0"]):
        assert main(["detect", model_file, *arguments]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_camera_frames_before_ctrl_c_or_an_error_are_written(
    model_file: str, tmp_path: Path, capsys: CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def frames(error: BaseException) -> Iterator[VideoFrame]:
        for number in (0, 3):
            yield VideoFrame(number, 0.1 * number, torch.zeros(3, 20, 30, dtype=torch.uint8))
        raise error

    camera_frames = "pellucid.data.video.camera_frames"
    monkeypatch.setattr(camera_frames, lambda number: frames(KeyboardInterrupt()))
    assert main(["detect", model_file, "--camera", "0", "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.count("1 object (green 1)") == 2
    assert len(json.loads((tmp_path / "out/detections.json").read_text())["images"]) == 2
    monkeypatch.setattr(camera_frames, lambda number: frames(PellucidError("camera 0 sends no more frames")))
    assert main(["detect", model_file, "--camera", "0", "--json"]) == 2
    captured = capsys.readouterr()
    assert [picture["image"] for picture in json.loads(captured.out)["pictures"]] == ["camera-000000", "camera-000003"]
    assert captured.err == "pellucid: camera 0 sends no more frames\n"


def test_gif_is_detected_frame_by_frame(model_file: str, tmp_path: Path, capsys: CaptureFixture) -> None:
    frames = [Image.new("L", (30, 20), shade) for shade in (0, 128, 255)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    assert main(["detect", model_file, str(tmp_path / "film.gif")]) == 0
    assert capsys.readouterr().out.splitlines()[2] == "film-000002: 1 object (green 1)"


def test_written_annotations_are_read_as_data(tmp_path: Path) -> None:
    boxes = torch.tensor([[1.0, 2.0, 5.0, 6.0], [0.0, 0.0, 8.0, 8.0]])
    points = torch.tensor([[[2.0, 3.0, 0.8], [4.0, 5.0, 0.1]]] * 2)
    results = CocoResults(("red", "green"))
    results.add("a.png", (10, 12), Detections(boxes, torch.tensor([0.9, 0.6]), torch.tensor([1, 0]), None, points))
    (tmp_path / "detections.json").write_text(json.dumps(results.to_json()))
    save_picture(tmp_path / "a.png", 12, 10)
    source = DetectionFolder(tmp_path)
    _, objects = source.example(0)
    assert source.classes == ("red", "green")
    assert torch.equal(objects.boxes, boxes)
    assert objects.labels.tolist() == [1, 0]
    assert objects.keypoints is not None
    assert objects.keypoints.tolist() == [[[2.0, 3.0, 2.0], [4.0, 5.0, 2.0]]] * 2


def test_batched_pictures_of_several_sizes_have_the_detections_of_single_ones() -> None:
    model = Model(small_single_stage(), input_shape=(3, None, None), preprocess={"size": 32})
    with torch.no_grad():
        model.params["head"]["layer"]["out"]["bias"][:2] = 0.0  # every score is near 1/2
    pictures = [torch.randint(0, 256, (3, h, w), generator=torch.Generator().manual_seed(h)).byte()
                for h, w in ((20, 30), (50, 40), (10, 15), (32, 32))]  # fmt: skip
    finder = ObjectFinder(model)
    assert [finder.input_size(picture) for picture in pictures] == [(21, 32), (32, 26), (21, 32), (32, 32)]
    for single, batched in zip(map(finder, pictures), finder.find(pictures), strict=True):
        assert len(single)
        torch.testing.assert_close(batched.boxes, single.boxes, rtol=1e-4, atol=1e-3)
        assert torch.equal(batched.labels, single.labels)


@pytest.mark.parametrize("name", ["bccd", "pennfudan"])
def test_an_empty_batch_has_no_detections(name: str) -> None:
    assert Model.load(name).predict(torch.zeros(0, 3, 64, 64)) == []


def test_a_score_below_the_detectors_threshold_returns_more_detections() -> None:
    model = Model(small_single_stage(), input_shape=(3, None, None), preprocess={"size": 32})
    finder, image = ObjectFinder(model), torch.zeros(3, 32, 32, dtype=torch.uint8)
    assert [len(result) for result in finder.find([image])] == [0]  # scores are near the prior, 0.01
    (result,) = finder.find([image], 0.001)
    assert len(result)
    assert 0.001 <= float(result.scores.min()) <= float(result.scores.max()) < 0.05
    assert [len(result) for result in finder.find([image])] == [0]


@pytest.mark.parametrize("score", [0.3, 0.4, 0.6, 1.0])
def test_a_higher_score_returns_the_same_detections_with_at_least_that_score(score: float) -> None:
    model = Model(small_single_stage(), input_shape=(3, None, None), preprocess={"size": 32})
    with torch.no_grad():
        model.params["head"]["layer"]["out"]["weight"].normal_(0, 0.3, generator=torch.Generator().manual_seed(0))
        model.params["head"]["layer"]["out"]["bias"][:2] = 0.0
    image = torch.randint(0, 256, (3, 40, 60), generator=torch.Generator().manual_seed(0)).byte()
    finder = ObjectFinder(model)
    ((every,), (some,)) = finder.find([image]), finder.find([image], score)
    expected = every.take(every.scores >= score)
    assert len(every) > len(expected)
    for name in ("boxes", "scores", "labels"):
        assert torch.equal(getattr(some, name), getattr(expected, name))


def test_boxes_masks_and_labels_are_drawn_at_their_positions() -> None:
    image = np.full((500, 800, 3), 128, np.uint8)
    masks = np.zeros((1, 500, 800), bool)
    masks[0, 200:300, 100:250] = True
    overlay = object_overlay(image, [[100, 200, 400, 450]], [0], ["1 cell 0.90"], 3, masks).astype(int)
    changed = (overlay != 128).any(2)
    assert changed[200:450, 100:102].all()  # the left side of the box
    assert not changed[320:440, 110:390].any()  # inside the box, below the mask
    assert changed[205:295, 105:245].all()
    assert changed[184:199, 101:140].all()  # the label
    assert not changed[:170].any()
    colour = object_overlay(image, [[100, 200, 400, 450]], [0], [""], 3)[300, 100].tolist()
    assert colour == [26, 127, 196]  # the blue of every figure
