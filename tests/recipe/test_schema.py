"""The JSON Schema of recipes: built-in recipes are valid, misspelt keys are invalid."""

import tomllib

import jsonschema
import pytest

from pellucid import shipped_files
from pellucid.recipe.keys import recipe_schema

VALIDATOR = jsonschema.Draft202012Validator(recipe_schema())


def test_every_built_in_recipe_is_valid() -> None:
    jsonschema.Draft202012Validator.check_schema(VALIDATOR.schema)
    for name in shipped_files.recipe_abouts():
        VALIDATOR.validate(tomllib.loads(shipped_files.recipe_file(name).read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("[train]\nepoch = 3", "'epoch' was unexpected"),
        ("[trian]\nepochs = 3", "'trian' was unexpected"),
        ("[optimizer]\nname = 'adm'", "'adm' is not one of"),
    ],
)
def test_invalid_recipes_are_refused(recipe: str, message: str) -> None:
    (error,) = VALIDATOR.iter_errors(tomllib.loads(recipe))
    assert message in error.message
