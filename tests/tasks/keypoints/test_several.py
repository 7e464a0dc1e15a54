"""Key-points of several objects in a picture: crops around boxes, their way back, average precision, commands."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.cli.main import main
from pellucid.data import DetectionFolder
from pellucid.data.detection import load_objects
from pellucid.data.keypoints import KeypointSource, square_around
from pellucid.data.samples.cells import blood_smear
from pellucid.losses import HeatMaps
from pellucid.metrics.overlaps import PERSON_POINTS, PERSON_SIGMAS, sigmas_of
from pellucid.model import Model
from pellucid.optim import Adam
from pellucid.predictor import Picture
from pellucid.tasks.detect.finder import ObjectFinder
from pellucid.tasks.detect.thresholds import score_of
from pellucid.tasks.keypoints import Keypoints
from pellucid.tasks.keypoints.boxes import open_boxes
from pellucid.tasks.keypoints.finder import KeypointFinder
from pellucid.tasks.keypoints.measure import average_precision, evaluate
from pellucid.tasks.keypoints.own import input_side, recipe_for
from tests.coco_figures import coco_figures
from tests.tasks.keypoints.drawn import POINT_NAMES, write, write_several
from tests.tasks.keypoints.test_keypoints import NME_METRIC, network

SIDE = 24  # of the network's input


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("several")
    write_several(root, "train", [3, 1, 4, 2, 0, 3, 3, 2, 4, 3, 2, 4], 1)
    write_several(root, "val", [2, 3, 0, 1], 50)
    return root


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    splits = load_objects(folder, SIDE)
    train, val = KeypointSource(splits.train), KeypointSource(splits.test)
    model = Model(
        network(), HeatMaps(stride=1), Adam(lr=0.02), [NME_METRIC], input_shape=(3, SIDE, SIDE),
        preprocess={"data": str(folder)} | train.preprocess,
    )  # fmt: skip
    history = model.fit(train, epochs=10, batch_size=8, validation=val, verbose=False)
    assert history["val_nme"][-1] < 0.1 < history["val_nme"][0]
    return model


def entries_of(folder: Path, part: str) -> list[tuple[str, dict[str, Any]]]:
    """Return (file name, annotation) of each object, as the json module reads them."""
    content = json.loads((folder / f"{part}.json").read_text())
    names = {image["id"]: image["file_name"] for image in content["images"]}
    return [(names[entry["image_id"]], entry) for entry in content["annotations"]]


def cropped_by_pillow(picture: Image.Image, box: list[float], side: int) -> tuple[np.ndarray, float, float, float]:
    """Return the crop around a box (x, y, width, height), its left and top in the picture, and its scale."""
    x, y, width, height = box
    length = math.ceil(1.25 * max(width, height))
    left, top = round(x + width / 2 - length / 2), round(y + height / 2 - length / 2)
    wide = np.pad(np.array(picture), ((length, length), (length, length), (0, 0)), mode="edge")
    crop = Image.fromarray(wide).crop((left + length, top + length, left + 2 * length, top + 2 * length))
    resized = crop.resize((side, side), Image.Resampling.BILINEAR)
    return np.array(resized), left, top, side / length


def test_each_object_is_cropped_as_pillow_crops_it(folder: Path) -> None:
    source = KeypointSource(load_objects(folder, SIDE).train)
    entries = entries_of(folder, "train")
    assert len(source) == len(entries) == 31
    assert source.preprocess == {"keypoints": {"of": "triangle", "names": [*POINT_NAMES], "crops": True}}
    for k, (name, entry) in enumerate(entries):
        with Image.open(folder / "train" / name) as picture:
            pixels, left, top, scale = cropped_by_pillow(picture, entry["bbox"], SIDE)
        image, points = source.example(k)
        assert np.array_equal(image.permute(1, 2, 0), pixels)
        true = np.array(entry["keypoints"]).reshape(3, 3)
        np.testing.assert_allclose(points[:, :2], (true[:, :2] - (left, top)) * scale, atol=1e-3)
        np.testing.assert_allclose(source.frame(k).to_picture(points), true, atol=1e-3)


@pytest.mark.parametrize("box", [(0, 0, 5, 90), (90, 60, 96, 72), (0, 0, 96, 72), (10.4, 11.6, 10.5, 11.7)])
def test_crops_at_the_border_repeat_its_pixels(box: tuple[float, ...]) -> None:
    x0, y0, x1, y1 = box
    picture = np.random.default_rng(3).integers(0, 255, (72, 96, 3), dtype=np.uint8)
    window = square_around((x0, y0, x1, y1))
    expected, left, top, scale = cropped_by_pillow(Image.fromarray(picture), [x0, y0, x1 - x0, y1 - y0], window.side)
    assert (window.left, window.top, 1.0) == (left, top, scale)
    crop = window.cut_out(torch.from_numpy(picture).permute(2, 0, 1))
    assert np.array_equal(crop.permute(1, 2, 0), expected)


def test_points_of_whole_images_map_back_to_their_files(tmp_path: Path) -> None:
    write(tmp_path, "val", 3, 0, (60, 40), 2.0)
    for size in (None, 24, (30, 50)):
        source = KeypointSource(DetectionFolder(tmp_path, "val", size))
        for k in range(3):
            true = np.array(source.source.records[k].instances[0].points).reshape(3, 3)
            np.testing.assert_allclose(source.frame(k).to_picture(source.points(k)), true, atol=1e-3)


def test_the_training_part_decides_on_crops_for_all_parts(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    write_several(tmp_path, "val", [1, 1], 80)
    assert KeypointSource(load_objects(tmp_path, SIDE).test).is_cropped
    assert not KeypointSource(DetectionFolder(tmp_path, "val", SIDE)).is_cropped
    write_several(tmp_path, "train", [1, 1], 80)
    write_several(tmp_path, "val", [1, 2], 80)
    with pytest.raises(PellucidError, match=r"b_01.png has 2 objects, but the images to train on have one each; crop"):
        KeypointSource(load_objects(tmp_path, SIDE).test)


def test_unlabelled_objects_and_crowds_are_no_examples(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    content = json.loads((tmp_path / "val.json").read_text())
    content["annotations"][0]["iscrowd"] = 1
    content["annotations"][2]["keypoints"] = [0] * 9
    (tmp_path / "val.json").write_text(json.dumps(content))
    assert KeypointSource(DetectionFolder(tmp_path, "val")).objects == ((0, 1), (1, 1), (1, 2), (3, 0))
    for entry in content["annotations"]:
        entry["keypoints"] = [0] * 9
    (tmp_path / "val.json").write_text(json.dumps(content))
    with pytest.raises(PellucidError, match="no object has labelled key-points; label some"):
        KeypointSource(DetectionFolder(tmp_path, "val"), crops=True)


@pytest.mark.parametrize("names", [POINT_NAMES, PERSON_POINTS], ids=["triangle", "person"])
@pytest.mark.parametrize("seed", range(4))
def test_average_precision_is_that_of_pycocotools(names: tuple[str, ...], seed: int, tmp_path: Path) -> None:
    """Objects without labelled points, crowds, unlabelled points, images without objects, exact and far points."""
    pytest.importorskip("pycocotools.cocoeval")
    rng = np.random.default_rng(seed)
    (tmp_path / "all").mkdir()
    images, annotations = [], []
    for number in range(1, 9):
        Image.new("RGB", (200, 150)).save(tmp_path / f"all/{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": 150, "width": 200})
        for _ in range(rng.integers(0, 5)):
            x, y = rng.uniform((0, 0), (120, 80))
            width, height = rng.uniform(10, 70, 2)
            visibility = rng.choice([0, 1, 2], len(names)) * (rng.random() < 0.8)
            points = [
                [*rng.uniform((x, y), (x + width, y + height)), v] if v else [0, 0, 0] for v in visibility.tolist()
            ]
            annotations.append({
                "id": len(annotations) + 1, "image_id": number, "category_id": 1, "iscrowd": int(rng.random() < 0.15),
                "bbox": [x, y, width, height], "area": float(width * height * rng.uniform(0.3, 1)),
                "keypoints": [float(value) for point in points for value in point],
                "num_keypoints": int((visibility > 0).sum()),
            })  # fmt: skip
    kind = {"id": 1, "name": "thing", "keypoints": [*names], "skeleton": []}
    truth = {"images": images, "annotations": annotations, "categories": [kind]}
    (tmp_path / "all.json").write_text(json.dumps(truth))
    source = KeypointSource(DetectionFolder(tmp_path, size=64), crops=True)
    predictions, results = [], []
    for image, index in source.objects:
        entry = [one for one in annotations if one["image_id"] == image + 1][index]
        error = rng.choice([0, 0.5, 3, 12])  # pixels of the image
        points = np.array(entry["keypoints"]).reshape(-1, 3)[:, :2] + rng.normal(0, 1, (len(names), 2)) * error
        scores = rng.choice([0.25, 0.5, 0.75], len(names))
        crop = math.ceil(1.25 * max(entry["bbox"][2:]))
        low = np.array([round(entry["bbox"][j] + entry["bbox"][j + 2] / 2 - crop / 2) for j in (0, 1)])
        predictions.append(np.concatenate([(points - low) * 64 / crop, scores[:, None]], 1))
        written = np.concatenate([points, scores[:, None]], 1).flatten().tolist()
        results.append({"image_id": image + 1, "category_id": 1, "keypoints": written, "score": float(scores.mean())})
    found = average_precision(source, torch.from_numpy(np.array(predictions)).float())
    sigmas = [*PERSON_SIGMAS] if len(names) == 17 else [0.05] * 3
    assert [*found.values()] == pytest.approx(coco_figures(truth, results, "keypoints", sigmas), abs=1e-9)
    assert 0 < found["keypoint_ap"] < 1


def test_sigmas_of_persons_are_those_of_coco() -> None:
    pytest.importorskip("pycocotools.cocoeval")
    from pycocotools.cocoeval import Params

    assert sigmas_of(PERSON_POINTS, "object") == pytest.approx(Params("keypoints").kpt_oks_sigmas.tolist())
    assert sigmas_of([f"p{k}" for k in range(17)], "person") == PERSON_SIGMAS
    assert sigmas_of([f"p{k}" for k in range(17)], "dog") == (0.05,) * 17


def test_evaluation_equals_a_loop_over_crops(model: Model, folder: Path) -> None:
    results = evaluate(model)
    errors = []
    for name, entry in entries_of(folder, "val"):
        with Image.open(folder / "val" / name) as picture:
            pixels, left, top, scale = cropped_by_pillow(picture, entry["bbox"], SIDE)
        predicted = model.predict(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0, :, :2].numpy()
        true = np.array(entry["keypoints"]).reshape(3, 3)[:, :2]
        distances = np.linalg.norm(predicted / scale + (left, top) - true, axis=1)
        errors.append(distances.mean() / np.linalg.norm(true[0] - true[1]))
    assert (results["n"], results["nme"]) == (6, pytest.approx(np.mean(errors), rel=1e-4))
    test = KeypointSource(load_objects(folder, SIDE).test)
    assert Keypoints().test_figures(model, test) == pytest.approx(
        {name: results[name] for name in ("keypoint_ap", "keypoint_ap50")}, abs=1e-6
    )
    assert results["keypoint_ap50"] > 0.5


def test_whole_image_model_is_evaluated_on_crops_of_images_with_several_objects(model: Model, folder: Path) -> None:
    other = Model(model.net, model.loss, Adam(), [NME_METRIC], input_shape=(3, SIDE, SIDE))
    other.preprocess = {"data": str(folder)}
    assert evaluate(other)["n"] == 6


def test_command_finds_points_in_annotated_boxes(
    model: Model, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model.save(tmp_path / "m.safetensors")
    arguments = ["keypoints", str(tmp_path / "m.safetensors"), str(folder / "val"), "--json"]
    out = tmp_path / "out"
    assert main([*arguments, "--boxes", str(folder), "--out", str(out)]) == 2  # train and val have the same names
    assert "has several images named 'b_00.png'; give the annotations of this picture" in capsys.readouterr().err
    assert main([*arguments, "--boxes", str(folder / "val.json"), "--out", str(out)]) == 0
    output = json.loads(capsys.readouterr().out)
    entries = entries_of(folder, "val")
    found = [(row["image"], item) for row in output["pictures"] for item in row["objects"]]
    assert [name for name, _ in found] == [name for name, _ in entries]
    source = KeypointSource(DetectionFolder(folder, "val"), crops=True)
    finder = KeypointFinder(model)
    for k, ((_, item), (_, entry)) in enumerate(zip(found, entries, strict=True)):
        x, y, width, height = entry["bbox"]
        assert item["box"] == [x, y, x + width, y + height]
        (points,) = finder([source.example(k)[0]])
        np.testing.assert_allclose(item["keypoints"], source.frame(k).to_picture(points), atol=1e-3)
        assert item["score"] == pytest.approx(float(points[:, 2].mean()), rel=1e-5)
        true = np.array(entry["keypoints"]).reshape(3, 3)
        assert np.linalg.norm(np.array(item["keypoints"])[:, :2] - true[:, :2], axis=1).max() < 6
    written = json.loads((out / "keypoints.json").read_text())["annotations"]
    results = [
        {key: entry[key] for key in ("image_id", "category_id", "keypoints", "score", "bbox")} for entry in written
    ]
    truth = json.loads((folder / "val.json").read_text())
    figures = coco_figures(truth, results, "keypoints", [0.05] * 3)
    assert figures == pytest.approx([evaluate(model)[name] for name in ("keypoint_ap", "keypoint_ap50")], abs=1e-3)
    assert main([*arguments[:-1], "--out", str(tmp_path / "table.csv"), "--boxes", str(folder / "val.json")]) == 0
    lines = (tmp_path / "table.csv").read_text().splitlines()
    assert lines[0].startswith("image,confidence,red_x,red_y,red_score,")
    assert len(lines) == 1 + 6 + 1  # one picture has no object


def test_boxes_of_other_classes_pictures_and_models_are_refused(
    model: Model, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model.save(tmp_path / "m.safetensors")
    arguments = ["keypoints", str(tmp_path / "m.safetensors"), str(folder / "val/b_00.png"), "--boxes"]
    assert main([*arguments, str(tmp_path / "m.safetensors")]) == 2
    assert "finds no boxes; give a detector, or annotations with boxes" in capsys.readouterr().err
    content = json.loads((folder / "val.json").read_text())
    content["categories"] = [{"id": 1, "name": "square"}, {"id": 2, "name": "circle"}]
    for entry in content["annotations"]:
        del entry["keypoints"]
    shutil.copytree(folder / "val", tmp_path / "set/val")
    (tmp_path / "set/val.json").write_text(json.dumps(content))
    assert main([*arguments, str(tmp_path / "set")]) == 2
    assert "has boxes of 'square', 'circle', but the model is one of 'triangle'; give" in capsys.readouterr().err
    content["images"] = content["images"][1:]
    content["annotations"] = []
    content["categories"] = content["categories"][:1]
    (tmp_path / "set/val.json").write_text(json.dumps(content))
    assert main([*arguments, str(tmp_path / "set")]) == 2
    assert "has no image named 'b_00.png'; give the annotations of this picture" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("picture", "side", "expected"),
    [
        ((72, 96), 30, 96),
        ((480, 640), 128, 256),
        ((480, 640), 400, 224),
        ((112, 112), 112, 128),
        ((640, 640), 640, 128),
    ],
)
def test_input_size_of_whole_images_follows_their_objects(
    picture: tuple[int, int], side: int, expected: int, tmp_path: Path
) -> None:
    """The object has 128 pixels, or as many as in the file: 640 / 400 * 128 = 204.8, rounded up to 224."""
    write(tmp_path, "all", 1, 0, picture)
    content = json.loads((tmp_path / "all.json").read_text())
    content["annotations"][0]["bbox"] = [0, 0, min(side, picture[1]), min(side, picture[0]) / 2]
    (tmp_path / "all.json").write_text(json.dumps(content))
    assert input_side(KeypointSource(DetectionFolder(tmp_path))) == (expected, side)


def test_recipe_states_crops_and_the_input_size(folder: Path) -> None:
    name, settings, _ = recipe_for(str(folder))
    objects = [max(entry["bbox"][2:]) for _, entry in entries_of(folder, "train")]
    assert settings["data.size"] == 64
    assert settings["recipe.about"] == (
        f"keypoints: the data of {folder.name}, from the recipe {name}; crops around boxes with objects of "
        f"{np.median(objects):.0f} pixels (median)"
    )


@pytest.mark.slow
def test_boxes_of_a_detector_are_those_of_its_class() -> None:
    picture = torch.from_numpy(np.array(blood_smear(3)[0])).permute(2, 0, 1)
    detector = Model.load("bccd")
    found = ObjectFinder(detector).find([picture], score_of(detector))[0]
    is_white = found.labels == list(detector.classes or ()).index("WBC")
    boxes = open_boxes("bccd", "WBC", "cpu")(Picture("a", "a.png", lambda: picture), picture)
    assert 0 < len(boxes.boxes) < len(found)
    assert torch.equal(boxes.boxes, found.boxes[is_white])
    assert torch.equal(boxes.scores, found.scores[is_white])
    assert len(open_boxes("bccd", "object", "cpu")(Picture("a", "a.png", lambda: picture), picture).boxes) == len(found)
    with pytest.raises(
        PellucidError, match=r"bccd has boxes of .*, but the model is one of 'mouse'; give boxes of this"
    ):
        open_boxes("bccd", "mouse", "cpu")
