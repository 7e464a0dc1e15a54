"""The messages of the view Train: trainings are started, controlled and resumed, and their epochs are shown."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from pellucid import Model
from pellucid.cli.main import main
from pellucid.data import load
from pellucid.studio.runs import Runs, process_of
from pellucid.studio.view import Library
from tests.studio import talk
from tests.studio.talk import Tab

LONG = ("train.epochs=20000", "optimizer.lr=0.001")  # lasts longer than a test
SHORT = ("train.epochs=6", "optimizer.lr=0.01", "recipe.seed=2")


def tab_of(folder: Path) -> Tab:
    tab = Tab()
    tab.session.library = Library(talk.LIBRARY.names, talk.LIBRARY.load, Runs(folder))
    return tab


def wait(tab: Tab, run: str, is_done: Callable[[Any], Any], seconds: float = 60) -> Any:
    """Request a run's state until `is_done` of it is true; return the state."""
    end = time.monotonic() + seconds
    while not is_done(state := tab.ask("train.state", run=run)):
        assert time.monotonic() < end, state
        time.sleep(0.05)
    return state


def status(*names: str) -> Callable[[Any], bool]:
    return lambda state: state["status"] in names


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tab, str, Path]]:
    folder = tmp_path_factory.mktemp("runs")
    tab = tab_of(folder)
    run = tab.ask("train.start", recipe="digits", settings=SHORT)["run"]
    wait(tab, run, status("finished", "failed"))
    yield tab, run, folder / run
    tab.session.library.runs.close()


def test_recipes_and_runs_are_listed(tmp_path: Path) -> None:
    tab = tab_of(tmp_path)
    opened = tab.ask("train.open")
    assert {path.stem for path in Path("recipes").glob("*.toml")} <= {recipe["name"] for recipe in opened["recipes"]}
    assert opened["runs"] == []
    fields = {field_["key"]: field_ for field_ in tab.ask("train.recipe", recipe="digits")["fields"]}
    assert fields["optimizer.lr"]["value"] == 0.003
    assert fields["train.monitor"]["choices"] == ["auto", "val_loss", "val_accuracy", "val_miou", "val_ap"]
    assert fields["network.sizes"]["value"] == "[64, 64, 10]"
    assert fields["augment.flip"]["value"] is False
    assert not {"recipe.name", "recipe.then", "start.weights"} & set(fields)


@pytest.mark.parametrize("recipe", sorted(path.stem for path in Path("recipes").glob("*.toml")))
def test_every_value_of_a_form_is_accepted_as_a_setting(recipe: str, tmp_path: Path) -> None:
    tab = tab_of(tmp_path)
    first = tab.ask("train.recipe", recipe=recipe)["fields"]
    text = {True: "true", False: "false"}
    skipped = [one["key"] for one in first if "/" in str(one["value"])]  # fields with the path of a data set
    settings = [f"{one['key']}={text.get(one['value'], one['value']) if isinstance(one['value'], bool) else one['value']}" for one in first if one["key"] not in skipped]  # fmt: skip  # noqa: E501
    assert len(settings) > 30
    again = tab.ask("train.recipe", recipe=recipe, settings=settings[:100])
    assert again.get("fields") == first, again


def test_a_changed_type_has_other_settings_and_invalid_ones_are_named(tmp_path: Path) -> None:
    tab = tab_of(tmp_path)
    result = tab.ask("train.recipe", recipe="digits", settings=["optimizer.name=momentum", "loss.name=quadratic"])
    fields = {field_["key"]: field_["value"] for field_ in result["fields"]}
    assert fields["optimizer.name"] == "momentum"
    assert ("optimizer.momentum" in fields, "optimizer.beta1" in fields) == (True, False)
    assert fields["loss.name"] == "quadratic"
    choices = {field_["key"]: field_["choices"] for field_ in result["fields"] if field_["is_part"]}
    assert {"sgd", "adam"} < set(choices["optimizer.name"])
    assert {"cosine", "constant"} < set(choices["schedule.name"])
    assert set(choices) == {f"{table}.name" for table in ("loss", "optimizer", "schedule", "regularizer")} | {
        "network.model"
    }
    for setting, message in (
        ("optimizer.name=adm", "did you mean 'adam'?"),
        ("train.precision=float8", "float8"),
        ("network.sizes=[64, ten]", "sizes"),
        ("train.frozen=['../x']", "names a file"),
    ):
        answer = tab.ask("train.recipe", recipe="digits", settings=[setting])
        assert answer["kind"] == "error"
        assert message in answer["message"]


