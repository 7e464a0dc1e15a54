"""The form of Train takes the settings of a run."""

from pathlib import Path

import pytest

from pellucid.recipe.recipe import load_recipe
from pellucid.studio.train.form import form_fields
from tests.studio.test_train import tab_of


def test_the_settings_of_a_run_repeat_its_recipe(tmp_path: Path) -> None:
    tab = tab_of(tmp_path)
    # Momentum has another default learning rate than this one, which is that of the recipe's Adam.
    overrides = {"optimizer.name": "momentum", "optimizer.lr": 0.003, "augment.flip": True, "train.epochs": 6,
                 "train.keep": [0, 1, 2, 3, 4, 5, 6], "network.sizes": [64, 8, 10]}  # fmt: skip
    recipe = load_recipe("digits", overrides)
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "recipe.toml").write_text(recipe.to_toml())
    found = tab.ask("train.settings", run="one")
    assert found["recipe"] == "digits"
    assert {"optimizer.lr=0.003", "augment.flip=true", "train.epochs=6"} < set(found["settings"])
    assert not any(setting.startswith(("train.keep", "recipe.", "loss.")) for setting in found["settings"])
    form = {field_["key"]: field_["value"] for field_ in tab.ask("train.recipe", **{
        "recipe": "digits", "settings": found["settings"]})["fields"]}  # fmt: skip
    again = load_recipe("digits", {**overrides, "train.keep": []})
    assert form == {field_["key"]: field_["value"] for field_ in form_fields(again)}


@pytest.mark.parametrize(
    ("text", "message"),
    [("name = 'mine'", "no built-in recipe 'mine'"), ("name = 'digits'\nthen = 'mnist-lenet'", "weights of its own")],
)
def test_settings_of_a_run_that_a_form_cannot_repeat_are_refused(text: str, message: str, tmp_path: Path) -> None:
    tab = tab_of(tmp_path)
    (tmp_path / "one").mkdir()
    recipe = load_recipe("digits").to_toml().replace('name = "digits"', text, 1)
    recipe = recipe.replace('then = ""\n', "", 1) if "then" in text else recipe
    (tmp_path / "one" / "recipe.toml").write_text(recipe)
    answer = tab.ask("train.settings", run="one")
    assert answer["kind"] == "error"
    assert message in answer["message"]
