"""The doctor examines a run folder of every built-in recipe with the settings of the recipe, for each task."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from pellucid import shipped_files
from pellucid.data.entries import CATALOGUE
from pellucid.doctor.run_case import case_of_run
from pellucid.optim import AdamW
from pellucid.recipe.build import build_model
from pellucid.recipe.job import augmentation, load_data
from pellucid.recipe.recipe import Recipe, load_recipe
from pellucid.task import task_for
from pellucid.training.model import BaseModel
from tests.doctor.detection.test_objects import write_voc
from tests.tasks.keypoints import drawn

RNG = np.random.default_rng(0)


def picture(height: int, width: int) -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, (height, width, 3)).astype(np.uint8))


def classes_folder(folder: Path, classes: int) -> Path:
    for k in range(classes):
        (folder / f"{k:03d}").mkdir(parents=True)
        for number in range(3):
            picture(32, 32).save(folder / f"{k:03d}" / f"{number}.png")
    return folder


def masks_folder(folder: Path, indices: int) -> Path:
    """Write images with masks of this number of indices, all of which are in each mask."""
    for part in ("train", "val", "test"):
        for name in (part, f"{part}annot"):
            (folder / name).mkdir(parents=True)
        for number in range(3):
            picture(48, 64).save(folder / part / f"{number}.png")
            mask = RNG.integers(0, indices, (48, 64)).astype(np.uint8)
            mask.flat[:indices] = np.arange(indices)
            Image.fromarray(mask).save(folder / f"{part}annot" / f"{number}.png")
    return folder


def boxes_folder(folder: Path) -> Path:
    return write_voc(folder, lambda *box: box)


def object_masks_folder(folder: Path) -> Path:
    """Write images with two rectangles each, and COCO annotations with their outlines."""
    images: list[Any] = []
    annotations: list[Any] = []
    folder.mkdir()
    for number in range(12):
        picture(48, 64).save(folder / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": 48, "width": 64})
        for k, (x, y, w, h) in enumerate(((4, 4, 20, 16), (30, 20, 24, 20))):
            outline = [x, y, x + w, y, x + w, y + h, x, y + h]
            annotations.append({
                "id": 2 * number + k, "image_id": number, "category_id": 1, "bbox": [x, y, w, h],
                "segmentation": [outline], "area": w * h, "iscrowd": 0,
            })  # fmt: skip
    coco = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    (folder / "annotations.json").write_text(json.dumps(coco))
    return folder


def points_folder(folder: Path) -> Path:
    drawn.write(folder, "train", 12, 0)
    drawn.write(folder, "test", 4, 100)
    return folder


class SmallData(NamedTuple):
    """A function that writes a small folder of data, its arguments after the folder, and the recipe's settings."""

    write: Callable[..., Path]
    arguments: tuple[int, ...]
    settings: dict[str, Any]


FolderOf = Callable[[SmallData], Path]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> FolderOf:
    """Return a function that writes each folder of data once."""
    root = tmp_path_factory.mktemp("data")

    def folder_of(data: SmallData) -> Path:
        path = root / "-".join([data.write.__name__, *map(str, data.arguments)])
        return path if path.exists() else data.write(path, *data.arguments)

    return folder_of


def small_data(recipe: Recipe) -> SmallData:
    """Return small data for a recipe: of its task, and otherwise of the kind of its data set."""
    entry = CATALOGUE.get(recipe.data.name)
    assert entry is not None, f"{recipe.name}: data.name is not in the catalogue; write small data for it here"
    task = task_for(recipe.training_objective()).name
    network = recipe.network.arguments if recipe.objective.name == "none" else {}
    classes = network.get("classes") or len(entry.classes) or 10
    settings: dict[str, Any] = {}
    if task == "keypoints":
        return SmallData(points_folder, (), {"data.size": 32, "network.points": len(drawn.POINT_NAMES)})
    if task == "detection":
        has_masks = "mask" in recipe.objective.name
        write, count = (object_masks_folder, 1) if has_masks else (boxes_folder, 2)
        return SmallData(write, (), {"data.size": 64, "objective.classes": count})
    if entry.kind == "masks":
        indices = classes + (recipe.loss.arguments.get("ignore") == classes)
        has_weights = "class_weights" in recipe.loss.arguments
        return SmallData(masks_folder, (indices,), {"loss.class_weights": "none"} if has_weights else {})
    if entry.kind in ("idx", "bundled"):
        settings = {"data.size": 28 if entry.kind == "idx" else 8, "data.mode": "L"}
    if entry.kind == "objects":  # images alone
        settings = {"data.size": 32}
    return SmallData(classes_folder, (classes,), settings)


