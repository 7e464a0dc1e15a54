"""The pictures that a recipe of a comparison trains on: of a data set, or of the user's own folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pellucid.data import CATALOGUE
from pellucid.recipe.material import SHAPES, Material, load_material
from pellucid.recipe.recipe import Recipe
from pellucid.tasks.gestures.collection import Collection
from pellucid.tasks.gestures.learn import check_data, read_for
from pellucid.tasks.gestures.reading import Told


@dataclass(frozen=True, eq=False)
class Pictures:
    """The three parts; `collection` is what was found in the user's own folder, None of a data set.

    preprocess: what a model that is trained on them shall say of them, see `build_model`.
    """

    material: Material
    collection: Collection | None
    preprocess: Mapping[str, Any]


def pictures_for(recipe: Recipe, root: str | None = None, progress: Told | None = None) -> Pictures:
    """Load the pictures of a recipe: those of a folder as `gestures train` does, by `read_collection`."""
    if recipe.data.name in CATALOGUE or recipe.data.name in SHAPES:
        return Pictures(load_material(recipe.data, recipe.recipe.seed, root), None, {})
    check_data(recipe)
    collection = read_for(recipe, progress)
    return Pictures(collection.material(), collection, collection.held_out())
