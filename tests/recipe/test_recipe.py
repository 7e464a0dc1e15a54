"""Recipes: strict reading, complete TOML, overrides, and the parts that they build."""

import contextlib
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid import shipped_files
from pellucid.base.errors import PellucidError
from pellucid.data import Dataset
from pellucid.data.entries import CATALOGUE
from pellucid.generators import Generator
from pellucid.losses import Quadratic
from pellucid.optim import SCHEDULES, SGD, MaxNorm
from pellucid.recipe.build import build_model
from pellucid.recipe.recipe import TABLES, Recipe, load_recipe, parse_overrides
from pellucid.task import task_for, tasks


def write_recipe(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", shipped_files.recipe_names())
def test_every_built_in_recipe_builds(name: str):
    recipe = load_recipe(name)
    assert recipe.name == name
    tables_to_build = ("network", "loss") if recipe.objective.name == "none" else ("objective",)
    for table in (*tables_to_build, "optimizer", "schedule"):
        assert recipe.build(table) is not None


@pytest.mark.parametrize("name", shipped_files.recipe_names())
def test_the_complete_toml_gives_the_same_recipe(name: str, tmp_path: Path):
    recipe = load_recipe(name)
    restored = load_recipe(write_recipe(tmp_path, recipe.to_toml()))
    assert restored == recipe
    assert restored.to_toml() == recipe.to_toml()


def test_the_complete_toml_writes_every_key_of_every_table(tmp_path: Path):
    tables = tomllib.loads(load_recipe(write_recipe(tmp_path, "[network]\nsizes = [64, 10]\n")).to_toml())
    assert tuple(tables) == tuple(table for table in TABLES if table != "objective")
    assert tables["recipe"]["name"] == "mine"
    adam = {"name": "adam", "lr": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "amsgrad": False}
    assert tables["optimizer"] == adam
    assert tables["train"]["epochs"] == 10
    assert tables["loss"]["class_weights"] == "none"


def test_mnist_mlp_has_the_settings_of_nielsens_chapter_1():
    recipe = load_recipe("mnist-mlp")
    assert recipe.network.arguments["sizes"] == (784, 30, 10)
    assert recipe.network.arguments["init_weight"] == recipe.network.arguments["init_bias"] == "normal"
    assert recipe.build("loss") == Quadratic()
    assert recipe.build("optimizer") == SGD(recipe.optimizer.arguments["lr"])
    assert (recipe.train.epochs, recipe.train.batch_size) == (30, 10)


def test_overrides_change_values_and_keep_the_rest():
    recipe = load_recipe("mnist-mlp", {"optimizer.lr": 0.25, "train.epochs": 1, "network.sizes": [784, 5, 10]})
    assert recipe.build("optimizer") == SGD(0.25)
    assert recipe.train.epochs == 1
    assert recipe.network.arguments["sizes"] == (784, 5, 10)
    assert recipe.network.arguments["output"] == "sigmoid"


@pytest.mark.parametrize(
    ("overrides", "metrics"),
    [
        ({}, ("accuracy",)),
        ({"loss.name": "l1"}, ("mae",)),
        ({"loss.name": "huber", "train.metrics": ["accuracy", "rmse"]}, ("accuracy", "rmse")),
        ({"train.metrics": []}, ()),
    ],
)
def test_metrics_are_those_of_the_loss_unless_the_recipe_lists_some(overrides, metrics, tmp_path: Path):
    recipe = load_recipe("digits", overrides)
    restored = load_recipe(write_recipe(tmp_path, recipe.to_toml()))
    data = Dataset.from_arrays(np.zeros((10, 1, 8, 8), np.float32), np.arange(10))
    assert build_model(recipe, data).metrics == build_model(restored, data).metrics == metrics


MASK_DATA = [entry.name for entry in CATALOGUE.values() if entry.kind == "masks"]
RESULTS_OF_METRICS = {"colours": ("psnr", "ab_overlap")}  # of metrics whose results have other names


@pytest.mark.parametrize("name", shipped_files.recipe_names())
def test_every_built_in_recipe_measures_a_merit_of_its_task(name: str):
    recipe = load_recipe(name)
    if isinstance(recipe.build("objective"), Generator):
        assert recipe.train.keep, "set train.keep, so that images that it generates after some epochs are saved"
        return
    # whether a classifier is one of pixels, its task sees only in the outputs
    has_masks = recipe.objective.name == "none" and recipe.data.name in MASK_DATA
    task = (
        next(task for task in tasks() if task.name == "segmentation")
        if has_masks
        else task_for(recipe.training_objective())
    )
    metrics = recipe.build("loss").metrics if recipe.train.metrics is None else recipe.train.metrics
    columns = {column for metric in metrics for column in RESULTS_OF_METRICS.get(metric, (metric,))}
    merits = [merit.name for merit in task.merits] or columns
    assert columns & {*merits}, f"give train.metrics a metric with a result among {merits}, not {metrics}"


def test_another_optimizer_has_its_default_learning_rate():
    assert load_recipe("mnist-mlp", {"optimizer.name": "adam"}).optimizer.arguments["lr"] == 0.001


def test_max_norm_is_built_as_a_regularizer_by_name():
    recipe = load_recipe("digits", {"regularizer.name": "max_norm", "regularizer.limit": 3})
    assert recipe.build("regularizer") == MaxNorm(3.0)


def test_a_plateau_schedule_with_validation_data_is_accepted():
    changes = {"schedule.name": "warmup", "schedule.steps": 3, "schedule.then": "reduce_on_plateau"}
    assert load_recipe("digits", {**changes, "data.validation": 0.1}).build("schedule").watches


def test_overriding_a_part_with_its_own_name_keeps_its_arguments():
    assert load_recipe("mnist-mlp", {"optimizer.name": "sgd"}) == load_recipe("mnist-mlp")


def test_a_schedule_after_a_warm_up_is_given_by_name_or_table(tmp_path: Path):
    by_name = load_recipe("digits", {"schedule.name": "warmup", "schedule.steps": 3, "schedule.then": "cosine"})
    text = by_name.to_toml()
    assert load_recipe(write_recipe(tmp_path, text)).build("schedule") == by_name.build("schedule")
    assert type(by_name.build("schedule").then) is SCHEDULES["cosine"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[optimiser]\n", "unknown table [optimiser]; did you mean 'optimizer'?"),
        ("[optimizer]\nlearning_rate = 1\n", "unknown key 'optimizer.learning_rate'"),
        ("[train]\nepoch = 1\n", "unknown key 'train.epoch'; did you mean 'train.epochs'?"),
        ('[train]\nepochs = "ten"\n', "train.epochs takes a whole number, not 'ten'"),
        ("[train]\nepochs = 0\n", "train.epochs must be from 1"),
        ("[data]\nvalidation = 1.5\n", "data.validation must be from 0"),
        ('[recipe]\nname = "../up"\n', "recipe.name must be"),
        ("[recipe]\nseed = -1\n", "recipe.seed must be"),
        ('[optimizer]\nname = "adan"\n', "no optimizer 'adan'; did you mean 'adam'?"),
        ("[optimizer]\nname = 5\n", "no optimizer 5; known: "),
        ("[optimizer]\nlr = -1.0\n", "[optimizer] Adam: lr must be"),
        ("[loss]\nmargin = 1.0\n", "unknown key 'loss.margin'"),
        ("[augment]\nrotate = -3\n", "augment.rotate is -3"),
        ("[network]\n", "network.sizes is missing; give it a list of whole numbers"),
        ("recipe = 3\n", "recipe must be a table"),
        ("[network\n", "is not TOML"),
        ("[schedule]\nname = 'reduce_on_plateau'\n", "reduce_on_plateau in [schedule] needs validation data"),
        (
            "[schedule]\nname = 'warmup'\nsteps = 3\nthen = 'reduce_on_plateau'\n",
            "reduce_on_plateau in [schedule] needs validation data; hold some images out with data.validation=0.1",
        ),
        (
            "[schedule]\nname = 'warmup'\nsteps = 3\n[schedule.then]\nname = 'warmup'\nsteps = 3\n"
            "then = 'reduce_on_plateau'\n",
            "reduce_on_plateau in [schedule] needs validation data",
        ),
        (
            "".join(f"[schedule{'.then' * k}]\nname = 'warmup'\nsteps = 3\n" for k in range(14)),
            "[schedule] is nested in more than 8 levels; make it flatter",
        ),
        ("[train]\nearly_stopping = 3\n", "train.early_stopping needs validation data"),
        ("[schedule]\nname = 'warmup'\nsteps = 3\nthen = 5\n", "schedule.then takes the name of a schedule"),
    ],
)
def test_errors_in_a_file_are_reported_in_one_line_with_its_name(text: str, message: str, tmp_path: Path):
    path = write_recipe(tmp_path, text if "[network]" in text else text + "[network]\nsizes = [64, 10]\n")
    with pytest.raises(PellucidError) as error:
        load_recipe(path)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_binary_and_missing_recipe_files_are_refused(tmp_path: Path):
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PellucidError, match=r"binary\.toml is not TOML"):
        load_recipe(path)
    with pytest.raises(PellucidError, match=r"none\.toml cannot be read"):
        load_recipe(tmp_path / "none.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(PellucidError, match=r"folder\.toml cannot be read"):
        load_recipe(tmp_path / "folder.toml")


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("optimizer.lt", "did you mean 'optimizer.lr'?"),
        ("lr", "unknown key 'lr'"),
        ("train.epoch", "did you mean 'train.epochs'?"),
        ("trian.epochs", "did you mean 'train.epochs'?"),
        ("optimizer.learning_rate", "unknown key 'optimizer.learning_rate'; did you mean 'optimizer.lr'?"),
        ("optimiser.learning_rate", "unknown key 'optimiser.learning_rate'; did you mean 'optimizer.lr'?"),
        ("learning_rate", "did you mean 'optimizer.lr'?"),
        ("n_epochs", "did you mean 'train.epochs'?"),
        ("augmentation.rotation", "did you mean 'augment.rotate'?"),
        ("optimizer", "did you mean 'optimizer.name'?"),
        ("foo", "unknown key 'foo'; keys are TABLE.KEY with one of the tables recipe, data"),
        ("optimizer", "unknown key 'optimizer'"),
    ],
)
def test_the_error_for_an_unknown_override_suggests_the_nearest_key(key: str, hint: str):
    with pytest.raises(PellucidError) as error:
        load_recipe("digits", {key: 1})
    assert hint in str(error.value)


