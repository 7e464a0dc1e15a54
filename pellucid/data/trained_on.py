"""The data sets that the shipped weights were trained on, and what the licences of these mean for the weights."""

import os
from typing import Any

from pellucid.base.text import note_once
from pellucid.data.entries import CATALOGUE, Licence

WEIGHTS_LICENCE = "Apache-2.0"
FREE_USE = "for teaching, research and commercial use, with credit to the authors of the data"
LIMITED_USE = "for teaching and research; commercial use is unclear, so ask the authors of the data first"
IMAGENET = "imagenet"  # published weights were trained on it; it is not in the catalogue
IMAGENET_LICENCE = Licence(
    "non-commercial research and education",
    is_free=False,
    statement="Researchers shall use it only for non-commercial research and educational purposes.",
    source="https://www.image-net.org/download.php",
)
# For each shipped file: its own data sets, then those of the weights that its training started from or reproduced.
TRAINED_ON: dict[str, tuple[str, ...]] = {
    "backbone": ("pennfudan", "cifar10", "faces", "signs", IMAGENET),
    "bccd": ("bccd", IMAGENET),
    "camvid": ("camvid", IMAGENET),
    "cifar": ("cifar10",),
    "colorize": ("cifar10", "faces", "camvid"),
    "faces": ("faces", IMAGENET),
    "mnist-conv": ("mnist",),
    "mnist-lenet": ("mnist",),
    "mnist-mlp-100": ("mnist",),
    "pennfudan": ("pennfudan", IMAGENET),
    "signs": ("signs", "cifar10"),
    "vit-tiny": ("cifar10",),
}


def licence_of(data: str) -> Licence:
    """Return the licence of a data set of the catalogue, or of ImageNet."""
    return IMAGENET_LICENCE if data == IMAGENET else CATALOGUE[data].licence


def data_of(weights: str) -> tuple[str, ...]:
    """Return the data sets that shipped weights were trained on, () if they are not listed."""
    return TRAINED_ON.get(weights, ())


def is_free(weights: str) -> bool:
    """Return whether all data that shipped weights were trained on permit commercial use; False if none is known."""
    known_data = data_of(weights)
    return bool(known_data) and all(licence_of(data).is_free for data in known_data)


def permitted_use(weights: str) -> str:
    """Return what the licences of their data permit for shipped weights."""
    return FREE_USE if is_free(weights) else LIMITED_USE


def data_text(weights: str) -> str:
    """Return the data sets that shipped weights were trained on, with licences: "mnist (CC BY-SA 3.0)"."""
    return ", ".join(f"{data} ({licence_of(data).name})" for data in data_of(weights))


def training_text(weights: str) -> str:
    """Return what shipped weights were trained on and what this permits: "trained on mnist (CC BY-SA 3.0): for ..."."""
    return f"trained on {data_text(weights)}: {permitted_use(weights)}"


def licence_json(weights: str) -> dict[str, Any]:
    """Return the licences of shipped weights and of their data, as JSON values."""
    return {
        "weights": WEIGHTS_LICENCE,
        "data": {data: licence_of(data).name for data in data_of(weights)},
        "free": is_free(weights),
        "use": permitted_use(weights),
    }


def note_limited_use(weights: str) -> None:
    """Write a note if the data of shipped weights do not permit every use: once, by the first of several processes."""
    is_first_process = os.environ.get("RANK", "0") == "0"
    if is_first_process and not is_free(weights):
        note_once(f"{weights} was {training_text(weights)}; `pellucid weights show {weights}` says more")
