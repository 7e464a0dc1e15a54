"""The list of keys: every key of a recipe, with its type, default and choices."""

import json

import pytest

from pellucid import shipped_files
from pellucid.detectors import DETECTORS
from pellucid.generators import GENERATORS, TRANSLATORS
from pellucid.losses import LOSSES
from pellucid.models import MODELS
from pellucid.optim import OPTIMIZERS, REGULARIZERS, SCHEDULES
from pellucid.recipe.keys import recipe_keys
from pellucid.recipe.recipe import PLAIN_TABLES, TABLES, load_recipe

PARTS_BY_TABLE = {
    "objective": ("model", ["none", *GENERATORS, *DETECTORS, *TRANSLATORS]),
    "network": ("model", MODELS),
    "loss": ("name", LOSSES),
    "optimizer": ("name", OPTIMIZERS),
    "schedule": ("name", SCHEDULES),
    "regularizer": ("name", ["none", *REGULARIZERS]),
}
KEYS_BY_TABLE = {table.name: table for table in recipe_keys()}


@pytest.mark.parametrize("name", shipped_files.recipe_names())
def test_every_key_of_every_recipe_is_listed(name):
    for table, values in load_recipe(name).tables().items():
        keys_by_name = {key.name: key for key in KEYS_BY_TABLE[table].keys}
        if table in PARTS_BY_TABLE:
            part_name = values[PARTS_BY_TABLE[table][0]]
            keys_by_name |= {
                key.name: key
                for choice in KEYS_BY_TABLE[table].choices
                if choice.name == part_name
                for key in choice.keys
            }
        assert list(keys_by_name) == list(values)
        text = str(KEYS_BY_TABLE[table])
        assert all(f"  {key}  " in text for key in values)


def test_the_list_of_keys_has_all_tables_and_names():
    assert tuple(KEYS_BY_TABLE) == TABLES
    for table, (key, part_names) in PARTS_BY_TABLE.items():
        assert KEYS_BY_TABLE[table].keys[0].name == key
        assert [choice.name for choice in KEYS_BY_TABLE[table].choices] == list(part_names)
        assert all(f'{key} = "{name}"' in str(KEYS_BY_TABLE[table]) for name in part_names)


def test_listed_defaults_equal_those_of_an_empty_recipe(tmp_path):
    (tmp_path / "mine.toml").write_text("[network]\nsizes = [64, 10]\n")
    tables = load_recipe(tmp_path / "mine.toml").tables()
    for table in PLAIN_TABLES:
        defaults = {key.name: key.default for key in KEYS_BY_TABLE[table].keys}
        assert defaults == {**tables[table], **({"name": ""} if table == "recipe" else {})}
    adam = next(choice for choice in KEYS_BY_TABLE["optimizer"].choices if choice.name == "adam")
    assert {key.name: key.default for key in adam.keys} == {
        "lr": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "amsgrad": False,
    }  # fmt: skip


def test_keys_have_types_and_descriptions():
    text = {name: str(table) for name, table in KEYS_BY_TABLE.items()}
    assert "one of 'float32', 'bf16'" in text["train"]
    assert "validation: this fraction of\n  the training images is held out" in text["data"]
    assert "sizes        must be given  a list of whole numbers" in text["network"]
    assert "Kingma and Ba 2015" in text["optimizer"]
    assert '"constant"     the name of a schedule, or its table' in text["schedule"]
    assert not any(name.startswith("[") for name in (table.about for table in KEYS_BY_TABLE.values()))


def test_keys_are_written_as_json():
    values = json.loads(json.dumps([table.to_json() for table in KEYS_BY_TABLE.values()]))
    assert values[1]["keys"][0] == {"name": "name", "type": "text", "default": "digits", "required": False}
    sizes = values[TABLES.index("network")]["choices"][0]["keys"][0]
    assert sizes == {"name": "sizes", "type": "a list of whole numbers", "default": None, "required": True}
