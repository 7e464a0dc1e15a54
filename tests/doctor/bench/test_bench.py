"""The benchmark of the doctor: the cases that it plans, resuming, and its counts."""

import json
import subprocess
from pathlib import Path

import pytest
import torch
from scipy.stats import binomtest

from benchmarks.doctor import report
from benchmarks.doctor.fault import Fault
from benchmarks.doctor.healthy import HEALTHY
from benchmarks.doctor.material import material
from benchmarks.doctor.plan import Job, faults, plan_jobs, select_faults
from benchmarks.doctor.settings import SETTINGS
from benchmarks.doctor.store import Store, commit, fingerprint
from benchmarks.doctor.tally import by_fault, count_alarms, count_faults
from benchmarks.doctor.trial import run_job
from pellucid.data import Dataset
from pellucid.doctor.checks import CHECKS
from pellucid.metrics.bootstrap import wilson

pytestmark = pytest.mark.slow

WIDE_FAULT = Fault("dead-units", "too fast", lambda setting: setting.train())
NARROW_FAULT = Fault("leakage", "copies", lambda setting: setting.train(), ("digits-relu", "mnist-conv", "signs-norm"))


def record(fault: str, names: list[str], causes: list[str], about: str = "so", **more: object) -> dict:
    base = {"key": "k", "fault": fault, "about": about, "setting": "digits-relu", "seed": 1}
    return {**base, "names": names, "causes": causes, "training": 1.0, "doctor": 2.0, **more}


def failed_record(fault: str) -> dict:
    return {"key": f"{fault}|7", "fault": fault, "about": "so", "setting": "mnist-conv", "seed": 1, "error": "E: no"}


RECORDS = [
    record("dead-units", ["dead-units", "useless-maps"], ["dead-units"]),
    record("dead-units", ["learning-rate-too-high", "dead-units"], ["learning-rate-too-high"]),
    record("dead-units", ["learning-rate-too-high"], ["learning-rate-too-high"]),
    failed_record("dead-units"),
    record("leakage", ["leakage"], ["leakage"], "copies"),
    *(record("", [], [], "") for _ in range(18)),
    record("", ["overfitting"], ["overfitting"], ""),
    failed_record(""),
]


def test_every_fault_gets_its_cases_and_as_many_are_healthy() -> None:
    jobs = plan_jobs([WIDE_FAULT, NARROW_FAULT], seeds=2, first_seed=100)
    jobs_by_fault = {name: [job for job in jobs if job.fault == name] for name in ("dead-units", "leakage", "")}
    assert (len(jobs_by_fault["dead-units"]), len(jobs_by_fault["leakage"]), len(jobs_by_fault[""])) == (16, 10, 200)
    assert {job.setting for job in plan_jobs([NARROW_FAULT], seeds=1, first_seed=0, healthy=0)[:3]} == set(
        NARROW_FAULT.settings
    )
    assert {job.setting for job in jobs_by_fault["leakage"]} == set(NARROW_FAULT.settings)
    assert {job.setting for job in jobs_by_fault[""]} == {setting.name for setting in HEALTHY}
    assert len({job.key for job in jobs}) == len(jobs)
    many_jobs = plan_jobs([WIDE_FAULT], seeds=30, first_seed=0)
    assert sum(not job.fault for job in many_jobs) == 240
    assert len(plan_jobs([WIDE_FAULT], seeds=2, first_seed=0, healthy=3)) == 19


@pytest.mark.parametrize("fault", [WIDE_FAULT, NARROW_FAULT])
def test_each_case_of_a_fault_has_a_seed_of_its_own(fault: Fault) -> None:
    jobs = plan_jobs([fault], seeds=1, first_seed=100)
    assert [job.seed for job in jobs if job.fault] == list(range(100, 110))
    healthy = [job.seed for job in jobs if not job.fault]
    assert healthy == list(range(100, 300))


