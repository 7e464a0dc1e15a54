"""The recipe of `pellucid train detect DATA`: what is changed for a training without weights to start from."""

from pathlib import Path
from typing import Any

import pytest

from pellucid.recipe.own import recipe_for
from tests.cli.test_train_own import write_labelme, write_polygons


@pytest.mark.parametrize(("weights", "is_trained"), [("", False), ("backbone", True)])
def test_without_start_weights_all_layers_of_a_detector_learn_at_one_rate(
    weights: str, is_trained: bool, tmp_path: Path
) -> None:
    recipe, _ = recipe_for("detect", str(write_labelme(tmp_path)), {"start.weights": weights})
    assert bool(recipe.train.frozen) == is_trained
    assert bool(recipe.train.rates) == is_trained


@pytest.mark.parametrize(
    ("write", "settings", "groups", "batch_size"),
    [
        (write_labelme, {"start.weights": ""}, 8, 2),
        (write_labelme, {"start.weights": "", "objective.model": "single_stage"}, 8, 2),
        (write_labelme, {"start.weights": "", "objective.groups": 4, "train.batch_size": 3}, 4, 3),
        (write_labelme, {"start.weights": "backbone"}, 0, 8),
        (write_labelme, {}, 0, 8),
        # These have no such argument.
        (write_labelme, {"start.weights": "", "objective.model": "ssd"}, None, 8),
        (write_polygons, {"start.weights": ""}, None, 4),
    ],
)
def test_without_start_weights_a_detector_of_boxes_has_group_normalization_and_small_batches(
    write: Any, settings: dict[str, Any], groups: int | None, batch_size: int, tmp_path: Path
) -> None:
    recipe, _ = recipe_for("detect", str(write(tmp_path, 12)), settings)
    assert recipe.objective.arguments.get("groups") == groups
    assert recipe.train.batch_size == batch_size