@pytest.mark.parametrize(
    ("recipe", "settings", "message"),
    [
        ("digts", [], "digits"),
        ("../recipes/digits", [], "no recipe"),
        ("digits", ["optimizer.lr=fast"], "optimizer.lr"),
        ("digits", ["optimizer.rate=1"], "optimizer.rate"),
        ("digits", ["train.epochs"], "key=value"),
        ("digits", ["recipe.name=../../x"], "recipe.name"),
        ("digits", ["data.name=/etc"], "no data set"),
        ("digits", ["start.weights=secret"], "start.weights"),
        ("digits", ["network.model=../x"], "network.model"),
        ("digits", ["train.epochs=1"] * 101, "settings"),
    ],
)
def test_trainings_that_cannot_be_started_are_reported_in_one_line(
    recipe: str, settings: list[str], message: str, tmp_path: Path
) -> None:  # fmt: skip
    answer = tab_of(tmp_path).ask("train.start", recipe=recipe, settings=settings)
    assert answer["kind"] == "error"
    assert message in answer["message"]
    assert "\n" not in answer["message"]
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("run", ["", ".", "..", "../runs", "/etc", "digits-1/weights", "\0"])
def test_only_runs_of_the_folder_are_opened(run: str, tmp_path: Path) -> None:
    answer = tab_of(tmp_path).ask("train.state", run=run)
    assert answer["kind"] == "error"
    assert "no run" in answer["message"]


@pytest.mark.heavy
@pytest.mark.slow
def test_the_curves_are_those_of_the_run_folder(finished: tuple[Tab, str, Path]) -> None:
    tab, run, path = finished
    state = tab.ask("train.state", run=run)
    assert state["status"] == "finished"
    with (path / "metrics.csv").open() as file:
        rows = [*csv.DictReader(file)]
    assert [row["val_loss"] for row in state["rows"]] == [float(row["val_loss"]) for row in rows]
    with (path / "layers.csv").open() as file:
        layers = [*csv.DictReader(file)]
    assert [row["update_ratio"] for row in state["layers"]] == [float(row["update_ratio"]) for row in layers]
    later = tab.ask("train.state", run=run, since=4)
    assert [row["epoch"] for row in later["rows"]] == [5, 6]
    assert {row["epoch"] for row in later["layers"]} == {5, 6}
    assert state["weights"] == [0, 1, 2, 3, 4, 5, 6]
    assert state["pictures"] == [1, 2, 4, 6]


@pytest.mark.heavy
@pytest.mark.slow
def test_the_confusion_matrix_of_an_epoch_and_its_pictures_are_shown(finished: tuple[Tab, str, Path]) -> None:
    tab, run, path = finished
    test = load("digits").test
    for epoch in (0, 6):
        params = Model.load(path / "weights" / f"epoch-{epoch}.safetensors").weights
        hidden = torch.relu(test.x.flatten(1) @ params["features.dense1.weight"].T + params["features.dense1.bias"])
        read = (hidden @ params["head.scores.weight"].T + params["head.scores.bias"]).argmax(1)
        counts = np.zeros((10, 10), int)
        np.add.at(counts, (test.y.numpy(), read.numpy()), 1)
        answer = tab.ask("train.confusion", run=run, epoch=epoch)
        assert answer["counts"] == counts.tolist()
        t, p = divmod(int(counts.argmax()), 10)
        cell = tab.ask("train.cell", run=run, epoch=epoch, true=t, predicted=p)
        assert cell["count"] == counts[t, p]
        expected = (test.x[(test.y == t) & (read == p)][:24] * 255).round().to(torch.uint8)
        assert torch.equal(cell["tensors"]["images"], expected)
    assert json.loads((path / "confusion.json").read_text())["counts"] == counts.tolist()


@pytest.mark.slow
def test_the_filters_and_pictures_of_an_epoch_are_shown(finished: tuple[Tab, str, Path]) -> None:
    tab, run, path = finished
    answer = tab.ask("train.maps", run=run, epoch=2, n=1)
    weight = Model.load(path / "weights" / "epoch-2.safetensors").weights["features.dense1.weight"]
    assert torch.equal(answer["tensors"]["filters"], weight.view(-1, 8, 8)[:16])
    png = bytes(tab.ask("train.picture", run=run, epoch=4)["tensors"]["png"].tolist())
    assert png == (path / "pictures" / "epoch-0004.png").read_bytes()
    for kind in ("train.maps", "train.confusion", "train.picture"):
        assert tab.ask(kind, run=run, epoch=3 if kind == "train.picture" else 99)["kind"] == "error"


