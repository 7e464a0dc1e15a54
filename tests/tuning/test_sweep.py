"""Complete sweeps in worker processes."""

import json
import math
import re
import statistics
from pathlib import Path
from typing import Any

import pytest

import pellucid
from pellucid.base.errors import PellucidError
from pellucid.recipe.job import train
from pellucid.run.history import History
from pellucid.tuning.folder import TuningFolder
from pellucid.tuning.results import TuningResult, read_results
from pellucid.tuning.slurm import submit
from pellucid.tuning.worker import optuna_study
from tests.cli.conftest import Cli
from tests.pages import without_script
from tests.tuning.sweep_processes import NO_REPORT_FILE

pytestmark = [pytest.mark.slow, pytest.mark.heavy, pytest.mark.usefixtures("no_report")]
BASE: dict[str, Any] = {"data.validation": 0.2, "data.limit": 200, "train.epochs": 4}


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> TuningResult:
    """Return a sweep of two learning rates, one of which diverges, with two seeds each."""
    out = tmp_path_factory.mktemp("grid") / "found"
    over = {"optimizer.lr": [0.01, 1e38], "optimizer.name": ["sgd"]}
    return pellucid.tune("digits", over, seeds=(0, 3), jobs=2, out=out, custom=[NO_REPORT_FILE], **BASE)


def test_a_grid_trains_every_combination_with_every_seed(grid: TuningResult):
    assert [trial.settings for trial in grid.trials] == [
        {"optimizer.lr": 0.01, "optimizer.name": "sgd"},
        {"optimizer.lr": 1e38, "optimizer.name": "sgd"},
    ]
    good, bad = grid.trials
    assert (good.state, bad.state) == ("complete", "failed")
    assert [run.seed for run in good.runs] == [0, 3]
    assert "training stopped in step" in bad.error
    assert "\n" not in bad.error
    assert grid.best is good
    assert grid.counts == {"complete": 1, "pruned": 0, "failed": 1, "unfinished": 0}


def test_the_value_of_a_trial_is_the_mean_of_its_best_validation_accuracies(grid: TuningResult):
    best_accuracies = [max(row["val_accuracy"] for row in History.read(run.path).rows) for run in grid.trials[0].runs]
    assert grid.trials[0].values == best_accuracies
    assert grid.trials[0].value == pytest.approx(statistics.mean(best_accuracies), rel=1e-12)


def test_a_run_has_the_weights_of_a_training_with_the_same_settings(grid: TuningResult, tmp_path: Path):
    result = train("digits", out=tmp_path, progress=False, **BASE,
                  **{"optimizer.name": "sgd", "optimizer.lr": 0.01, "recipe.seed": 3})  # fmt: skip
    assert grid.trials[0].runs[1].results["sha256"] == result.metrics["sha256"]


def test_repeating_a_finished_sweep_trains_nothing(grid: TuningResult):
    change_times = {file: file.stat().st_mtime_ns for file in grid.folder.path.glob("trials/*/*/metrics.csv")}
    over = {"optimizer.lr": [0.01, 1e38], "optimizer.name": ["sgd"]}
    result = pellucid.tune("digits", over, seeds=(0, 3), jobs=1, out=grid.folder.path, custom=[NO_REPORT_FILE], **BASE)
    assert result.to_json() == grid.to_json()
    assert {file: file.stat().st_mtime_ns for file in change_times} == change_times


def test_another_sweep_in_the_same_folder_is_refused(grid: TuningResult):
    with pytest.raises(PellucidError, match="contains a sweep with another space, seeds, trials; choose"):
        pellucid.tune("digits", {"optimizer.lr": [0.02]}, seeds=(1, 3), out=grid.folder.path, **BASE)


def test_the_results_are_a_file_and_a_page(grid: TuningResult):
    values = json.loads(grid.folder.results.read_text())
    assert values["best"]["settings"] == {"optimizer.lr": 0.01, "optimizer.name": "sgd"}
    assert values["figure"] == "val_accuracy"
    page = without_script(grid.page.read_text())
    assert "pellucid train digits" in page
    assert "training stopped in step" in page