UNUSUAL = {
    "optimizer.name": "adamw",
    "optimizer.lr": 0.05,
    "optimizer.weight_decay": 0.3,
    "schedule.name": "cosine",
    "train.batch_size": 3,
    "train.epochs": 17,
    "train.clip": 0.7,
}


def recipe_for(name: str, folder_of: FolderOf, **settings: Any) -> Recipe:
    """Return a built-in recipe for a small folder of data of its kind, without trained weights to start from."""
    original = load_recipe(name)
    if original.data.name == "xor":
        return load_recipe(name, settings)
    data = small_data(original)
    own_data = {"data.name": str(folder_of(data)), "data.limit": 0, "start.weights": ""}
    return load_recipe(name, {**own_data, **data.settings, **settings})


@pytest.mark.parametrize(
    "name", [name for name in shipped_files.recipe_names() if load_recipe(name).data.name != "xor"]
)
def test_the_settings_for_small_data_are_keys_of_the_recipe(name: str) -> None:
    recipe = load_recipe(name, small_data(load_recipe(name)).settings)
    assert task_for(recipe.training_objective()) is task_for(load_recipe(name).training_objective())


def settings_of(model: Any) -> dict[str, Any]:
    """Return the arguments with which a model was made, and what is set after it."""
    arguments = inspect.signature(BaseModel).parameters.keys() - {"net", "loss", "device", "input_shape"}
    names = {"objective", "optimizers", "frozen", "rates"} | arguments - {"regularizer"} | {"regularizers"}
    values = {name: getattr(model, name) for name in sorted(names)}
    return {name: repr(value) if name in ("objective", "metrics") else value for name, value in values.items()}


def write_run(folder: Path, recipe: Recipe, has_weights: bool = True) -> None:
    """Write what a training leaves: the recipe, and weights that differ from those before the first step."""
    (folder / "weights").mkdir(parents=True)
    (folder / "recipe.toml").write_text(recipe.to_toml())
    if has_weights:
        model = build_model(recipe, load_data(recipe).train)
        for tensor in model.weights.values():
            tensor.mul_(1.25)
        model.save(folder / "weights" / "best.safetensors")


# One recipe of each task, and each kind of detector, is examined with other settings too.
WITH_OTHER_SETTINGS = (
    "bccd-single", "bccd-ssd", "bccd-yolo1", "bccd-yolo3", "pennfudan-mask", "camvid-unet", "faces-regression",
    "cifar-colorize", "camvid-photo", "mnist-dcgan", "mnist-vae", "mnist-conv", "digits", "xor",
)  # fmt: skip
SLOW = ("bccd-fast", "bccd-faster", "signs-vgg16-2", "signs-vgg16-3", "signs-vgg16-4", "signs-vgg16-5")
CASES = [
    *(pytest.param(name, {}, marks=pytest.mark.slow if name in SLOW else ()) for name in shipped_files.recipe_names()),
    *(pytest.param(name, UNUSUAL, id=f"{name}, other settings") for name in WITH_OTHER_SETTINGS),
]


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        case if k % 5 == 0 else pytest.param(*case.values, marks=[*case.marks, pytest.mark.long], id=case.id)
        for k, case in enumerate(CASES)
    ],
)
def test_the_case_of_a_run_has_the_settings_of_its_recipe(
    name: str, settings: dict[str, Any], folders: FolderOf, tmp_path: Path
) -> None:
    recipe = recipe_for(name, folders, **settings)
    write_run(tmp_path / "run", recipe)
    material = load_data(recipe)
    expected = settings_of(build_model(recipe, material.train))
    task = task_for(recipe.training_objective())
    data = recipe.data.name if Path(recipe.data.name).is_dir() else None
    case: Any = task.case_of_run(tmp_path / "run", data) or case_of_run(tmp_path / "run", data)
    begun = case.begin()
    for model in (case.model, begun):
        for key, value in settings_of(model).items():
            assert value == expected[key], key
    assert case.batch_size == min(recipe.train.batch_size, len(case.train))
    assert case.epochs == recipe.train.epochs
    assert case.augment == augmentation(recipe, material)
    assert case.trained
    if settings:
        assert case.model.optimizer == AdamW(0.05, weight_decay=0.3)
        assert case.model.clip == 0.7
    saved = build_model(recipe, material.train).weights
    path = next(iter(saved))
    assert not (case.model.weights[path] == begun.weights[path]).all()
