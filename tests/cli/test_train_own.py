"""`pellucid train TASK DATA` fine-tunes a shipped model on a user's data, in every format and without a recipe."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from pellucid import shipped_files
from pellucid.model import Model
from pellucid.recipe.build import build_model
from pellucid.recipe.job import load_data
from pellucid.recipe.own import epochs_for, recipe_for
from pellucid.recipe.recipe import load_recipe
from pellucid.tasks.classify import own
from tests.cli.conftest import Cli
from tests.recipe.pictures import write_colour_folder

SIZE = (72, 96)  # (H, W) in pixels
COLOURS = {"ball": (210, 40, 40), "box": (40, 60, 210)}


def draw_objects(seed: int) -> tuple[Image.Image, list[tuple[str, tuple[int, int, int, int]]]]:
    """Return a picture with a ball and a box, and the name and the bounding box of each."""
    rng = np.random.default_rng(seed)
    image = Image.fromarray(rng.integers(90, 130, (*SIZE, 3)).astype(np.uint8))
    draw, objects = ImageDraw.Draw(image), []
    for left, (name, colour) in zip((4, 52), COLOURS.items(), strict=True):
        x, y = left + int(rng.integers(0, 10)), int(rng.integers(4, 36))
        box = (x, y, x + 24, y + 24)
        (draw.ellipse if name == "ball" else draw.rectangle)(box, fill=colour)
        objects.append((name, box))
    return image, objects


def png_bytes(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def write_labelme(root: Path, count: int = 8) -> Path:
    for k in range(count):
        image, objects = draw_objects(k)
        shapes = [{"label": name, "points": [box[:2], box[2:]], "shape_type": "rectangle"} for name, box in objects]
        (root / f"{k}.png").write_bytes(png_bytes(image))
        (root / f"{k}.json").write_text(json.dumps({
            "version": "5.0", "flags": {}, "shapes": shapes, "imagePath": f"{k}.png",
            "imageData": base64.b64encode(png_bytes(image)).decode(), "imageHeight": SIZE[0], "imageWidth": SIZE[1],
        }))  # fmt: skip
    return root


def write_yolo(root: Path, count: int = 8) -> Path:
    (root / "images").mkdir()
    (root / "labels").mkdir()
    (root / "classes.txt").write_text("ball\nbox\n")
    for k in range(count):
        image, objects = draw_objects(k)
        image.save(root / "images" / f"{k}.png")
        lines = [
            f"{[*COLOURS].index(name)} {(x0 + x1) / 2 / SIZE[1]} {(y0 + y1) / 2 / SIZE[0]} "
            f"{(x1 - x0) / SIZE[1]} {(y1 - y0) / SIZE[0]}"
            for name, (x0, y0, x1, y1) in objects
        ]
        (root / "labels" / f"{k}.txt").write_text("\n".join(lines) + "\n")
    return root


def coco(root: Path, points: bool, count: int = 8) -> Path:
    """Write a COCO data set with polygons, or with three key-points of the ball of each picture (`points`)."""
    images: list[Any] = []
    annotations: list[Any] = []
    names = ["left_edge", "right_edge", "middle"]
    for k in range(count):
        image, objects = draw_objects(k)
        image.save(root / f"{k}.png")
        images.append({"id": k, "file_name": f"{k}.png", "height": SIZE[0], "width": SIZE[1]})
        for name, (x0, y0, x1, y1) in objects[:1] if points else objects:
            middle = (y0 + y1) / 2
            shape: dict[str, Any] = {"segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]]}
            if points:
                shape = {"keypoints": [x0, middle, 2, x1, middle, 2, (x0 + x1) / 2, middle, 2], "num_keypoints": 3}
            annotations.append({
                "id": len(annotations), "image_id": k, "category_id": [*COLOURS].index(name), "iscrowd": 0,
                "bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), **shape,
            })  # fmt: skip
    categories: list[Any] = [{"id": k, "name": name} for k, name in enumerate(COLOURS)]
    if points:
        categories = [{"id": 0, "name": "ball", "keypoints": names, "skeleton": []}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations.json").write_text(json.dumps(document))
    return root


def write_masks(root: Path, count: int = 8, void: int | None = None, names: str = "ground\nball\nbox\n") -> Path:
    """Write index masks for pictures of two sizes; the first row of pixels has the value `void` if it is given."""
    for part in ("train", "trainannot"):
        (root / part).mkdir()
    if names:
        (root / "classes.txt").write_text(names)
    for k in range(count):
        image, objects = draw_objects(k)
        mask = Image.new("L", image.size)
        draw = ImageDraw.Draw(mask)
        for value, (_, box) in enumerate(objects, 1):
            draw.rectangle(box, fill=value)
        if void is not None:
            draw.line((0, 0, SIZE[1], 0), fill=void)
        if k % 2:
            image, mask = image.crop((0, 0, 90, 72)), mask.crop((0, 0, 90, 72))
        image.save(root / "train" / f"{k}.png")
        mask.save(root / "trainannot" / f"{k}.png")
    return root


def train_for_one_epoch(cli: Cli, verb: str, data: Path, *settings: str) -> tuple[dict[str, Any], Path]:
    """Train for one epoch; return the tables of the recipe and the run folder."""
    result = cli("train", verb, str(data), "train.epochs=1", "recipe.threads=1", "--json", *settings)
    assert result.code == 0, result.err
    run = Path(result.json["run"])
    assert result.json["n"] > 0
    return load_recipe(run).tables(), run


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("write_data", [write_labelme, write_yolo])
def test_training_on_a_users_boxes(write_data: Any, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "things").mkdir()
    data = write_data(tmp_path / "things")
    tables, run = train_for_one_epoch(cli, "detect", data, "data.size=96")
    assert tables["recipe"]["name"] == "things-detect"
    assert (tables["objective"]["model"], tables["objective"]["classes"]) == ("single_stage", 2)
    assert (tables["start"]["weights"], tables["augment"]["vertical_flip"]) == ("bccd", False)
    assert Model.load(run / "weights" / "best.safetensors").classes == ("ball", "box")


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_a_detector_starts_from_the_shipped_weights_except_those_of_its_classes(tmp_path: Path) -> None:
    settings = {"data.name": str(write_labelme(tmp_path)), "objective.classes": 2, "data.size": 96}
    recipe = load_recipe("bccd-single", {**settings, "start.weights": "bccd"})
    model, shipped = build_model(recipe, load_data(recipe).train), Model.load(shipped_files.pretrained_file("bccd"))
    other_shapes = {path for path, tensor in model.weights.items() if tensor.shape != shipped.weights[path].shape}
    assert other_shapes == {"head.layer.out.weight", "head.layer.out.bias"}
    assert all(torch.equal(model.weights[path], shipped.weights[path]) for path in model.weights.keys() - other_shapes)
    assert model.preprocess["mean"] == shipped.preprocess["mean"]


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_training_on_a_users_outlines_gives_a_detector_of_masks(cli: Cli, tmp_path: Path) -> None:
    tables, run = train_for_one_epoch(cli, "detect", coco(tmp_path, points=False), "data.size=96")
    assert (tables["objective"]["model"], tables["start"]["weights"]) == ("mask_rcnn", "pennfudan")
    assert "mask_ap" in json.loads((run / "results.json").read_text())


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize(
    ("void", "names", "ignored_value", "classes"),
    [
        (None, "ground\nball\nbox\n", 255, ("ground", "ball", "box")),
        (3, "ground\nball\nbox\n", 3, ("ground", "ball", "box")),
        (255, "", 255, None),
    ],
)
def test_training_on_a_users_masks_of_two_sizes(
    void: int | None, names: str, ignored_value: int, classes: Any, cli: Cli, tmp_path: Path
) -> None:
    tables, run = train_for_one_epoch(cli, "segment", write_masks(tmp_path, void=void, names=names))
    assert (tables["network"]["classes"], tables["loss"]["ignore"]) == (3, ignored_value)
    assert len(tables["loss"]["class_weights"]) == 3
    assert tables["start"]["weights"] == "camvid"
    assert Model.load(run / "weights" / "best.safetensors").classes == classes
    result = cli("segment", str(run), str(tmp_path / "train" / "0.png"), "--out", "found", "--json")
    assert result.code == 0, result.err
    with Image.open("found/0.png") as mask:
        assert mask.size == (SIZE[1], SIZE[0])


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_training_and_evaluation_name_the_size_at_which_masks_are_measured(cli: Cli, tmp_path: Path) -> None:
    data = str(write_masks(tmp_path))
    trained = cli("train", "segment", data, "train.epochs=1", "data.size=48", "augment.crop_size=[36,48]")
    assert "on 2 test examples with a longest side of 48 pixels\n" in trained.out
    run = next(Path("runs").iterdir())
    assert f"on 2 images of {data}, in the size of the files\n" in cli("evaluate", str(run), "--data", data).out


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_training_on_a_users_key_points(cli: Cli, tmp_path: Path) -> None:
    tables, _ = train_for_one_epoch(cli, "keypoints", coco(tmp_path, points=True), "data.size=64")
    assert (tables["network"]["points"], tables["augment"]["flip"]) == (3, True)  # as left_edge and right_edge exist
    assert tables["start"]["weights"] == "faces"


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_training_on_a_users_class_folders(cli: Cli, tmp_path: Path) -> None:
    tables, run = train_for_one_epoch(
        cli, "classify", write_colour_folder(tmp_path), "data.size=32", "train.precision=float32"
    )
    assert (tables["network"]["classes"], tables["start"]["weights"]) == (3, "cifar")
    assert Model.load(run / "weights" / "best.safetensors").classes == ("blue", "green", "red")


@pytest.mark.parametrize(
    ("side", "settings", "expected"),
    [
        (48, {}, ("mobilenet_v2", "backbone", True, 128)),
        (47, {}, ("airbench96", "cifar", False, 64)),
        (48, {"train.minutes": 0.1}, ("mobilenet_v2", "backbone", True, 96)),
        (48, {"data.size": 160}, ("mobilenet_v2", "backbone", True, 160)),
        (48, {"data.size": 32}, ("airbench96", "cifar", False, 32)),
        (48, {"network.width": 8}, ("airbench96", "cifar", False, 64)),
        (48, {"start.weights": ""}, ("airbench96", "", False, 64)),
    ],
)
def test_the_start_and_the_size_are_planned_from_the_pictures(
    side: int, settings: dict[str, Any], expected: Any, tmp_path: Path
) -> None:
    recipe, _ = recipe_for("classify", str(write_colour_folder(tmp_path, size=side)), settings)
    planned = (recipe.network.name, recipe.start.weights, recipe.start.linear, recipe.data.size)
    assert planned == expected
    is_of_photos = expected[2]
    assert (f"60 photos of about {side} pixels" in recipe.recipe.about) == is_of_photos
    assert recipe.recipe.about.endswith(f"features at {expected[3]})") == is_of_photos


@pytest.mark.parametrize(
    ("settings", "whitened", "has_rates"),
    [
        ({"start.weights": ""}, "features.stem.conv", False),
        ({"start.weights": "", "data.mode": "L"}, "", False),  # the filters are too many for one channel
        ({"start.weights": "", "network.model": "airbench96"}, "", True),  # the whole recipe is the user's
        ({"start.weights": "cifar"}, "", True),
    ],
)
def test_without_start_weights_a_classifier_whitens_and_all_layers_learn_at_one_rate(
    settings: dict[str, Any], whitened: str, has_rates: bool, tmp_path: Path
) -> None:
    recipe, _ = recipe_for("classify", str(write_colour_folder(tmp_path, size=48)), settings)
    assert recipe.start.whiten == whitened
    assert bool(recipe.train.rates) == has_rates


def test_rare_classes_are_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_colour_folder(tmp_path, size=48)
    recipe_for("classify", str(data), {})
    assert "fewer than" not in capsys.readouterr().err
    for k in range(2):
        (data / f"rare {k}").mkdir()
        Image.new("RGB", (48, 48)).save(data / f"rare {k}/a.png")
    recipe_for("classify", str(data), {})
    text = f"pellucid: {data}: classes with fewer than 5 training pictures: 'rare 0' 1, 'rare 1' 1; add some, or join"
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("name", ["one_cycle", "constant", "warmup"])
def test_a_schedule_of_the_user_replaces_the_planned_one(tmp_path: Path, name: str) -> None:
    own_settings: dict[str, Any] = {"schedule.name": name} | ({"schedule.steps": 7} if name == "warmup" else {})
    recipe, _ = recipe_for("classify", str(write_colour_folder(tmp_path, size=48)), own_settings)
    assert recipe.schedule.name == name
    assert recipe.schedule.arguments.get("steps", 7) == 7
    assert recipe.train.average == "start"


def test_many_pictures_keep_the_plan_of_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = str(write_colour_folder(tmp_path, size=48))
    for limit, network in ((60, "mobilenet_v2"), (59, "airbench96")):
        monkeypatch.setattr(own, "MAX_PHOTOS", limit)
        assert recipe_for("classify", data, {})[0].network.name == network


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_a_training_on_photos_starts_at_the_accuracy_of_its_baseline(cli: Cli, tmp_path: Path) -> None:
    data = write_colour_folder(tmp_path, per_class=10, size=64)
    settings = ["data.size=96", "optimizer.lr=0.000000001", "train.epochs=8", "--json"]
    found = cli("train", "classify", str(data), *settings).json
    assert found["baseline"]["name"] == "a linear model of the backbone's features"
    assert found["accuracy"] == found["baseline"]["accuracy"]


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_training_on_a_users_photos(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for k in range(10):
        draw_objects(k)[0].save(tmp_path / "photos" / f"{k}.png")
    tables, run = train_for_one_epoch(cli, "colorize", tmp_path / "photos")
    assert (tables["objective"]["model"], tables["start"]["weights"]) == ("l1", "colorize")
    assert json.loads((run / "results.json").read_text())["n"] == 2


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["detect"], "detect needs the DATA to train on"),
        (["detect", "train.epochs=1"], "detect needs the DATA to train on"),
        (["detect", "nowhere"], "no folder, file or data set 'nowhere'"),
        (["detect", "pictures"], "has no annotated objects; give images with annotations of CVAT, Pascal VOC, COCO"),
        (["keypoints", "pictures"], "has no key-points"),
        (["segment", "pictures"], "has no masks: put the images into images/"),
        (["classify", "mnist"], "mnist has no image files in class folders"),
        (["classify", "one"], "has one class folder, 'only'; give at least two classes"),
        (["colorize", "empty"], "contains no images; give a folder of photos"),
        (["detect", "pictures", "objective.clases=2"], "annotated objects"),
    ],
)
def test_data_that_cannot_be_trained_on_are_refused_in_one_line(
    words: list[str], complaint: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("pictures", "one/only", "empty"):
        (tmp_path / name).mkdir(parents=True)
    write_colour_folder(tmp_path / "pictures")
    draw_objects(0)[0].save(tmp_path / "one/only/0.png")
    result = cli("train", *words)
    assert complaint in result.error_line
    assert not (tmp_path / "runs").exists()


def test_small_data_get_more_epochs() -> None:
    assert [epochs_for(600, images, 8) for images in (8, 100, 1_000, 100_000)] == [100, 46, 5, 5]


def write_polygons(root: Path, count: int = 8) -> Path:
    """Write the labelme data set with a polygon in place of each rectangle."""
    for file in write_labelme(root, count).glob("*.json"):
        content = json.loads(file.read_text())
        for shape in content["shapes"]:
            (x0, y0), (x1, y1) = shape["points"]
            shape |= {"shape_type": "polygon", "points": [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]}
        file.write_text(json.dumps(content))
    return root


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize("write_data", [write_polygons, lambda root: coco(root, points=False)], ids=["labelme", "coco"])
def test_training_on_a_users_polygons_gives_a_segmentation_model(write_data: Any, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "things").mkdir()
    data = write_data(tmp_path / "things")
    tables, run = train_for_one_epoch(cli, "segment", data)
    assert (tables["network"]["classes"], tables["loss"]["ignore"]) == (3, 255)
    assert Model.load(run / "weights" / "best.safetensors").classes == ("background", "ball", "box")
    output = cli("evaluate", str(run), "--data", str(data), "--json").json
    assert [row["class"] for row in output["classes"]] == ["background", "ball", "box"]
    assert output["n"] == 2  # of the 10 images, those that training held out
    assert "has no class 'background'" in cli("evaluate", "camvid", "--data", str(data)).error_line


@pytest.mark.long
@pytest.mark.usefixtures("no_report")
@pytest.mark.parametrize(
    ("task", "write_data"),
    [("segment", write_masks), ("keypoints", lambda root: coco(root, points=True)), ("classify", write_colour_folder)],
    ids=["masks", "key-points", "classes"],
)
def test_a_training_on_a_users_data_is_diagnosed(task: str, write_data: Any, cli: Cli, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    write_data(data)
    _, run = train_for_one_epoch(cli, task, data)
    result = cli("doctor", str(run), "--data", str(data), "--json").json
    assert "constant-inputs" in result["checks"]
    if task == "keypoints":
        file = data / "annotations.json"
        file.write_text(file.read_text().replace('"left_edge", "right_edge"', '"right_edge", "left_edge"'))
        error_line = cli("doctor", str(run), "--data", str(data)).error_line
        assert "has the key-points right_edge, left_edge, middle, but the model has left_edge, right_edge" in error_line