@pytest.mark.heavy
@pytest.mark.slow
def test_the_doctor_and_a_comparison_are_shown(finished: tuple[Tab, str, Path]) -> None:
    tab, run, _ = finished
    other = tab.ask("train.start", recipe="digits", settings=[*SHORT, "train.batch_size=64"])["run"]
    end = time.monotonic() + 120
    while (answer := tab.ask("train.findings", run=run))["working"]:
        assert answer["diagnosis"] is None
        assert time.monotonic() < end
        time.sleep(0.1)
    assert answer["epochs"] == 6
    result = answer["diagnosis"]
    assert not tab.ask("train.findings", run=run)["working"]  # the diagnosis is up to date
    assert len(result["checks"]) > 30
    wait(tab, other, status("finished"))
    compared = tab.ask("train.compare", runs=[run, other])
    assert compared["recipes"] == [["train.batch_size", "32", "64"]]


@pytest.mark.slow
def test_a_broken_run_is_named_and_the_others_are_compared(finished: tuple[Tab, str, Path], tmp_path: Path) -> None:
    for name in ("first", "broken", "second"):
        shutil.copytree(finished[2], tmp_path / name)
    (tmp_path / "broken" / "results.json").write_text("{")
    compared = tab_of(tmp_path).ask("train.compare", runs=["first", "broken", "second"])
    assert compared["runs"] == ["first", "second"]
    assert [*compared["faults"]] == ["broken"]
    assert "results.json cannot be read" in compared["faults"]["broken"]
    assert all(len(row) == 3 for row in compared["results"])
    alone = tab_of(tmp_path).ask("train.compare", runs=["broken", "first"])
    assert (alone["runs"], [*alone["faults"]], alone["recipes"]) == (["first"], ["broken"], [])


@pytest.mark.slow
def test_a_run_without_kept_epochs_shows_its_last_weights(tmp_path: Path) -> None:
    assert main(["train", "digits", "train.epochs=2", "--out", str(tmp_path)]) == 0
    tab = tab_of(tmp_path)
    state = tab.ask("train.state", run="digits-1")
    assert (state["weights"], state["trained"]) == ([2], True)
    counts = torch.tensor(tab.ask("train.confusion", run="digits-1", epoch=2)["counts"])
    assert int(counts.sum()) == len(load_digits().target) // 5


@pytest.mark.heavy
@pytest.mark.slow
def test_user_data_are_read_from_the_given_folder(tmp_path: Path) -> None:
    for name, value in (("dark", 40), ("light", 200)):
        (tmp_path / "own" / name).mkdir(parents=True)
        for number in range(20):
            image = Image.new("L", (16, 16), value + number)
            image.save(tmp_path / "own" / name / f"{number}.png")
    own = str(tmp_path / "own")
    runs = tmp_path / "runs"
    assert main(["train", "classify", own, "train.epochs=2", "train.keep=[1]", "--out", str(runs)]) == 0
    (run,) = (path.name for path in runs.iterdir())
    refused = tab_of(runs).ask("train.confusion", run=run, epoch=1)
    assert "add --data " in refused["message"]
    tab = Tab(Library(talk.LIBRARY.names, talk.LIBRARY.load, Runs(runs, [own])))
    answer = tab.ask("train.confusion", run=run, epoch=1)
    assert (answer["classes"], sum(map(sum, answer["counts"])) > 0) == (["dark", "light"], True)
    end = time.monotonic() + 300
    while (findings := tab.ask("train.findings", run=run))["kind"] != "error" and findings["working"]:
        assert time.monotonic() < end
        time.sleep(0.2)
    assert findings["kind"] != "error"


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("metrics.csv", "epoch,train_loss\n1,0.5\n2", "metrics.csv"),
        ("recipe.toml", "[train", "recipe.toml cannot be read"),
    ],
)
def test_a_damaged_file_of_a_run_is_named(name: str, text: str, message: str, tmp_path: Path) -> None:
    assert main(["train", "digits", "train.epochs=1", "--out", str(tmp_path)]) == 0
    (tmp_path / "digits-1" / name).write_text(text)
    assert message in tab_of(tmp_path).ask("train.state", run="digits-1")["message"]


