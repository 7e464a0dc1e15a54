"""`pellucid detect` on pictures of any size, folders with damaged files, videos and a camera."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.cli.main import main
from pellucid.data import DetectionFolder
from pellucid.data.video import VideoFrame
from pellucid.errors import PellucidError
from pellucid.image_objects import Detections
from pellucid.model import Model
from pellucid.report.figures.overlay import object_overlay
from pellucid.tasks.detect.finder import ObjectFinder
from pellucid.tasks.outputs import CocoResults
from tests.detectors.drawn import Rectangles, small_single_stage

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A detector that finds a rectangle in the upper left quarter of each image, with masks, and a worse one."""

    def predict(self: Model, x: torch.Tensor) -> list[Detections]:
        height, width = x.shape[2:]
        boxes = torch.tensor([[0.0, 0.0, width / 2, height / 2], [0.0, 0.0, width, height]])
        masks = torch.zeros(2, height, width, dtype=torch.bool)
        masks[0, : height // 2, : width // 2] = True
        return [Detections(boxes, torch.tensor([0.9, 0.4]), torch.tensor([1, 0]), masks)] * len(x)

    monkeypatch.setattr(Model, "predict", predict)
    model = Model(
        small_single_stage(), input_shape=(3, None, None), classes=Rectangles.classes, preprocess={"size": 64}
    )
    model.save(tmp_path / "m.safetensors")
    return str(tmp_path / "m.safetensors")


def save(path: Path, width: int, height: int, **options: object) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (width, height), (128, 128, 128)).save(path, **options)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in pycocotools
def test_a_folder_is_detected_but_for_the_damaged_file(file: str, tmp_path: Path, capsys: Capture) -> None:
    pycocotools = pytest.importorskip("pycocotools.coco")
    folder, out = tmp_path / "in", tmp_path / "out"
    turned = Image.Exif()
    turned[0x0112] = 6  # shown turned by a quarter
    save(folder / "a.jpg", 60, 40, exif=turned)
    save(folder / "b.png", 1, 1)
    (folder / "c.png").write_bytes(b"no picture")
    save(folder / "d.png", 1200, 300)
    assert main(["detect", file, str(folder), "--out", str(out), "--json"]) == 2
    said = capsys.readouterr()
    assert "c.png" in said.err
    assert said.err.count("\n") == 1
    values = json.loads(said.out)
    assert [one["image"] for one in values["skipped"]] == ["c.png"]
    assert [(picture["image"], picture["width"], picture["height"]) for picture in values["pictures"]] == [
        ("a.jpg", 40, 60), ("b.png", 1, 1), ("d.png", 1200, 300),
    ]  # fmt: skip
    for picture in values["pictures"]:
        ((number, name, score, box),) = [tuple(detection.values()) for detection in picture["detections"]]
        assert (number, name, score) == (1, "green", pytest.approx(0.9))
        assert box == pytest.approx([0, 0, picture["width"] / 2, picture["height"] / 2])
    for name, size in (("a", (280, 420)), ("b", (400, 400)), ("d", (1200, 300))):
        with Image.open(out / f"{name}-detections.png") as shown:
            assert shown.size == size
    read = pycocotools.COCO(values["annotations"])
    rows = read.loadAnns(read.getAnnIds())
    assert [row["bbox"] for row in rows] == [[0, 0, 20, 30], [0, 0, 0.5, 0.5], [0, 0, 600, 150]]
    assert read.annToMask(rows[2]).sum() == 600 * 150
    assert [row["score"] for row in rows] == pytest.approx([0.9] * 3)
    assert read.loadCats(rows[0]["category_id"])[0]["name"] == "green"
    capsys.readouterr()
    assert main(["detect", file, str(folder / "b.png"), "--out", str(out)]) == 0  # its own files are written again
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"{out / 'b-detections.png'}: 1 object (green 1)", f"wrote {out / 'detections.json'}"]


