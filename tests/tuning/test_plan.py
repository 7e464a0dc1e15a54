"""Plans of sweeps: combinations, recipes and commands of runs, and one-line errors before anything starts."""

import json
from pathlib import Path
from typing import Any

import pytest

from pellucid.base.errors import PellucidError
from pellucid.recipe.recipe import load_recipe
from pellucid.tuning import plan as planning
from pellucid.tuning.plan import command_words, make_plan, plan_from_json
from tests.cli.conftest import Cli

HELD_OUT = {"data.validation": 0.1}


def digits_plan(over: dict[str, Any], **choices: Any) -> planning.TuningPlan:
    return make_plan(load_recipe("digits", HELD_OUT), over, threads=1, **choices)


def test_a_grid_has_every_combination():
    plan = digits_plan({"optimizer.name": "sgd,adam", "train.batch_size": "16..18", "optimizer.lr": [0.1, 0.2]})
    actual = [tuple(plan.combination(index).values()) for index in range(plan.trials)]
    expected = [(name, size, lr) for name in ("sgd", "adam") for size in (16, 17, 18) for lr in (0.1, 0.2)]
    assert actual == expected


def test_a_plan_is_restored_from_its_file():
    plan = digits_plan({"optimizer.lr": "1e-4..1e-1:log"}, trials=5, sampler="random", seeds=(3, 1), words=("digits",))
    restored = plan_from_json(json.loads(json.dumps(plan.to_json())), "a file")
    assert restored == plan
    assert restored.words == ("digits",)


def test_the_recipe_of_a_run_equals_a_recipe_with_the_same_overrides():
    plan = digits_plan({"optimizer.name": "sgd,adam"}, seeds=(4,))
    overrides = {**HELD_OUT, "optimizer.name": "sgd", "recipe.seed": 4}
    assert plan.recipe({"optimizer.name": "sgd"}, 4) == load_recipe("digits", overrides)


def test_the_command_of_a_run_trains_the_same_recipe(tmp_path: Path):
    base = load_recipe("digits", {**HELD_OUT, "train.epochs": 3, "recipe.threads": 0})
    words = command_words("digits", {**HELD_OUT, "train.epochs": 3, "recipe.threads": 0})
    plan = make_plan(base, {"network.sizes": [[64, 10], [64, 20, 10]], "optimizer.name": "sgd"}, threads=2, words=words)
    settings = {"network.sizes": [64, 10], "optimizer.name": "sgd"}
    train, recipe, *overrides = plan.command(settings, 7)
    assert (train, recipe) == ("train", "digits")
    from pellucid.recipe.recipe import parse_overrides

    assert load_recipe(recipe, parse_overrides(overrides)) == plan.recipe(settings, 7)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--over", "optimizer.lrr=1,2"], "unknown key 'optimizer.lrr'; did you mean 'optimizer.lr'?"),
        (["--over", "optimizer.lr=a,b"], "optimizer.lr takes a number, not 'a'"),
        (["--over", "optimizer.lr=-1..1"], "lr must"),
        (["--over", "optimizer.name=sgd,adm"], "no optimizer 'adm'; did you mean 'adam'?"),
        (["--over", "optimizer.name=adam,momentum", "--over", "optimizer.momentum=0.5,0.9"], "optimizer.momentum"),
        (["--over", "train.batch_size=0.5..2"], "train.batch_size takes a whole number, not 0.5"),
        (["--over", "optimizer.name=1..2"], "no optimizer 1"),
        (["--over", "recipe.seed=1,2"], "--over recipe.seed cannot be varied; give --seeds"),
        (["--over", "recipe.name=a,b"], "a sweep sets it by itself"),
        (["--over", "optimizer.lr"], "is not KEY=VALUES"),
        (["--over", "optimizer.lr=1,2", "--over", "optimizer.lr=3"], "is given twice"),
        (["optimizer.lr=0.1", "--over", "optimizer.lr=1,2"], "is set to one value and varied"),
        ([], "a sweep needs --over KEY=VALUES"),
        (["--seeds", "0..x"], "--seeds"),
        (["--seeds", "1,1"], "--seeds: 1 is given twice"),
        (["--seeds", "a,b"], "--seeds must be different whole numbers"),
        (["--seeds", "0..1", "--trials", "0"], "--trials must be from 1"),
        (["--seeds", "0..1", "--sampler", "random"], "needs the number of --trials"),
        (["--seeds", "0..1", "--trials", "3", "--sampler", "rndom"], "did you mean 'random'?"),
        (["--seeds", "0..1", "--jobs", "0"], "jobs must be"),
        (["--seeds", "0..1", "--slurm", "tme=3"], "--slurm: no option 'tme'; did you mean 'time'?"),
        (["--over", "train.batch_size=1..200000"], "has more than 10,000 values in a grid; give --trials"),
        (["--over", "network.sizes=[64, 10],[63, 10]"], "network.sizes"),
        (["--resume", "nowhere"], "nowhere contains no sweep"),
    ],
)
def test_an_invalid_plan_is_reported_in_one_line_and_leaves_no_folder(
    words: list[str], message: str, cli: Cli, tmp_path: Path
):
    begin = [] if "--resume" in words else ["digits", "data.validation=0.1", "--out", str(tmp_path / "found")]
    assert message in cli("sweep", *begin, *words).error_line
    assert not (tmp_path / "found").exists()


def test_a_recipe_without_validation_images_is_refused(cli: Cli, tmp_path: Path):
    out = str(tmp_path / "found")
    assert "add data.validation=0.1" in cli("sweep", "digits", "--seeds", "0..1", "--out", out).error_line


def test_the_error_for_a_missing_optuna_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(planning, "find_spec", lambda name: None)
    with pytest.raises(PellucidError, match=r"pip install 'pellucid\[tune\]', or give --sampler random"):
        digits_plan({"optimizer.lr": "0.1,0.2"}, trials=3)
    with pytest.raises(PellucidError, match="leave out --prune"):
        digits_plan({"optimizer.lr": "0.1,0.2"}, prune=True)
    digits_plan({"optimizer.lr": "0.1,0.2"}, trials=3, sampler="random")
