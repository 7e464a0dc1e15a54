"""The recipe for a user's own images in class folders: `pellucid train classify DATA`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from pellucid.base.errors import PellucidError
from pellucid.base.text import note_once
from pellucid.data import CATALOGUE, ImageFolder, data_root
from pellucid.data.class_folders import class_parts, root_of
from pellucid.data.files import ImageFiles
from pellucid.data.images import image_size
from pellucid.data.tree import open_tree
from pellucid.recipe.checked.collection import class_weights, imbalance
from pellucid.recipe.checked.findings import MIN_IMBALANCE
from pellucid.recipe.labelled import images_of, planned_parts, table_settings, targets_of_part
from pellucid.recipe.own import training_length
from pellucid.task import OwnRecipe

RECIPE = "signs-best"  # starts from the shipped model `cifar`
TRAINING_STEPS = 500  # about five minutes on two cores
BATCH_SIZE = 32
MIN_EPOCHS = 12

FEW_PICTURES = 5  # of a class; a fifth of them, the test part, is less than one picture
MAX_RARE = 5  # rare classes that are named

# Without weights to start from, all layers learn at the full rate, in colour from filters that whiten the pictures.
SCRATCH_SETTINGS = {"train.rates": []}
WHITENED = {"start.whiten": "features.stem.conv"}  # its filters are too many for grey pictures

# Photos: the shipped backbone, whose last layer starts as the linear model of its features that is the run's baseline.
# Of 51 test pictures of brain scans, the plan of `signs-best` reached 84.3 %, that linear model 94.1 %, and this plan
# 90.2 to 96.1 %.
# Batch normalization keeps its statistics, for which that linear model was fitted.
MIN_SIDE = 48  # pixels; smaller pictures have few of the features of photos
MAX_PHOTOS = 1_000  # pictures; with 1,101 and 1,428 for training, RECIPE itself was above the linear model
MAX_MEASURED = 50  # pictures whose size is read
PHOTO_SETTINGS = {
    "network.model": "mobilenet_v2",
    "network.pad": "same",
    "network.epsilon": 0.001,
    # the loss of the fitted head would be 0.75 instead of 0.45 in the first epoch (brain scans)
    "network.dropout": 0.0,  # it would add noise to scores that were fitted without it
    "start.weights": "backbone",
    "start.linear": True,
    "optimizer.name": "adamw",
    # 1e-4 reached 85.1 instead of 88.7 % (200 pictures of `signs`); Nesterov at 0.002 fell from 88.2 to 60.8 % (brain)
    "optimizer.lr": 0.0003,
    "regularizer.name": "none",  # AdamW has its own; the gradient of L2 exceeds those of a fitted head
    "train.frozen": ["features.*norm*"],
    "train.rates": [],
    # No held-out pictures choose between start and end: a fifth of 202 is 41, on which the start was better (97.6, then
    # 92.7 %) and on the test pictures worse (86.3, then 90.2 %).
    "train.average": "start",  # a short training may end below the linear model, and seldom does its mean with it
}
# The first steps at the full rate change features most; in a shorter training, the rate does not rise to it.
PHOTO_SCHEDULE = {"schedule.name": "warmup", "schedule.steps": 100, "schedule.then": "cosine"}
PHOTO_STEPS = 250  # about five minutes on two cores
MIN_PHOTO_EPOCHS = 8
# The size is not chosen for each data set: its effect is below the deviation between splits. 96, 128 and 160 pixels
# gave 84.5, 88.6 and 85.9 % (brain scans, 10 splits, deviation 1.5 to 4.3), and 85.0, 85.9 and 87.1 % (smiles).
PHOTO_SECONDS = {128: 0.05, 96: 0.03}  # for a training picture on one core, by data.size


def recipe_for(data: str, root: Any = None, settings: Mapping[str, Any] = MappingProxyType({})) -> OwnRecipe:
    """Return the recipe that fine-tunes a shipped network, with class weights if the class sizes differ much.

    settings: the user's. Raises PellucidError for data that are not images in class folders, and for a single class.
    """
    entry = CATALOGUE.get(data)
    if entry is not None and entry.kind != "images":
        raise PellucidError(f"{data} has no image files in class folders; train with a recipe: `pellucid recipes`")
    path = data_root(root) / entry.path if entry else Path(data)
    with open_tree(path) as tree:
        part = class_parts(tree, root_of(tree)).train
    images = ImageFolder(path, part or "")
    assert images.classes is not None  # an ImageFolder always has classes
    counts = torch.bincount(images.labels, minlength=len(images.classes)).tolist()
    if len(counts) < 2:
        raise PellucidError(f"{path} has one class folder, {images.classes[0]!r:.60}; give at least two classes")
    note_rare_classes(path, images.classes, counts)
    return _planned(images, len(images), settings, class_settings(counts))


def table_recipe(data: str, settings: Mapping[str, Any]) -> OwnRecipe:
    """Return the recipe for a table with one class or several labels for each image.

    settings: the user's settings, of which those of [data] say how the table is read. Raises PellucidError for a table
    that cannot be read or understood.
    """
    parts = planned_parts(data, settings, RECIPE, None)
    images, y = images_of(parts.train), targets_of_part(parts.train)
    shared_settings = table_settings(parts)
    n_classes = len(images.format_found.names)
    if images.format_found.kind == "class":
        counts = torch.bincount(y, minlength=n_classes).tolist()
        note_rare_classes(data, images.format_found.names, counts)
        label_settings = class_settings(counts)
    else:
        label_settings = {
            "data.labels": "several",
            "network.classes": n_classes,
            "loss.name": "binary_cross_entropy",
            "train.metrics": ["multilabel"],
        }
    return _planned(images, len(parts.train), settings, {**shared_settings, **label_settings})


def _planned(
    images: ImageFiles, n_pictures: int, settings: Mapping[str, Any], label_settings: Mapping[str, Any]
) -> OwnRecipe:
    """Return the recipe for a number of training pictures of the sizes in `images`, and the reason for its choices.

    settings: the user's; a network or a start of the user replaces the whole plan for photos. label_settings: of the
    labels.
    """
    side = median_side(images)
    is_large = side >= MIN_SIDE and _number(settings, "data.size", MIN_SIDE) >= MIN_SIDE
    is_network_chosen = any(key.startswith(("network.", "start.")) for key in settings)
    is_grey = settings.get("data.mode", "RGB") != "RGB"
    if is_network_chosen or is_grey or not is_large or n_pictures > MAX_PHOTOS:
        has_no_start = settings.get("start.weights") == "" and "network.model" not in settings
        start_settings: dict[str, Any] = {}
        if has_no_start:
            start_settings = SCRATCH_SETTINGS if is_grey else SCRATCH_SETTINGS | WHITENED
        length = training_length(TRAINING_STEPS, n_pictures, BATCH_SIZE, MIN_EPOCHS)
        return OwnRecipe(RECIPE, {**label_settings, **start_settings, **length})
    planned_size = _photo_size(n_pictures, _number(settings, "train.minutes", 0))
    size = settings.get("data.size", planned_size)
    photo_settings = {**PHOTO_SETTINGS}
    if "schedule.name" not in settings:  # another schedule has other arguments
        photo_settings |= PHOTO_SCHEDULE
    pictures_text = f"{n_pictures} photos of about {side} pixels"
    return OwnRecipe(RECIPE, {
        **label_settings,
        **photo_settings,
        "data.size": size,
        **training_length(PHOTO_STEPS, n_pictures, BATCH_SIZE, MIN_PHOTO_EPOCHS),
    }, f"{pictures_text}, so from the linear model of the backbone's features at {size}")  # fmt: skip


def _number(settings: Mapping[str, Any], key: str, default: float) -> float:
    """Return a setting of the user, the default without it or for another type, which the recipe refuses later."""
    value = settings.get(key, default)
    return value if isinstance(value, int | float) else default


def _photo_size(n_pictures: int, minutes: float) -> int:
    """Return the largest size of which MIN_PHOTO_EPOCHS fit into `minutes`, otherwise the smallest; 0 for no limit."""
    for size, seconds in PHOTO_SECONDS.items():
        if not minutes or MIN_PHOTO_EPOCHS * n_pictures * seconds <= 60 * minutes:
            return size
    return min(PHOTO_SECONDS)


def median_side(images: ImageFiles) -> int:
    """Return the median of the shorter sides of pictures in pixels, of MAX_MEASURED at most; 0 if none is readable."""
    sides = list[int]()
    for k in torch.linspace(0, len(images) - 1, min(MAX_MEASURED, len(images))).long().tolist():
        name = images.names[k]
        try:
            sides.append(min(image_size(images.tree.read(name), images.tree.where(name))))
        except PellucidError:  # refused, or left out, when the data are read
            continue
    return sorted(sides)[len(sides) // 2] if sides else 0


def note_rare_classes(path: str | Path, classes: Sequence[str], counts: Sequence[int]) -> None:
    """Write a note that names the classes with fewer than FEW_PICTURES training pictures."""
    rare_classes = [
        f"{name!r:.60} {count}" for name, count in zip(classes, counts, strict=True) if count < FEW_PICTURES
    ]
    if rare_classes:
        names = ", ".join(rare_classes[:MAX_RARE]) + (
            f" and {len(rare_classes) - MAX_RARE} more" if len(rare_classes) > MAX_RARE else ""
        )
        note_once(f"{path}: classes with fewer than {FEW_PICTURES} training pictures: {names}; add some, or join them")


def class_settings(counts: Sequence[int]) -> dict[str, Any]:
    """Return the settings that depend on the classes: their number, and weights if the classes are imbalanced.

    counts: the number of training images of each class.
    """
    settings: dict[str, Any] = {"network.classes": len(counts)}
    if imbalance(counts) >= MIN_IMBALANCE:
        settings["loss.class_weights"] = [round(weight, 6) for weight in class_weights(counts)]
    return settings