def test_a_lower_score_finds_more_and_a_higher_one_nothing(file: str, tmp_path: Path, capsys: Capture) -> None:
    save(tmp_path / "a.png", 8, 8)
    for score, expected in (("0.3", "2 objects (green 1, red 1)"), ("0.95", "no objects")):
        assert main(["detect", file, str(tmp_path / "a.png"), "--score", score]) == 0
        assert capsys.readouterr().out == f"a.png: {expected}\n"
    assert main(["detect", file, str(tmp_path / "a.png"), "--score", "0.95", "--out", str(tmp_path / "out")]) == 0
    annotations = json.loads((tmp_path / "out/detections.json").read_text())
    assert annotations["annotations"] == []
    assert len(annotations["images"]) == 1
    capsys.readouterr()
    assert main(["detect", file, str(tmp_path / "a.png")]) == 0
    detected = capsys.readouterr().out
    assert main(["predict", file, str(tmp_path)]) == 0  # `predict` does what the command of the model's task does
    assert capsys.readouterr().out == detected
    for words in (["--score", "2", str(tmp_path / "a.png")], [], [str(tmp_path / "a.png"), "--camera", "0"]):
        assert main(["detect", file, *words]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_camera_is_detected_until_ctrl_c_and_its_frames_are_kept(
    file: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def frames(end: BaseException) -> Iterator[VideoFrame]:
        for number in (0, 3):
            yield VideoFrame(number, 0.1 * number, torch.zeros(3, 20, 30, dtype=torch.uint8))
        raise end

    place = "pellucid.data.video.camera_frames"
    monkeypatch.setattr(place, lambda number: frames(KeyboardInterrupt()))
    assert main(["detect", file, "--camera", "0", "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.count("1 object (green 1)") == 2
    assert len(json.loads((tmp_path / "out/detections.json").read_text())["images"]) == 2
    monkeypatch.setattr(place, lambda number: frames(PellucidError("camera 0 sends no more frames")))
    assert main(["detect", file, "--camera", "0", "--json"]) == 2
    said = capsys.readouterr()
    assert [picture["image"] for picture in json.loads(said.out)["pictures"]] == ["camera-000000", "camera-000003"]
    assert said.err == "pellucid: camera 0 sends no more frames\n"


def test_a_gif_is_detected_frame_by_frame(file: str, tmp_path: Path, capsys: Capture) -> None:
    frames = [Image.new("L", (30, 20), shade) for shade in (0, 128, 255)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    assert main(["detect", file, str(tmp_path / "film.gif")]) == 0
    assert capsys.readouterr().out.splitlines()[2] == "film-000002: 1 object (green 1)"


def test_written_annotations_are_read_again(tmp_path: Path) -> None:
    boxes = torch.tensor([[1.0, 2.0, 5.0, 6.0], [0.0, 0.0, 8.0, 8.0]])
    points = torch.tensor([[[2.0, 3.0, 0.8], [4.0, 5.0, 0.1]]] * 2)
    results = CocoResults(("red", "green"))
    results.add("a.png", (10, 12), Detections(boxes, torch.tensor([0.9, 0.6]), torch.tensor([1, 0]), None, points))
    (tmp_path / "detections.json").write_text(json.dumps(results.to_json()))
    save(tmp_path / "a.png", 12, 10)
    again = DetectionFolder(tmp_path)
    _, objects = again.example(0)
    assert again.classes == ("red", "green")
    assert torch.equal(objects.boxes, boxes)
    assert objects.labels.tolist() == [1, 0]
    assert objects.keypoints is not None
    assert objects.keypoints.tolist() == [[[2.0, 3.0, 2.0], [4.0, 5.0, 2.0]]] * 2


def test_pictures_of_several_sizes_are_found_in_their_order() -> None:
    model = Model(small_single_stage(), input_shape=(3, None, None), preprocess={"size": 32})
    with torch.no_grad():
        model.params["head"]["layer"]["out"]["bias"][:2] = 0.0  # every score is near 1/2
    pictures = [torch.randint(0, 256, (3, h, w), generator=torch.Generator().manual_seed(h)).byte()
                for h, w in ((20, 30), (50, 40), (10, 15), (32, 32))]  # fmt: skip
    finder = ObjectFinder(model)
    assert [finder.fitted(picture) for picture in pictures] == [(21, 32), (32, 26), (21, 32), (32, 32)]
    for alone, together in zip(map(finder, pictures), finder.find(pictures), strict=True):
        assert len(alone)
        torch.testing.assert_close(together.boxes, alone.boxes, rtol=1e-4, atol=1e-3)
        assert torch.equal(together.labels, alone.labels)


def test_a_score_below_the_threshold_of_the_detector_finds_more() -> None:
    model = Model(small_single_stage(), input_shape=(3, None, None), preprocess={"size": 32})
    finder, image = ObjectFinder(model), torch.zeros(3, 32, 32, dtype=torch.uint8)
    assert [len(result) for result in finder.find([image])] == [0]  # scores are near the prior, 0.01
    (result,) = finder.find([image], 0.001)
    assert len(result)
    assert 0.001 <= float(result.scores.min()) <= float(result.scores.max()) < 0.05
    assert [len(result) for result in finder.find([image])] == [0]


def test_boxes_masks_and_labels_are_drawn_where_they_are() -> None:
    image = np.full((500, 800, 3), 128, np.uint8)
    masks = np.zeros((1, 500, 800), bool)
    masks[0, 200:300, 100:250] = True
    shown = object_overlay(image, [[100, 200, 400, 450]], [0], ["1 cell 0.90"], 3, masks).astype(int)
    changed = (shown != 128).any(2)
    assert changed[200:450, 100:102].all()  # the left side of the box
    assert not changed[320:440, 110:390].any()  # inside the box, below the mask
    assert changed[205:295, 105:245].all()
    assert changed[184:199, 101:140].all()  # the label
    assert not changed[:170].any()
    colour = object_overlay(image, [[100, 200, 400, 450]], [0], [""], 3)[300, 100].tolist()
    assert colour == [26, 127, 196]  # the blue of every figure
