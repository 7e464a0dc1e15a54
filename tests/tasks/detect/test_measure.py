"""A trained detector measured on a folder of Pascal VOC, from Python and by the command."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks.baselines import nearest_objects
from pellucid.cli.main import main
from pellucid.data import DetectionFolder
from pellucid.data.annotations.convert import convert
from pellucid.errors import PellucidError
from pellucid.image_objects import Detections
from pellucid.model import Model
from pellucid.tasks.detect.finder import ObjectFinder, is_detector
from pellucid.tasks.detect.measure import evaluate
from pellucid.tasks.outputs import CocoResults
from tests.detectors.drawn import Rectangles, small_single_stage

SIZE = 2  # times as large as the images of the training


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pellucid.tasks.detect.results.RESAMPLES", 20)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Model:
    """A detector that finds, in images resized as those of its training, what is there."""
    order = iter(range(1000))

    def predict(self: Model, x: torch.Tensor) -> list[Detections]:
        assert x.shape[1:] == (3, 48, 64)
        truths = [Rectangles().example(next(order) % 8)[1] for _ in x]
        return [Detections(truth.boxes, torch.linspace(0.9, 0.6, len(truth)), truth.labels) for truth in truths]

    monkeypatch.setattr(Model, "predict", predict)
    return Model(small_single_stage(), input_shape=(3, None, None), classes=Rectangles.classes, preprocess={"size": 64})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("voc")
    (path / "JPEGImages").mkdir()
    (path / "Annotations").mkdir()
    for k, (image, truth) in enumerate(map(Rectangles().example, range(8))):
        height, width = (SIZE * side for side in image.shape[1:])
        large = image.repeat_interleave(SIZE, 1).repeat_interleave(SIZE, 2)
        Image.fromarray(large.permute(1, 2, 0).numpy()).save(path / f"JPEGImages/{k}.png")
        objects = "".join(
            f"<object><name>{Rectangles.classes[label]}</name><bndbox><xmin>{SIZE * x0:g}</xmin>"
            f"<ymin>{SIZE * y0:g}</ymin><xmax>{SIZE * x1:g}</xmax><ymax>{SIZE * y1:g}</ymax></bndbox></object>"
            for (x0, y0, x1, y1), label in zip(truth.boxes.tolist(), truth.labels.tolist(), strict=True)
        )
        size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        text = f"<annotation><filename>{k}.png</filename>{size}{objects}</annotation>"
        (path / f"Annotations/{k}.xml").write_text(text)
    return path


def test_boxes_are_compared_in_the_pixels_of_the_files(trained: Model, folder: Path) -> None:
    evaluation = evaluate(trained, str(folder))
    for k, (mine, detected) in enumerate(zip(evaluation.objects, evaluation.detections, strict=True)):
        boxes = (SIZE * Rectangles().example(k)[1].boxes).tolist()
        assert mine.boxes.tolist() == boxes
        assert detected.boxes.tolist() == boxes
    told = evaluation.results.to_json()
    assert (told["n"], told["objects"], told["ap"], told["ap50"]) == (8, 18, 1.0, 1.0)


def test_the_command_prints_the_figures_and_writes_the_page(
    trained: Model, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, page = tmp_path / "model.safetensors", tmp_path / "page.html"
    trained.save(file)
    assert main(["evaluate", str(file), "--data", str(folder), "--json", "--html", str(page)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"ap", "ap50", "n", "ap_interval", "errors", "model", "data"} <= set(told)
    assert (told["ap"], told["ap50"], told["n"]) == (1.0, 1.0, 8)
    assert "Hits, false alarms and misses" in page.read_text(encoding="utf-8")
    assert main(["evaluate", str(file), "--data", str(folder)]) == 0
    out = capsys.readouterr().out
    assert f"AP {100 * told['ap']:.2f} %" in out
    assert "gain in AP50" in out


def test_every_layout_of_a_folder_is_measured(
    trained: Model, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Boxes beside their images, in a list of test images alone, in a part, and as one COCO file."""
    trained.save(tmp_path / "m.safetensors")
    beside, listed, part, coco = (tmp_path / name for name in ("beside", "listed", "part", "coco"))
    beside.mkdir()
    for file in (*folder.glob("JPEGImages/*"), *folder.glob("Annotations/*")):
        shutil.copy(file, beside)
    shutil.copytree(folder, listed)
    (listed / "ImageSets/Main").mkdir(parents=True)
    (listed / "ImageSets/Main/test.txt").write_text("".join(f"{k}\n" for k in range(8)))
    shutil.copytree(beside, part / "test")
    convert(folder, coco, "coco")
    for data, held in ((beside, ""), (listed, "test"), (part, "test"), (coco, "")):
        assert main(["evaluate", str(tmp_path / "m.safetensors"), "--data", str(data), "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["ap50"], told["ap"], told["n"], told["part"]) == (1.0, 1.0, 8, held)
    (beside / "0.xml").rename(beside / "test_0.xml")
    (beside / "0.png").rename(beside / "test_0.png")
    assert main(["evaluate", str(tmp_path / "m.safetensors"), "--data", str(beside), "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["n"] == 1
    assert "only the 1 files of the part 'test' are measured, not the 7 without a part" in said.err


def test_masks_of_a_coco_file_are_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(small_single_stage(), input_shape=(3, None, None), classes=Rectangles.classes)
    model.save(tmp_path / "m.safetensors")
    image, truth = Rectangles().example(0)
    masks = torch.zeros(len(truth), *image.shape[1:], dtype=torch.bool)
    for one, (x0, y0, x1, y1) in zip(masks, truth.boxes.int().tolist(), strict=True):
        one[y0:y1, x0:x1] = True
    detections = Detections(truth.boxes, torch.linspace(0.9, 0.6, len(truth)), truth.labels, masks)
    results = CocoResults(Rectangles.classes)
    results.add("0.png", (48, 64), detections)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/annotations.json").write_text(json.dumps(results.to_json()))
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / "data/0.png")
    half = masks.clone()
    half[0, :, : int(truth.boxes[0, 0]) + 3] = False  # a mask with an IoU above 0.5, but not 1
    monkeypatch.setattr(Model, "predict", lambda self, x: [replace(detections, masks=half)])
    assert main(["evaluate", str(tmp_path / "m.safetensors"), "--data", str(tmp_path / "data"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["box_ap"], told["box_ap50"], told["mask_ap50"], told["n"]) == (1.0, 1.0, 1.0, 1)
    assert told["mask_ap"] < 1.0
    assert math.isnan(evaluate(model, str(tmp_path / "data")).results.figures["ap_large"])
    stated = json.loads((tmp_path / "data/annotations.json").read_text())
    for annotation in stated["annotations"]:
        annotation["area"] = 100.0**2
    (tmp_path / "data/annotations.json").write_text(json.dumps(stated))
    assert evaluate(model, str(tmp_path / "data")).results.figures["ap_large"] == 1.0


def test_other_models_and_other_classes_are_refused(trained: Model, folder: Path) -> None:
    assert is_detector(trained)
    from pellucid.combine import Sequential
    from pellucid.layers import Dense, Flatten

    with pytest.raises(PellucidError, match="finds no objects"):
        ObjectFinder(Model(Sequential(flat=Flatten(), out=Dense(2)), input_shape=(1, 4, 4)))
    file = folder / "Annotations/0.xml"
    before = file.read_text()
    file.write_text(before.replace("<name>red<", "<name>blue<").replace("<name>green<", "<name>blue<"))
    try:
        with pytest.raises(PellucidError, match="blue"):
            evaluate(trained, str(folder))
    finally:
        file.write_text(before)


def test_the_objects_of_the_nearest_image_are_stretched_with_it(folder: Path) -> None:
    small, large = DetectionFolder(folder, size=64), DetectionFolder(folder)
    assert small.example(0)[0].shape != large.example(0)[0].shape
    result = nearest_objects(small, large)
    assert result.n == len(large)
    assert result.figures["ap"] == pytest.approx(1)
