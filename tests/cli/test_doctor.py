"""`pellucid doctor` on runs and models."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pellucid.combine import Sequential
from pellucid.doctor import Diagnosis, diagnose
from pellucid.doctor.checks import CHECKS
from pellucid.doctor.intervention import MeasuredEffect
from pellucid.layers import Dense, Flatten
from pellucid.model import Model
from pellucid.recipe.doctor_case import case_of_run
from tests.cli.conftest import Say
from tests.data.quality.photos import file_of, photo
from tests.doctor import told
from tests.reports import without_report

NAMES = {check.name for check in CHECKS}


@pytest.fixture(scope="module")
def ill(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run at so high a rate that its units die."""
    from pellucid.recipe.job import train

    out = tmp_path_factory.mktemp("ill")
    with without_report():
        return train("digits", out=out, progress=False, **{"train.epochs": 2, "optimizer.lr": 0.3}).path


@pytest.fixture(scope="module")
def diagnosis(ill: Path) -> Diagnosis:
    """The diagnosis of that run."""
    return diagnose(case_of_run(ill))


@pytest.fixture
def examined(diagnosis: Diagnosis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command print that diagnosis, which is made once."""
    monkeypatch.setattr("pellucid.doctor.diagnose", lambda case, attempts: diagnosis)


@pytest.mark.slow
@pytest.mark.usefixtures("examined")
def test_doctor_reports_the_faults_of_a_run(say: Say, ill: Path) -> None:
    said = say("doctor", str(ill))
    assert said.code == 0
    assert "dead-units" in said.out
    assert "relu1" in said.out
    assert "  fix    " in said.out
    assert "  tried  " in said.out  # as a cause is called one only after that
    assert "--try" not in said.out


@pytest.mark.slow
def test_the_diagnosis_of_an_interrupted_run_begins_with_how_to_resume_it(say: Say, ill: Path, tmp_path: Path) -> None:
    cut = Path(shutil.copytree(ill, tmp_path / "cut"))
    (cut / "results.json").unlink()
    rows = (cut / "metrics.csv").read_text().splitlines(keepends=True)
    (cut / "metrics.csv").write_text("".join(rows[:2]))
    out = say("doctor", str(cut)).out
    assert 0 < out.index("after epoch 1 of 2") < out.index(f"pellucid train --resume {cut}`") < out.index("dead-units")


def test_a_foreign_history_is_reported_in_one_line(say: Say, ill: Path, tmp_path: Path) -> None:
    odd = Path(shutil.copytree(ill, tmp_path / "odd"))
    (odd / "metrics.csv").write_text("a,b\n1,2\n")
    assert "metrics.csv: no column 'epoch' among a, b" in say("doctor", str(odd)).complaint
    (odd / "recipe.toml").unlink()  # as `model.fit(run=...)` leaves it
    assert "metrics.csv: no column 'epoch' among a, b" in say("doctor", str(odd)).complaint


@pytest.mark.slow
@pytest.mark.usefixtures("examined")
def test_json_is_the_diagnosis(say: Say, ill: Path, tmp_path: Path) -> None:
    output = say("doctor", str(ill), "--json", "--html", "page.html").json
    assert (output["model"], output["healthy"]) == (str(ill), False)
    assert set(output["checks"]) == NAMES
    assert output["left_out"] == {}
    (dead,) = [finding for finding in output["findings"] if finding["check"] == "dead-units"]
    assert dead["path"] == "features.relu1"
    assert dead["evidence"]["dead"] > 0.4 * dead["evidence"]["units"]
    page = (tmp_path / "page.html").read_text("utf-8")
    assert page.startswith("<!doctype html>")
    assert "dead-units" in page


@pytest.mark.slow
def test_remedies_are_tried_with_try(say: Say, ill: Path) -> None:
    output = say("doctor", str(ill), "--try", "--json").json["findings"]
    tried = [one["tried"] for one in output if one["tried"]]
    assert tried
    assert any(one["accuracy"]["after"] > 0.9 for one in tried)


def test_training_checks_are_skipped_for_a_model_without_a_run(say: Say, run_folder: Path) -> None:
    weights = str(run_folder / "weights/last.safetensors")
    output = say("doctor", weights, "--json").json
    assert set(output["checks"]) | set(output["left_out"]) == NAMES
    assert "dead-units" in output["checks"]
    assert "run folder" in say("doctor", weights, "--try").complaint


@pytest.mark.slow
def test_a_folder_that_python_trained_into_is_a_model_with_a_history(say: Say, tmp_path: Path) -> None:
    from pellucid.data import load

    digits = load("digits")
    net = Sequential(flatten=Flatten(), dense=Dense(10))
    model = Model(net, preprocess={"data": "digits"})
    model.fit(digits.train, epochs=1, batch_size=32, run=tmp_path / "mine", verbose=False)
    assert say("doctor", "mine", "--json").json["checks"]


@pytest.mark.usefixtures("no_report")
def test_the_training_of_a_folder_of_pictures_is_found(
    say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs of `pellucid gestures` leave out what cannot be read, which the recipe alone does not do."""
    quick = [check for check in CHECKS if check.name in ("class-imbalance", "dead-units")]
    monkeypatch.setattr("pellucid.doctor.diagnose", lambda case, attempts: diagnose(case, attempts, quick))
    for c, name in enumerate("ab"):
        (tmp_path / "hands" / name).mkdir(parents=True)
        for k in range(6):
            (tmp_path / "hands" / name / f"{k}.png").write_bytes(file_of(photo(6 * c + k)))
    (tmp_path / "hands/a/bad.png").write_bytes(b"no")
    words = ("start.weights=", "network.width=2", "--size", "16", "train.precision=float32", "--epochs", "1")
    run = say("gestures", "train", "hands", *words, "--json").json["run"]
    output = say("doctor", run, "--json").json
    assert output["checks"]
    assert output["notes"] == []
    (Path(run) / "results.json").unlink()
    (Path(run) / "metrics.csv").unlink()
    assert f"pellucid gestures train --resume {run}`" in say("doctor", run, "--json").json["notes"][0]


MISTAKES = {
    (): "required: MODEL",
    ("nothing",): "no model 'nothing'",
    ("digits",): "is a recipe without trained weights",
    ("RUN", "--data", "mnits"): "did you mean 'mnist'",
    ("RUN", "--data", "mnist"): "pellucid data get mnist",
    ("RUN", "--html", "nowhere/page.html"): "does not exist",
    ("RUN", "--tyr"): "did you mean '--try'?",
    (".",): "contains no weights/last.safetensors",
    ("broken",): "is not TOML",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_invalid_arguments_are_refused(say: Say, run_folder: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/recipe.toml").write_text("not toml")
    given = [str(run_folder) if word == "RUN" else word for word in words]
    assert MISTAKES[words] in say("doctor", *given).complaint


def test_effects_are_shown_and_written_into_the_run_folder(
    say: Say, ill: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(ill, tmp_path / "measured"))
    effect = MeasuredEffect("learning-rate", "a lower rate", "recall", (0.25,), (0.75,), 0.4, 0.6, "cause", 40, 0)

    def examined(task: Any, case: Any, attempts: bool, device: Any, show: Callable[[str], object]) -> Diagnosis:
        show(f"cause: {effect}")
        return replace(told.ill(), effects=(effect,))

    monkeypatch.setattr("pellucid.doctor.examined", examined)
    said = say("doctor", str(folder))
    assert said.out.startswith(f"{folder}: Go slower & start lower. Measured: a lower rate: recall 0.25")
    assert "cause: a lower rate: recall 0.25" in said.err
    written = json.loads((folder / "experiments.json").read_text("utf-8"))
    assert [(one["does"], one["before"], one["after"]) for one in written] == [("a lower rate", [0.25], [0.75])]
