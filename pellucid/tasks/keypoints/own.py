"""The recipe for a user's own images with key-points: `pellucid train keypoints DATA`."""

from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.data import load
from pellucid.data.keypoints import KeypointSource
from pellucid.recipe.material import is_annotated
from pellucid.recipe.own import training_length
from pellucid.task import OwnRecipe

RECIPE, START_WEIGHTS = "faces-heatmap", "faces"
TRAINING_STEPS = 500  # about ten minutes on two cores
BATCH_SIZE = 16
MAX_SIDE = 128  # pixels, the longer side of the images


def recipe_for(data: str, root: Any = None) -> OwnRecipe:
    """Return the recipe for heat maps, which starts from the features of the shipped model of faces.

    Images are mirrored only if the key-points have names with a side, such as left_eye. Raises PellucidError for data
    without key-points, or with several objects in an image.
    """
    if not is_annotated(data):
        raise PellucidError(f"{data} has no key-points; give images with key-points in COCO's format")
    train = KeypointSource(load(data, root).train)
    return OwnRecipe(RECIPE, {
        "data.size": MAX_SIDE,
        "augment.flip": train.swaps is not None,
        "network.points": len(train.names),
        "start.weights": START_WEIGHTS,
        **training_length(TRAINING_STEPS, len(train), BATCH_SIZE),
    })  # fmt: skip
