"""The recipe for a user's own images with numbers in a table: `pellucid train regress TABLE`."""

from collections.abc import Mapping
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.recipe.labelled import (
    images_of,
    is_table,
    planned_parts,
    table_beside_pictures,
    table_settings,
    targets_of_part,
)
from pellucid.recipe.own import training_length
from pellucid.task import OwnRecipe

RECIPE = "signs-best"  # starts from the shipped model `cifar`
TRAINING_STEPS = 500  # about five minutes on two cores
BATCH_SIZE = 32
MIN_EPOCHS = 12
# A number may measure a size, an angle or a colour, so augmentation changes none of them.
AUGMENTATION = {
    "augment.rotate": 0.0, "augment.shear": 0.0, "augment.zoom": 0.0, "augment.flip": False,
    "augment.brightness": 0.0, "augment.contrast": 0.0, "augment.saturation": 0.0, "augment.shift": 0.05,
}  # fmt: skip


def recipe_for(data: str, settings: Mapping[str, Any]) -> OwnRecipe:
    """Return the recipe that fine-tunes a shipped network with the Huber loss of standardized numbers.

    settings: the user's settings, of which those of [data] say how the table is read. Raises PellucidError for data
    without a table of numbers, and for a number that is always equal.
    """
    if not is_table(data, over_class_folders=True) and not table_beside_pictures(data):
        raise PellucidError(f"{data} has no table of numbers; give a .csv file with file names and numbers")
    parts = planned_parts(data, settings, RECIPE, "numbers")
    format_found, y = images_of(parts.train).format_found, targets_of_part(parts.train).double()
    means, deviations = y.mean(0).tolist(), y.std(0, correction=0).tolist()
    for name, mean, deviation in zip(format_found.names, means, deviations, strict=True):
        if deviation <= 1e-6 * abs(mean):
            raise PellucidError(f"{data}: {name!r:.40} is {mean:g} in all training rows; leave it out of data.columns")
    return OwnRecipe(RECIPE, {
        **table_settings(parts),
        **training_length(TRAINING_STEPS, len(parts.train), BATCH_SIZE, MIN_EPOCHS),
        **AUGMENTATION,
        "data.units": list(format_found.units),
        "network.model": "regressor",
        "network.values": len(format_found.names),
        "network.mean": [float(f"{mean:.6g}") for mean in means],
        "network.std": [float(f"{deviation:.6g}") for deviation in deviations],
        "loss.name": "huber",
        "loss.scale": [float(f"{deviation:.6g}") for deviation in deviations],
        "train.metrics": ["mae", "rmse", "r2"],
    })  # fmt: skip