@pytest.mark.heavy
def test_a_search_draws_within_its_ranges_and_can_be_extended(cli: Cli, tmp_path: Path):
    words = ["digits", "data.validation=0.2", "data.limit=200", "train.epochs=1"]
    words += ["--over", "optimizer.lr=1e-3..1e-1:log", "--over", "train.batch_size=8..32", "--sampler", "random"]
    words += ["--out", str(tmp_path / "found"), "--json"]
    first_results = cli("--custom", NO_REPORT_FILE, "sweep", *words, "--trials", "3").json
    results = cli("--custom", NO_REPORT_FILE, "sweep", *words, "--trials", "5").json
    assert results["trials"][:3] == first_results["trials"]
    assert results["counts"]["complete"] == 5
    for trial in results["trials"]:
        assert 1e-3 <= trial["settings"]["optimizer.lr"] <= 1e-1
        assert trial["settings"]["train.batch_size"] in range(8, 33)
    resumed_results = cli("--custom", NO_REPORT_FILE, "sweep", "--resume", str(tmp_path / "found"), "--json").json
    assert resumed_results == results


@pytest.mark.heavy
def test_optuna_searches_and_prunes(tmp_path: Path):
    optuna = pytest.importorskip("optuna", reason="the extra tune is not installed")
    over = {"optimizer.lr": "1e-6..1e-1:log", "optimizer.name": ["sgd", "adam"]}
    overrides = {**BASE, "train.epochs": 8}
    sweep = pellucid.tune(
        "digits", over, trials=24, prune=True, jobs=2, out=tmp_path / "found", custom=[NO_REPORT_FILE], **overrides
    )
    assert sweep.counts["complete"] + sweep.counts["pruned"] == 24
    assert sweep.counts["pruned"] > 0
    for trial in sweep.trials:
        epochs = len(trial.runs[0].rows)
        assert epochs == 8 if trial.state == "complete" else 1 <= epochs < 8
    rates = [math.log10(trial.settings["optimizer.lr"]) for trial in sweep.trials]
    assert statistics.mean(rates[12:]) > statistics.mean(rates[:10]) + 0.5  # small rates learn nothing in 8 epochs
    verbosity = optuna.logging.get_verbosity()
    study = optuna_study(sweep)
    assert study.best_value == sweep.ranked[0].value
    assert optuna.logging.get_verbosity() == verbosity


@pytest.mark.long
@pytest.mark.parametrize("crash", ["os.kill(os.getpid(), 9)", "os.abort()"], ids=["killed", "aborted"])
def test_a_run_whose_worker_always_dies_fails_and_the_other_runs_complete(tmp_path: Path, crash: str):
    custom = tmp_path / "dies.py"
    custom.write_text(
        "import os\nfrom pellucid import run_report\nfrom pellucid.recipe import job\n"
        "run_report.write_report = lambda run, data: run / 'report.html'\n"
        "plain = job.Job.train\n"
        f"def train(self):\n    if self.recipe.optimizer.arguments['lr'] == 0.5: {crash}\n"
        "    return plain(self)\njob.Job.train = train\n"
    )
    over = {"optimizer.lr": [0.5, 0.01]}
    sweep = pellucid.tune("digits", over, out=tmp_path / "found", custom=[custom], **{**BASE, "train.epochs": 1})
    assert [trial.state for trial in sweep.trials] == ["failed", "complete"]
    assert "ended again and again" in sweep.trials[0].error


@pytest.mark.heavy
def test_jobs_of_submitit_complete_a_sweep(tmp_path: Path, grid: TuningResult):
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    folder = TuningFolder(tmp_path / "found")
    plan = folder.begin(grid.plan, may_change_threads=False)
    jobs = submit(folder, 2, {"time": "0:20:00"}, files=[Path(NO_REPORT_FILE)], cluster="local")
    for job in jobs:
        job.result()
    actual = read_results(folder, plan)
    assert [trial.state for trial in actual.trials] == ["complete", "failed"]
    hashes = [[run.results.get("sha256") for run in result.trials[0].runs] for result in (grid, actual)]
    assert hashes[0] == hashes[1]
    assert folder.page.is_file()  # written by the last job


@pytest.mark.heavy
def test_file_names_and_errors_are_escaped_on_the_page(tmp_path: Path):
    folder = tmp_path / "<b>$x$\x1b[31m"
    sweep = pellucid.tune("digits", {"optimizer.lr": [1e38]}, seeds=(0, 1), out=folder, custom=[NO_REPORT_FILE], **BASE)
    page = without_script(sweep.page.read_text())
    assert "<b>$" not in page
    assert "&lt;b&gt;$x$\\x1b[31m" in page
    assert not re.search("[\x00-\x08\x0b-\x1f]", page)