def test_settings_of_a_command_line_are_parsed():
    assert parse_overrides(
        ["optimizer.lr=0.5", "optimizer.name=adam", "network.sizes=[64, 10]", "recipe.about=a=b"]
    ) == {
        "optimizer.lr": 0.5,
        "optimizer.name": "adam",
        "network.sizes": [64, 10],
        "recipe.about": "a=b",
    }


@pytest.mark.parametrize("name", ["auto", "cpu", "cuda", "cuda:1", "mps"])
def test_a_recipe_may_name_any_device(name: str):
    assert load_recipe("digits", {"recipe.device": name}).recipe.device == name


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:-1", "auto:1", "meta"])
def test_an_unknown_device_in_a_recipe_is_refused(name: str):
    with pytest.raises(PellucidError, match=r"^digits: device.* (must be one of|is not a device)"):
        load_recipe("digits", {"recipe.device": name})


@pytest.mark.parametrize("settings", [["optimizer.lr"], ["=3"], ["a.b=1", "a.b=2"]])
def test_invalid_settings_of_a_command_line_are_refused(settings: list[str]):
    with pytest.raises(PellucidError):
        parse_overrides(settings)


override_values = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.lists(st.integers(), max_size=3)
)
digits_keys = [f"{table}.{key}" for table, keys in load_recipe("digits").tables().items() for key in keys]


@pytest.mark.slow
@given(st.dictionaries(st.sampled_from(digits_keys) | st.text(max_size=12), override_values, max_size=3))
def test_any_overrides_give_a_recipe_or_a_pellucid_error(overrides: dict[str, Any]):
    with contextlib.suppress(PellucidError):
        assert isinstance(load_recipe("digits", overrides), Recipe)


def test_a_network_is_refused_in_a_recipe_with_an_objective(tmp_path: Path):
    with pytest.raises(PellucidError, match=r"\[network\] is given beside \[objective\], which replaces it"):
        load_recipe(write_recipe(tmp_path, '[objective]\nmodel = "ssd"\n\n[network]\nsizes = [64, 10]\n'))
    with pytest.raises(PellucidError, match="no objective 'sd'; did you mean 'ssd'"):
        load_recipe(write_recipe(tmp_path, '[objective]\nmodel = "sd"\n'))
