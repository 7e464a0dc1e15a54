"""Shipped recipes and models are found by name."""

import tomllib

import pytest

from pellucid import shipped_files
from pellucid.base.errors import PellucidError

PROMISED_RECIPES = {
    "digits", "mnist-mlp", "mnist-mlp-100", "mnist-lenet", "mnist-conv", "mnist-overfit", "mnist-deep-sigmoid", "xor",
}  # fmt: skip


def test_every_documented_recipe_exists_and_has_a_description():
    abouts = shipped_files.recipe_abouts()
    assert set(abouts) >= PROMISED_RECIPES
    assert all(abouts.values())


def test_a_recipe_file_is_toml():
    assert "network" in tomllib.loads(shipped_files.recipe_file("digits").read_text())


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(PellucidError, match="did you mean 'mnist-lenet'"):
        shipped_files.recipe_file("mnist-lent")


def test_an_unknown_model_is_refused():
    with pytest.raises(PellucidError, match="no model 'nothing-like-it'"):
        shipped_files.pretrained_file("nothing-like-it")


@pytest.mark.parametrize("name", ["../recipes/digits", "", "digits.toml", "digits/"])
def test_names_with_path_separators_are_refused(name: str):
    with pytest.raises(PellucidError):
        shipped_files.recipe_file(name)