@pytest.mark.heavy
@pytest.mark.slow
def test_a_training_is_paused_stepped_and_resumed_by_another_server(tmp_path: Path) -> None:
    tab = tab_of(tmp_path)
    run = tab.ask("train.start", recipe="digits", settings=LONG)["run"]
    wait(tab, run, lambda state: state["status"] == "running" and state["rows"])
    assert tab.ask("train.control", run=run, action="resume")["kind"] == "error"
    tab.ask("train.control", run=run, action="pause")
    step = wait(tab, run, status("paused"))["live"]["step"]
    time.sleep(0.5)
    assert wait(tab, run, status("paused"))["live"]["step"] == step
    for k in (1, 2):
        tab.ask("train.control", run=run, action="step")
        live = wait(tab, run, lambda state, k=k: state["live"]["step"] == step + k)["live"]
    assert {row["path"] for row in live["layers"]} > {"features.dense1.weight"}
    process = process_of(tmp_path / run)
    assert process is not None

    second = tab_of(tmp_path)
    assert second.ask("train.open")["runs"] == [run]
    assert wait(second, run, status("paused"))["live"]["pid"] == process.pid
    second.ask("train.control", run=run, action="go")
    wait(second, run, lambda state: state["live"] and state["live"]["step"] > step + 100)
    second.ask("train.control", run=run, action="stop")
    stopped = wait(second, run, status("stopped"))
    assert "resume" in stopped["message"]
    done = len(stopped["rows"])
    second.ask("train.control", run=run, action="resume")
    going = wait(second, run, lambda state: state["status"] == "running" and len(state["rows"]) > done)
    assert [row["epoch"] for row in going["rows"]] == [*range(1, len(going["rows"]) + 1)]
    second.session.library.runs.close()  # as by Ctrl-C in the server
    assert wait(second, run, status("stopped"), 1)["rows"]
    assert process_of(tmp_path / run) is None


@pytest.mark.heavy
@pytest.mark.slow
def test_a_killed_training_is_shown_as_stopped(tmp_path: Path) -> None:
    tab = tab_of(tmp_path)
    run = tab.ask("train.start", recipe="digits", settings=LONG)["run"]
    wait(tab, run, lambda state: state["rows"])
    process = process_of(tmp_path / run)
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    wait(tab, run, status("stopped", "failed"), 10)
    for name in ("lock", "studio.pid"):
        (tmp_path / run / name).write_text(f"{os.getpid()}\n")  # the process id now belongs to another process
    assert process_of(tmp_path / run) is None
    assert tab.ask("train.control", run=run, action="stop")["kind"] == "error"


@pytest.mark.heavy
@pytest.mark.slow
def test_a_training_that_cannot_start_shows_its_error(tmp_path: Path) -> None:
    tab = tab_of(tmp_path)
    run = tab.ask("train.start", recipe="digits", settings=["start.whiten=features.nothing"])["run"]
    failed = wait(tab, run, status("failed"))
    assert failed["message"].startswith("start.whiten: 'features.nothing' does not exist")
    end = time.monotonic() + 60
    while (answer := tab.ask("train.findings", run=run)).get("working"):
        assert time.monotonic() < end
        time.sleep(0.2)
    assert answer["message"] == failed["message"]


@pytest.mark.heavy
@pytest.mark.slow
def test_the_doctor_examines_a_paused_training(tmp_path: Path) -> None:
    tab = tab_of(tmp_path)
    settings = ["train.epochs=100000", "optimizer.name=sgd", "optimizer.lr=1e-07"]
    run = tab.ask("train.start", recipe="digits", settings=settings)["run"]
    wait(tab, run, lambda state: state["rows"])
    tab.ask("train.control", run=run, action="pause")
    done = len(wait(tab, run, status("paused"))["rows"])
    end = time.monotonic() + 120
    while (answer := tab.ask("train.findings", run=run))["working"]:
        assert time.monotonic() < end
        time.sleep(0.2)
    assert answer["epochs"] == done
    assert "learning-rate-too-low" in {finding["check"] for finding in answer["diagnosis"]["findings"]}
    tab.session.library.runs.close()


@pytest.mark.heavy
@pytest.mark.slow
def test_a_studio_ends_only_its_own_trainings_and_those_of_killed_studios(tmp_path: Path) -> None:
    code = """
import sys, time
from pellucid.recipe.recipe import load_recipe
from pellucid.studio.runs import Runs
runs = Runs(sys.argv[1])
print(runs.begin(load_recipe("digits", {"train.epochs": 20000, "train.keep": [0]})), flush=True)
time.sleep(600)
"""
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    run = other.stdout.readline().strip()
    try:
        tab = tab_of(tmp_path)
        wait(tab, run, lambda state: state["rows"])
        own = tab.ask("train.start", recipe="digits", settings=LONG)["run"]
        wait(tab, own, lambda state: state["rows"])
        tab.session.library.runs.close()
        assert process_of(tmp_path / own) is None
        process = process_of(tmp_path / run)
        assert process is not None
        assert (process.studio, wait(tab, run, status("running"))["status"]) == (other.pid, "running")
    finally:
        other.kill()
        other.communicate()
    tab_of(tmp_path).session.library.runs.close()
    assert process_of(tmp_path / run) is None
    assert "resume" in (tmp_path / run / "train.log").read_text()
