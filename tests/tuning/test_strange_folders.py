"""Sweeps of strangers: each of their files is checked, and refused in one line that says what to do."""

import copy
import json
import os

import pytest

from pellucid.base.errors import PellucidError
from pellucid.cli.main import main
from pellucid.recipe.recipe import load_recipe
from pellucid.tuning.folder import Outcome, TuningFolder
from pellucid.tuning.plan import make_plan
from pellucid.tuning.results import read_results

SPACE = {"optimizer.lr": "0.001..0.1:log", "train.batch_size": [16, 32], "network.sizes": [[64, 10], [64, 8, 10]]}
COMPUTED_AGAIN = "remove it, and it is computed again"
NEW_SWEEP = "begin a new sweep by --out"


@pytest.fixture
def folder(tmp_path):
    recipe = load_recipe("digits", {"data.validation": 0.2, "recipe.threads": 1})
    plan = make_plan(recipe, SPACE, trials=3, sampler="random", seeds=(0, 7))
    sweep = TuningFolder(tmp_path / "sweep")
    sweep.begin(plan, may_change_threads=False)
    settings = {"optimizer.lr": 0.01, "train.batch_size": 16, "network.sizes": [64, 10]}
    sweep.choose_settings(plan, 1, lambda: settings)
    for seed in plan.seeds:
        run = sweep.run(1, seed)
        run.path.mkdir()
        run.finish(Outcome("complete", "val_accuracy", False, 0.5, 1))
    return sweep


def trial_file(folder):
    return folder.trial_folder(1) / "trial.json"


def outcome_file(folder):
    return folder.run(1, 7).path / "outcome.json"


def read(folder):
    """Read everything, as a launcher and its page do."""
    plan = folder.plan()
    results = read_results(folder, plan)
    return json.dumps(results.to_json())


def changed(values, change):
    """Return values with changes by dotted key; `...` removes a key."""
    result = copy.deepcopy(values)
    for path, value in change.items():
        *parents, key = path.split("/")
        place = result
        for parent in parents:
            place = place[parent]
        if value is ...:
            del place[key]
        else:
            place[key] = value
    return result


CHANGES = {
    "outcome": [
        ({"state": ...}, "state is missing"),
        *(
            ({"state": state}, "state must be one of 'complete', 'pruned', 'failed', not ")
            for state in ("won", "", "Complete", None, 0, [], {}, ["complete"])
        ),
        *(({"value": value}, "value must be a number or 'null', not ") for value in ("1", [], True, {}, 1e999)),
        *(({"epoch": value}, "epoch must be a whole number, not ") for value in ("1", None, 1.5, [], True)),
        *(({"lower": value}, "lower must be true or false, not ") for value in (0, None, "false")),
        *(({"figure": value}, "figure must be text, not ") for value in (0, None, [])),
        *(({"error": value}, "error must be text, not ") for value in (0, None, {})),
        ({"other": 1}, "unknown key 'other'"),
        ({"states": "complete"}, "unknown key 'states'; did you mean 'state'?"),
    ],
    "trial": [
        ({"number": ...}, "number is missing"),
        ({"settings": ...}, "settings is missing"),
        ({"number": 2}, "does not have the number 1 and settings of optimizer.lr, train.batch_size, network.sizes"),
        ({"number": "1"}, "number must be a whole number"),
        ({"settings": {}}, "does not have the number 1 and settings of optimizer.lr"),
        ({"settings": []}, "settings must be values by name"),
        ({"settings/optimizer.lr": ...}, "does not have the number 1 and settings of optimizer.lr"),
        ({"settings/optimizer.momentum": 0.9}, "does not have the number 1 and settings of optimizer.lr"),
        ({"settings/optimizer.lr": 10.0}, "optimizer.lr is 10.0, which is not one of the sweep's values, 0.001 to 0.1"),
        ({"settings/optimizer.lr": "0.01"}, "optimizer.lr is '0.01', which is not one of the sweep's values"),
        ({"settings/optimizer.lr": None}, "optimizer.lr is None, which is not one of the sweep's values"),
        ({"settings/train.batch_size": 17}, "train.batch_size is 17, which is not one of the sweep's values, 16, 32"),
        ({"settings/train.batch_size": 16.0}, "train.batch_size is 16.0, which is not one of the sweep's values"),
        ({"settings/network.sizes": [64, 9, 10]}, "network.sizes is [64, 9, 10], which is not one of"),
        ({"other": {}}, "unknown key 'other'"),
    ],
    "definition": [
        *(({key: ...}, f"{key} is missing") for key in ("recipe", "space", "seeds", "trials", "sampler", "prune")),
        ({"format": ...}, "is damaged or of another version"),
        ({"format": 2}, "is damaged or of another version"),
        ({"recipe": ""}, "network.sizes is missing"),
        ({"recipe": "x"}, "recipe is not TOML"),
        ({"recipe": ".".join("a" * 20_000) + "=1"}, "recipe is not TOML (it has a key of more than 16 parts)"),
        ({"recipe": "[other]\n"}, "unknown table [other]"),
        ({"recipe": 3}, "recipe must be text"),
        ({"space": []}, "space must be values by name"),
        ({"space/optimizer.lr": {"values": []}}, "optimizer.lr must be at least one value"),
        ({"space/optimizer.lr": {"low": 1}}, "optimizer.lr: high is missing"),
        ({"space/optimizer.lr/low": 1.0}, "optimizer.lr must be a range of numbers"),
        ({"space/optimizer.lr/low": 0.0}, "optimizer.lr must be a range of numbers"),
        ({"space/optimizer.lr/low": -1.0}, "optimizer.lr must be a range of numbers"),
        ({"space/optimizer.lr/low": "0"}, "optimizer.lr: low must be a number"),
        ({"space/optimizer.lr/whole": True}, "optimizer.lr must be a range of numbers"),
        ({"space/optimizer.lr/step": 1}, "optimizer.lr: unknown key 'step'"),
        ({"space/no.key": {"values": [1]}}, "unknown key 'no.key'"),
        ({"space/optimizer.rate": {"values": [1]}}, "unknown key 'optimizer.rate'"),
        ({"seeds": []}, "seeds must be different whole numbers"),
        ({"seeds": [1, 1]}, "seeds must be different whole numbers"),
        ({"seeds": [-1]}, "seeds must be different whole numbers"),
        ({"seeds": ["1"]}, "seeds must be a list of whole numbers"),
        ({"trials": 0}, "trials must be from 1 to 10,000, not 0"),
        ({"trials": 10**18}, "trials must be from 1 to 10,000, not 1000000000000000000"),
        ({"trials": 2.0}, "trials must be a whole number"),
        ({"sampler": "best"}, "sampler must be one of 'grid', 'random', 'tpe'"),
        ({"sampler": "grid"}, "trials must be the size of the grid"),
        ({"prune": 0}, "prune must be true or false"),
        ({"words": [1]}, "words must be a list of texts"),
        ({"other": 1}, "unknown key 'other'"),
    ],
}  # fmt: skip
FILES = {"outcome": outcome_file, "trial": trial_file, "definition": lambda folder: folder.definition}
CASES = [(name, change, message) for name, changes in CHANGES.items() for change, message in changes]


