"""The recipe for a user's own images with key-points: `pellucid train keypoints DATA`."""

import math
import statistics
from pathlib import Path
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.data import load
from pellucid.data.keypoints import KeypointSource, square_around
from pellucid.recipe.material import is_annotated
from pellucid.recipe.own import training_length
from pellucid.task import OwnRecipe

RECIPE, START_WEIGHTS = "faces-heatmap", "faces"
TRAINING_STEPS = 500  # about ten minutes on two cores
BATCH_SIZE = 16
# NME of 15 frames of a mouse: 4.5 % at 128 pixels, 3.4 % at 256, which takes four times as long; 42.2 % for the mean
# shape.
OBJECT_SIDE = 128  # pixels of the longer side of the median object in the input, if its images have as many
SIDE_STEP = 32  # pixels, the largest stride of the network
MIN_SIDE, MAX_SIDE = 64, 256  # pixels of the input's side; 256 takes four times as long as 128


def recipe_for(data: str, root: Any = None) -> OwnRecipe:
    """Return the recipe for heat maps, which starts from the features of the shipped model of faces.

    The input size is that of `input_side`. Images are mirrored only if the pairs of key-points are known, from names
    with a side such as left_eye, or from the annotations. Raises PellucidError for data without key-points.
    """
    if not is_annotated(data):
        raise PellucidError(f"{data} has no key-points; give images with annotated key-points")
    train = KeypointSource(load(data, root).train)
    side, object_side = input_side(train)
    examples_text = "crops around boxes" if train.is_cropped else "whole images"
    about = f"keypoints: the data of {Path(data).name}, from the recipe {RECIPE}"
    return OwnRecipe(RECIPE, {
        "recipe.about": f"{about}; {examples_text} with objects of {object_side:.0f} pixels (median)",
        "data.size": side,
        "augment.flip": train.swaps is not None,
        "network.points": len(train.names),
        "start.weights": START_WEIGHTS,
        **training_length(TRAINING_STEPS, len(train), BATCH_SIZE),
    })  # fmt: skip


def input_side(train: KeypointSource) -> tuple[int, float]:
    """Return the side of the network's input, and the median of the longer sides of the objects' boxes, in pixels.

    The median object has OBJECT_SIDE pixels in the input, but no more than in its image; the side of the input, that of
    the median crop or image at this scale, is rounded up to a multiple of SIDE_STEP, from MIN_SIDE to MAX_SIDE.
    """
    object_sides: list[float] = []
    picture_sides: list[float] = []
    for k in range(len(train)):
        record, instance = train.object_at(k)
        x0, y0, x1, y1 = instance.box
        object_sides.append(max(x1 - x0, y1 - y0))
        picture_sides.append(square_around(instance.box).side if train.is_cropped else max(record.size))
    object_side = statistics.median(object_sides)
    scale = min(1.0, OBJECT_SIDE / object_side)
    side = SIDE_STEP * math.ceil(statistics.median(picture_sides) * scale / SIDE_STEP)
    return min(max(side, MIN_SIDE), MAX_SIDE), object_side
