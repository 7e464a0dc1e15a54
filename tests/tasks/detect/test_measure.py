"""The evaluation of detectors on annotated folders, from Python and by the command."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks.baselines import evaluate_nearest_objects
from pellucid.base.errors import PellucidError
from pellucid.cli.main import main
from pellucid.data import DetectionFolder, load
from pellucid.data.annotations.convert import convert
from pellucid.model import Model
from pellucid.ops.image_objects import Detections
from pellucid.tasks.detect.finder import ObjectFinder, is_detector
from pellucid.tasks.detect.measure import evaluate
from pellucid.tasks.outputs import CocoResults
from tests.detectors.drawn import Rectangles, small_single_stage

SCALE = 2  # sides of the images in files over those of the model's input


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pellucid.tasks.detect.results.RESAMPLES", 20)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    """Return a model whose `predict` returns the true objects of images resized to its training size."""
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
        height, width = (SCALE * side for side in image.shape[1:])
        enlarged = image.repeat_interleave(SCALE, 1).repeat_interleave(SCALE, 2)
        Image.fromarray(enlarged.permute(1, 2, 0).numpy()).save(path / f"JPEGImages/{k}.png")
        objects = "".join(
            f"<object><name>{Rectangles.classes[label]}</name><bndbox><xmin>{SCALE * x0:g}</xmin>"
            f"<ymin>{SCALE * y0:g}</ymin><xmax>{SCALE * x1:g}</xmax><ymax>{SCALE * y1:g}</ymax></bndbox></object>"
            for (x0, y0, x1, y1), label in zip(truth.boxes.tolist(), truth.labels.tolist(), strict=True)
        )
        size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        text = f"<annotation><filename>{k}.png</filename>{size}{objects}</annotation>"
        (path / f"Annotations/{k}.xml").write_text(text)
    return path


def test_boxes_are_compared_in_pixels_of_the_files(model: Model, folder: Path) -> None:
    evaluation = evaluate(model, str(folder))
    for k, (objects, detections) in enumerate(zip(evaluation.objects, evaluation.detections, strict=True)):
        boxes = (SCALE * Rectangles().example(k)[1].boxes).tolist()
        assert objects.boxes.tolist() == boxes
        assert detections.boxes.tolist() == boxes
    results = evaluation.results.to_json()
    assert (results["n"], results["objects"], results["ap"], results["ap50"]) == (8, 18, 1.0, 1.0)


def test_images_of_the_training_folder_are_evaluated_only_if_training_held_them_out(model: Model, folder: Path) -> None:
    held_out_names = load(str(folder)).test.names
    model.preprocess["data"] = str(folder)
    assert evaluate(model).source.names == held_out_names
    assert 0 < len(held_out_names) < 8


def test_command_prints_metrics_and_writes_the_page(
    model: Model, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, page_file = tmp_path / "model.safetensors", tmp_path / "page.html"
    model.save(file)
    assert main(["evaluate", str(file), "--data", str(folder), "--json", "--html", str(page_file)]) == 0
    results = json.loads(capsys.readouterr().out)
    assert {"ap", "ap50", "n", "ap_interval", "errors", "model", "data"} <= set(results)
    assert (results["ap"], results["ap50"], results["n"]) == (1.0, 1.0, 8)
    assert "Hits, false alarms and misses" in page_file.read_text(encoding="utf-8")
    assert main(["evaluate", str(file), "--data", str(folder)]) == 0
    out = capsys.readouterr().out
    assert f"AP {100 * results['ap']:.2f} %" in out
    assert "gain in AP50" in out


def test_each_layout_of_annotated_folders_is_evaluated(
    model: Model, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The layouts are boxes next to their images, a list of test images, a test part, and one COCO file."""
    model.save(tmp_path / "m.safetensors")
    beside, with_lists, part, coco = (tmp_path / name for name in ("beside", "listed", "part", "coco"))
    beside.mkdir()
    for path in (*folder.glob("JPEGImages/*"), *folder.glob("Annotations/*")):
        shutil.copy(path, beside)
    shutil.copytree(folder, with_lists)
    (with_lists / "ImageSets/Main").mkdir(parents=True)
    (with_lists / "ImageSets/Main/test.txt").write_text("".join(f"{k}\n" for k in range(8)))
    shutil.copytree(beside, part / "test")
    convert(folder, coco, "coco")
    for data, expected_part in ((beside, ""), (with_lists, "test"), (part, "test"), (coco, "")):
        assert main(["evaluate", str(tmp_path / "m.safetensors"), "--data", str(data), "--json"]) == 0
        results = json.loads(capsys.readouterr().out)
        assert (results["ap50"], results["ap"], results["n"], results["part"]) == (1.0, 1.0, 8, expected_part)
    (beside / "test_1").mkdir()
    for name in ("0.xml", "0.png"):
        (beside / name).rename(beside / "test_1" / name)
    assert main(["evaluate", str(tmp_path / "m.safetensors"), "--data", str(beside), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["n"] == 1
    assert "7 files without a part, such as 1.xml for training and 'test' for testing\n" in captured.err


def test_masks_of_a_coco_file_are_evaluated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model(small_single_stage(), input_shape=(3, None, None), classes=Rectangles.classes)
    model.save(tmp_path / "m.safetensors")
    image, truth = Rectangles().example(0)
    masks = torch.zeros(len(truth), *image.shape[1:], dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, truth.boxes.int().tolist(), strict=True):
        mask[y0:y1, x0:x1] = True
    detections = Detections(truth.boxes, torch.linspace(0.9, 0.6, len(truth)), truth.labels, masks)
    coco_results = CocoResults(Rectangles.classes)
    coco_results.add("0.png", (48, 64), detections)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/annotations.json").write_text(json.dumps(coco_results.to_json()))
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / "data/0.png")
    cut_masks = masks.clone()
    cut_masks[0, :, : int(truth.boxes[0, 0]) + 3] = False  # a mask with an IoU above 0.5, but not 1
    monkeypatch.setattr(Model, "predict", lambda self, x: [replace(detections, masks=cut_masks)])
    assert main(["evaluate", str(tmp_path / "m.safetensors"), "--data", str(tmp_path / "data"), "--json"]) == 0
    output = json.loads(capsys.readouterr().out)
    assert (output["box_ap"], output["box_ap50"], output["mask_ap50"], output["n"]) == (1.0, 1.0, 1.0, 1)
    assert output["mask_ap"] < 1.0
    assert math.isnan(evaluate(model, str(tmp_path / "data")).results.figures["ap_large"])
    annotations = json.loads((tmp_path / "data/annotations.json").read_text())
    for annotation in annotations["annotations"]:
        annotation["area"] = 100.0**2
    (tmp_path / "data/annotations.json").write_text(json.dumps(annotations))
    assert evaluate(model, str(tmp_path / "data")).results.figures["ap_large"] == 1.0


def test_other_models_and_other_classes_are_refused(model: Model, folder: Path) -> None:
    assert is_detector(model)
    from pellucid.combine import Sequential
    from pellucid.layers import Dense, Flatten

    with pytest.raises(PellucidError, match="finds no objects"):
        ObjectFinder(Model(Sequential(flat=Flatten(), out=Dense(2)), input_shape=(1, 4, 4)))
    file = folder / "Annotations/0.xml"
    before = file.read_text()
    file.write_text(before.replace("<name>red<", "<name>blue<").replace("<name>green<", "<name>blue<"))
    try:
        with pytest.raises(PellucidError, match="blue"):
            evaluate(model, str(folder))
    finally:
        file.write_text(before)


def test_nearest_objects_scales_boxes_to_the_image(folder: Path) -> None:
    small, large = DetectionFolder(folder, size=64), DetectionFolder(folder)
    assert small.example(0)[0].shape != large.example(0)[0].shape
    result = evaluate_nearest_objects(small, large)
    assert result.n == len(large)
    assert result.figures["ap"] == pytest.approx(1)
