"""The recipe for a user's own images with objects: `pellucid train detect DATA`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.data import load
from pellucid.data.annotations.base import fault_summary
from pellucid.data.format_names import ANNOTATION_FORMATS
from pellucid.recipe.material import is_annotated
from pellucid.recipe.own import training_length
from pellucid.task import OwnRecipe

TRAINING_STEPS = {"bccd-single": 600, "pennfudan-mask": 360}  # about ten minutes on two cores
BATCH_SIZE = {"bccd-single": 8, "pennfudan-mask": 4}
# Unlike the blood cells of bccd, most objects are upright, so images must not be flipped vertically or transposed.
UPRIGHT_AUGMENT = {"augment.vertical_flip": False, "augment.transpose": False}

# Without weights to start from, no layer is frozen, and all learn at the full rate.
SCRATCH_SETTINGS = {"train.frozen": [], "train.rates": []}
# A backbone without normalization, or few steps of many images, hardly learns in a short training. The number of images
# in all steps, and so the time, is that of a training from weights.
SCRATCH_GROUPS = {"objective.groups": 8}
SCRATCH_BATCH = 2


def recipe_for(data: str, root: Any = None, settings: Mapping[str, Any] = MappingProxyType({})) -> OwnRecipe:
    """Return the recipe of a single-stage detector for boxes, or of Mask R-CNN if every object has a mask.

    Both fine-tune a shipped detector, unless the user's settings say start.weights="". Raises PellucidError for data
    without annotated objects.
    """
    if not is_annotated(data):
        raise PellucidError(f"{data} has no annotated objects; give images with annotations of {ANNOTATION_FORMATS}")
    train = load(data, root).train
    if not any(record.instances for record in train.records):
        left_out = fault_summary(train.faults)
        raise PellucidError(f"{data} has no objects to train on{left_out and f': {left_out}'}; annotate some")
    recipe_name, start_weights = ("pennfudan-mask", "pennfudan") if train.has_masks else ("bccd-single", "bccd")
    steps, batch_size, scratch_settings = TRAINING_STEPS[recipe_name], BATCH_SIZE[recipe_name], {}
    if settings.get("start.weights") == "":
        scratch_settings = SCRATCH_SETTINGS
        if not train.has_masks and settings.get("objective.model", "single_stage") == "single_stage":
            scratch_settings = SCRATCH_SETTINGS | SCRATCH_GROUPS
            steps, batch_size = steps * batch_size // SCRATCH_BATCH, SCRATCH_BATCH
    return OwnRecipe(recipe_name, {
        "objective.classes": len(train.classes),
        "start.weights": start_weights,
        **training_length(steps, len(train), batch_size),
        **({} if train.has_masks else UPRIGHT_AUGMENT),
        **scratch_settings,
    })  # fmt: skip