@pytest.mark.parametrize(("name", "change", "message"), CASES)
def test_each_change_of_a_file_is_refused(name, change, message, folder):
    file = FILES[name](folder)
    read(folder)  # the original is valid
    file.write_text(json.dumps(changed(json.loads(file.read_text()), change)))
    with pytest.raises(PellucidError) as error:
        read(folder)
    text = str(error.value)
    assert str(file) in text
    assert message in text
    assert text.endswith(NEW_SWEEP if name == "definition" else COMPUTED_AGAIN)
    assert text.isprintable()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", "[" * 100_000, '{"a":' * 900 + "1" + "}" * 900])
def test_other_texts_are_refused(name, text, folder):
    file = FILES[name](folder)
    file.write_text(text)
    with pytest.raises(PellucidError) as error:
        read(folder)
    assert str(file) in str(error.value)
    assert str(error.value).isprintable()


def make_link(path):
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, make_link])
def test_files_that_are_not_regular_are_refused_at_once(name, make, folder):
    file = FILES[name](folder)
    file.unlink()
    make(file)
    with pytest.raises(PellucidError, match=r"cannot be read|contains no sweep"):
        read(folder)


@pytest.mark.parametrize("change", [{"state": "won"}, {"other": 1}, {"state": ...}])
def test_the_command_names_the_file_in_one_line(change, folder, capsys):
    file = outcome_file(folder)
    file.write_text(json.dumps(changed(json.loads(file.read_text()), change)))
    assert main(["sweep", "--resume", str(folder.path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(file) in line
    assert line.endswith(COMPUTED_AGAIN)


@pytest.mark.parametrize(
    "text", ["{}", '{"count": 1}', '{"count": "1", "step": 0}', '{"count": 1, "step": null}', "[]", '{"count": 1e99}']
)
def test_damaged_counts_of_attempts_are_refused(text, folder):
    run = folder.run(1, 0)
    (run.path / "attempts.json").write_text(text)
    with pytest.raises(PellucidError, match=r"attempts\.json.*; remove it, and it is computed again"):
        run.count_attempt(0)


def test_a_sweep_whose_recipe_lacks_later_keys_is_continued(folder):
    """Version 0.2.0 had no table [distributed], and no train.accumulate."""
    values = json.loads(folder.definition.read_text())
    recipe, _, distributed = values["recipe"].partition("[distributed]")
    assert "timeout" in distributed
    earlier = {**values, "recipe": recipe.replace("accumulate = 1\n", "")}
    assert earlier != values
    plan = folder.plan()
    folder.definition.write_text(json.dumps(earlier))
    assert folder.plan() == plan
    assert folder.begin(plan, may_change_threads=False) == plan
