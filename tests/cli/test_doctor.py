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
from pellucid.doctor.run_case import case_of_run
from pellucid.layers import Dense, Flatten
from pellucid.model import Model
from tests.cli.conftest import Cli
from tests.data.quality.photos import file_of, photo
from tests.doctor import example_diagnoses
from tests.reports import without_report

CHECK_NAMES = {check.name for check in CHECKS}


@pytest.fixture(scope="module")
def faulty_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose learning rate is so high that it hardly learns."""
    from pellucid.recipe.job import train

    out = tmp_path_factory.mktemp("ill")
    with without_report():
        return train("digits", out=out, progress=False, **{"train.epochs": 2, "optimizer.lr": 0.3}).path


@pytest.fixture(scope="module")
def diagnosis(faulty_run: Path) -> Diagnosis:
    """The diagnosis of `faulty_run`."""
    return diagnose(case_of_run(faulty_run))


@pytest.fixture
def examined(diagnosis: Diagnosis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the command print `diagnosis`, which is computed once for all tests."""
    monkeypatch.setattr("pellucid.doctor.examined", lambda *arguments: diagnosis)


@pytest.mark.slow
@pytest.mark.usefixtures("examined")
def test_doctor_reports_the_faults_of_a_run(cli: Cli, faulty_run: Path) -> None:
    result = cli("doctor", str(faulty_run))
    assert result.code == 0
    assert result.out.startswith(f"{faulty_run}: Lower the learning rate")
    assert "That it helps is certain, since the gain is " in result.out  # a cause only after its fix was tried
    assert "Underfitting in the training data: goes away with learning rate too high." in result.out
    assert "--json" in result.out  # which has the measurements
    assert "--try" not in result.out


@pytest.mark.slow
def test_the_diagnosis_of_an_interrupted_run_says_how_to_resume_it(cli: Cli, faulty_run: Path, tmp_path: Path) -> None:
    run_copy = Path(shutil.copytree(faulty_run, tmp_path / "cut"))
    (run_copy / "results.json").unlink()
    rows = (run_copy / "metrics.csv").read_text().splitlines(keepends=True)
    (run_copy / "metrics.csv").write_text("".join(rows[:2]))
    out = cli("doctor", str(run_copy)).out
    assert 0 < out.index("after epoch 1 of 2") < out.index(f"pellucid train --resume {run_copy}`")


def test_a_foreign_history_is_reported_in_one_line(cli: Cli, faulty_run: Path, tmp_path: Path) -> None:
    run_copy = Path(shutil.copytree(faulty_run, tmp_path / "odd"))
    (run_copy / "metrics.csv").write_text("a,b\n1,2\n")
    assert "metrics.csv: no column 'epoch' among a, b" in cli("doctor", str(run_copy)).error_line
    (run_copy / "recipe.toml").unlink()  # `model.fit(run=...)` writes no recipe
    assert "metrics.csv: no column 'epoch' among a, b" in cli("doctor", str(run_copy)).error_line


@pytest.mark.slow
@pytest.mark.usefixtures("examined")
def test_json_is_the_diagnosis(cli: Cli, faulty_run: Path, tmp_path: Path) -> None:
    output = cli("doctor", str(faulty_run), "--json", "--html", "page.html").json
    assert (output["model"], output["healthy"]) == (str(faulty_run), False)
    assert set(output["checks"]) == CHECK_NAMES
    assert {*output["left_out"]} == {"further-causes"}
    (underfitting,) = [finding for finding in output["findings"] if finding["check"] == "underfitting"]
    assert underfitting["path"] == "train"
    evidence = underfitting["evidence"]
    assert evidence["train_accuracy"] < evidence["accuracy_of_a_simple_classifier_on_new_examples"]
    page = (tmp_path / "page.html").read_text("utf-8")
    assert page.startswith("<!doctype html>")
    assert "underfitting" in page


@pytest.mark.slow
def test_remedies_are_tried_with_try(cli: Cli, faulty_run: Path) -> None:
    output = cli("doctor", str(faulty_run), "--try", "--json").json["findings"]
    tried = [entry["tried"] for entry in output if entry["tried"]]
    assert tried
    assert any(min(entry["after"]) > 0.9 for entry in tried)