def test_the_seed_selects_the_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Dataset.from_arrays(torch.arange(50, dtype=torch.uint8).reshape(50, 1, 1, 1), torch.arange(50) // 5)
    monkeypatch.setattr("benchmarks.doctor.material.load_parts", lambda name: (dataset, dataset))
    samples = [material("signs", seed)[0] for seed in (1, 1, 2)]
    assert torch.equal(samples[0].x, samples[1].x)
    assert not torch.equal(samples[0].x, samples[2].x)
    assert all(len(part) == 40 and part.y.equal(part.y.sort().values) for part in samples)  # sorted by class


def test_a_fault_of_some_settings_has_an_exclusion_reason() -> None:
    for fault in faults():
        assert (len(fault.settings) < len(SETTINGS)) == bool(fault.exclusion_reason), (fault.name, fault.about)


def test_healthy_trainings_have_more_settings_than_faulty_ones() -> None:
    names = [setting.name for setting in HEALTHY]
    assert len(set(names)) == len(names)
    assert set(names) > {setting.name for setting in SETTINGS}


@pytest.mark.parametrize(
    "name", ["warm-up and cosine", "30 clusters", "frozen features", "numbers (N, 1)", "numbers (N,)"]
)
def test_healthy_trainings_of_other_kinds_learn(name: str) -> None:
    case = next(setting for setting in HEALTHY if setting.name == name).replace(seed=3).train()
    assert case.history is not None
    assert not case.stopped
    losses = [row["val_loss"] for row in case.history.rows]
    assert losses[-1] < 0.6 * losses[0]
    assert (case.train.y.dim(), case.classifies) == (1 if "N, 1" not in name else 2, "numbers" not in name)
    assert bool(case.model.frozen) == (name == "frozen features")


def test_faults_are_unique_and_name_checks() -> None:
    known = faults()
    by_experiments = {
        "learning-rate-too-high", "learning-rate-too-low", "shifted-labels", "batch-norm-tiny-batches",
        "examples-in-order",
    }  # fmt: skip
    assert {fault.name for fault in known} <= {check.name for check in CHECKS} | by_experiments
    assert len({(fault.name, fault.about) for fault in known}) == len(known)
    names = {setting.name for setting in SETTINGS}
    assert all(fault.settings and set(fault.settings) <= names for fault in known)
    assert select_faults(known, ["leakage"]) == [fault for fault in known if fault.name == "leakage"]
    assert not [fault.about for fault in known if "|" in fault.about]  # a | would break the tables


@pytest.mark.parametrize(("hits", "cases"), [(0, 10), (1, 10), (9, 10), (10, 10), (190, 200), (0, 200)])
def test_intervals_are_wilsons(hits: int, cases: int) -> None:
    expected = binomtest(hits, cases).proportion_ci(0.95, method="wilson")
    assert wilson(hits, cases) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_tallies_count_named_faults_and_alarms() -> None:
    dead_units, leakage = by_fault([entry for entry in RECORDS if entry["fault"]])
    assert (dead_units.cases, dead_units.named, dead_units.cause, dead_units.first, dead_units.errors) == (
        4,
        2,
        1,
        1,
        1,
    )
    assert dead_units.others == {"learning-rate-too-high": 2, "useless-maps": 1}
    assert (leakage.cases, leakage.named, leakage.cause, leakage.first) == (1, 1, 1, 1)
    all_faults = count_faults([entry for entry in RECORDS if entry["fault"]])
    assert (all_faults.cases, all_faults.named, all_faults.cause, all_faults.first) == (5, 3, 2, 2)
    healthy = count_alarms([entry for entry in RECORDS if not entry["fault"]])
    assert (healthy.cases, healthy.alarmed, healthy.errors, healthy.checks) == (20, 2, 1, {"overfitting": 1})


def test_the_page_contains_the_counts(tmp_path: Path) -> None:
    report.write(RECORDS, tmp_path, "python -m benchmarks.doctor", "a machine", "abc, commit def")
    page = (tmp_path / "doctor.md").read_text("utf-8")
    assert "**Of 5 faults 60.0 % are named** (23.1 to 88.2 %), 40.0 % as a cause and 40.0 % first." in page
    assert "**Of 20 healthy trainings 10.0 % get any finding** (2.8 to 30.1 %), 10.0 % any cause." in page
    assert "| dead-units | 4 | 50.0 % | 25.0 % | 25.0 % |" in page
    assert "| leakage | 1 | 100.0 % | 100.0 % | 100.0 % |" in page
    assert "| overfitting | 1 (5.0 %) |" in page
    assert "- dead-units (so) in mnist-conv, seed 1: E: no" in page
    assert "with a machine; code abc, commit def." in page
    page_json = json.loads((tmp_path / "doctor.json").read_text("utf-8"))
    assert page_json["faults"]["named"] == 3
    assert page_json["healthy"]["interval"] == pytest.approx(wilson(2, 20), abs=1e-6)
    assert len(page_json["cases"]) == len(RECORDS)


def test_an_interrupted_bench_resumes(tmp_path: Path) -> None:
    store = Store(tmp_path, "abc")
    store.add({"key": "a", "names": []})
    store.add({"key": "b", "error": "E"})
    with store.path.open("a") as file:
        file.write('{"key": "c", "na')
    resumed = Store(tmp_path, "abc")
    assert set(resumed.records) == {"a"}  # failed and truncated records are measured again
    assert resumed.records_of(["b", "a"]) == [{"key": "a", "names": []}]
    assert not Store(tmp_path, "other").records


def test_changed_code_has_another_fingerprint(tmp_path: Path) -> None:
    for folder in ("pellucid", "benchmarks/doctor"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "pellucid/a.py").write_text("1")
    first_fingerprint = fingerprint(tmp_path)
    assert first_fingerprint == fingerprint(tmp_path)
    (tmp_path / "pellucid/a.py").write_text("2")
    assert fingerprint(tmp_path) != first_fingerprint


def test_the_commit_is_reported_where_git_knows_it(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        process = subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *arguments], capture_output=True, text=True, check=True
        )
        return process.stdout.strip()

    package = tmp_path / "pellucid"
    package.mkdir()
    (package / "a.py").write_text("1")
    git("init", "-q")
    assert commit(tmp_path) == ""  # nothing is committed yet
    git("add", ".")
    git("commit", "-qm", "Begin")
    assert commit(tmp_path) == git("rev-parse", "--short=12", "HEAD")
    (tmp_path / "notes.md").write_text("1")  # not code
    assert "changes" not in commit(tmp_path)
    (package / "a.py").write_text("2")
    assert commit(tmp_path).endswith(" with changes")
    assert commit(package) == ""


def test_a_record_is_stored_as_json_with_null_for_nan(tmp_path: Path) -> None:
    store = Store(tmp_path, "abc")
    store.add({"key": "a", "findings": [["c", "p", {"x": float("nan"), "y": (1, 2.5)}]]})
    assert Store(tmp_path, "abc").records["a"]["findings"] == [["c", "p", {"x": None, "y": [1, 2.5]}]]


def test_a_case_is_trained_and_examined() -> None:
    result = run_job(Job("", "", "digits-relu", 0))
    assert "error" not in result, result["error"]
    assert (result["fault"], result["setting"], result["seed"]) == ("", "digits-relu", 0)
    assert result["checks"] == len(CHECKS)
    assert "StopIteration" in run_job(Job("", "", "no such setting", 0))["error"]