def test_training_checks_are_skipped_for_a_model_without_a_run(cli: Cli, run_folder: Path) -> None:
    weights = str(run_folder / "weights/last.safetensors")
    output = cli("doctor", weights, "--json").json
    assert set(output["checks"]) | set(output["left_out"]) == CHECK_NAMES
    assert "wrong-gradient" in output["checks"]
    assert "run folder" in cli("doctor", weights, "--try").error_line


@pytest.mark.slow
def test_a_folder_that_python_trained_into_is_a_model_with_a_history(cli: Cli, tmp_path: Path) -> None:
    from pellucid.data import load

    digits = load("digits")
    net = Sequential(flatten=Flatten(), dense=Dense(10))
    model = Model(net, preprocess={"data": "digits"})
    model.fit(digits.train, epochs=1, batch_size=32, run=tmp_path / "mine", verbose=False)
    assert cli("doctor", "mine", "--json").json["checks"]


@pytest.mark.usefixtures("no_report")
def test_the_training_of_a_folder_of_pictures_is_found(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs of `pellucid gestures` skip unreadable pictures, as their recipe says."""
    quick = [check for check in CHECKS if check.name in ("class-imbalance", "wrong-gradient")]
    monkeypatch.setattr("pellucid.doctor.diagnose", lambda case, attempts: diagnose(case, attempts, quick))
    for c, name in enumerate("ab"):
        (tmp_path / "hands" / name).mkdir(parents=True)
        for k in range(6):
            (tmp_path / "hands" / name / f"{k}.png").write_bytes(file_of(photo(6 * c + k)))
    (tmp_path / "hands/a/bad.png").write_bytes(b"no")
    words = ("start.weights=", "network.width=2", "--size", "16", "train.precision=float32", "--epochs", "1")
    run = cli("gestures", "train", "hands", *words, "--json").json["run"]
    assert cli("doctor", run).code == 0  # the pictures are those that the run was trained on
    output = cli("doctor", run, "--data", "hands", "--json").json
    assert output["checks"]
    assert output["notes"] == []
    (Path(run) / "results.json").unlink()
    (Path(run) / "metrics.csv").unlink()
    assert f"pellucid train --resume {run}`" in cli("doctor", run, "--data", "hands", "--json").json["notes"][0]


MESSAGES = {
    (): "required: MODEL",
    ("nothing",): "no model 'nothing'",
    ("digits",): "is a recipe without trained weights",
    ("RUN", "--data", "mnits"): "did you mean 'mnist'",
    ("RUN", "--data", "mnist"): "pellucid data get mnist",
    ("RUN", "--html", "nowhere/page.html"): "does not exist",
    ("RUN", "--budget", "-1"): "the doctor's budget must be a number of at least 0, not -1.0",
    ("RUN", "--tyr"): "did you mean '--try'?",
    (".",): "contains no weights/last.safetensors",
    ("broken",): "is not TOML",
}


@pytest.mark.parametrize("words", MESSAGES)
def test_invalid_arguments_are_refused(cli: Cli, run_folder: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/recipe.toml").write_text("not toml")
    arguments = [str(run_folder) if word == "RUN" else word for word in words]
    assert MESSAGES[words] in cli("doctor", *arguments).error_line


def test_effects_are_shown_and_written_into_the_run_folder(
    cli: Cli, faulty_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(faulty_run, tmp_path / "measured"))
    effect = MeasuredEffect("learning-rate", "a lower rate", "recall", (0.25,), (0.75,), 0.4, 0.6, "cause", 40, 0)

    def examined(
        task: Any, case: Any, attempts: bool, device: Any, show: Callable[[str], object], budget: float | None
    ) -> Diagnosis:
        assert budget == 12.5
        show(f"cause: {effect}")
        return replace(example_diagnoses.diagnosis_with_findings(), intervention_effects=(effect,))

    monkeypatch.setattr("pellucid.doctor.examined", examined)
    result = cli("doctor", str(folder), "--budget", "12.5")
    assert result.out.startswith(f"{folder}: Go slower & start lower: with a tenth of the learning rate, ")
    assert "cause: with a lower rate, the recall is 0.75 instead of 0.25; the gain is 0.40 to 0.60" in result.err
    written = json.loads((folder / "experiments.json").read_text("utf-8"))
    assert [(entry["does"], entry["before"], entry["after"]) for entry in written] == [("a lower rate", [0.25], [0.75])]
