"""The bench of the doctor: which cases it makes, that it goes on where it was, and its sums."""

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
from benchmarks.doctor.plan import Job, faults, planned, select_faults
from benchmarks.doctor.settings import SETTINGS
from benchmarks.doctor.store import Store, commit, fingerprint
from benchmarks.doctor.tally import alarms, by_fault, row, wilson
from benchmarks.doctor.trial import run_job
from pellucid.data import Dataset
from pellucid.doctor.checks import CHECKS

pytestmark = pytest.mark.slow

WIDE = Fault("dead-units", "too fast", lambda setting: setting.train())
NARROW = Fault("leakage", "copies", lambda setting: setting.train(), ("digits-relu", "mnist-conv", "signs-norm"))


def record(fault: str, names: list[str], causes: list[str], about: str = "so", **more: object) -> dict:
    base = {"key": "k", "fault": fault, "about": about, "setting": "digits-relu", "seed": 1}
    return {**base, "names": names, "causes": causes, "training": 1.0, "doctor": 2.0, **more}


def failed(fault: str) -> dict:
    return {"key": f"{fault}|7", "fault": fault, "about": "so", "setting": "mnist-conv", "seed": 1, "error": "E: no"}


FOUND = [
    record("dead-units", ["dead-units", "useless-maps"], ["dead-units"]),
    record("dead-units", ["learning-rate-too-high", "dead-units"], ["learning-rate-too-high"]),
    record("dead-units", ["learning-rate-too-high"], ["learning-rate-too-high"]),
    failed("dead-units"),
    record("leakage", ["leakage"], ["leakage"], "copies"),
    *(record("", [], [], "") for _ in range(18)),
    record("", ["overfitting"], ["overfitting"], ""),
    failed(""),
]


def test_every_fault_gets_its_cases_and_as_many_are_healthy() -> None:
    jobs = planned([WIDE, NARROW], seeds=2, first_seed=100)
    mine = {name: [job for job in jobs if job.fault == name] for name in ("dead-units", "leakage", "")}
    assert (len(mine["dead-units"]), len(mine["leakage"]), len(mine[""])) == (16, 10, 200)
    assert {job.setting for job in planned([NARROW], seeds=1, first_seed=0, healthy=0)[:3]} == set(NARROW.settings)
    assert {job.setting for job in mine["leakage"]} == set(NARROW.settings)
    assert {job.setting for job in mine[""]} == {setting.name for setting in HEALTHY}
    assert len({job.key for job in jobs}) == len(jobs)
    many = planned([WIDE], seeds=30, first_seed=0)
    assert sum(not job.fault for job in many) == 240
    assert len(planned([WIDE], seeds=2, first_seed=0, healthy=3)) == 19


@pytest.mark.parametrize("fault", [WIDE, NARROW])
def test_each_case_of_a_fault_has_a_seed_of_its_own(fault: Fault) -> None:
    jobs = planned([fault], seeds=1, first_seed=100)
    assert [job.seed for job in jobs if job.fault] == list(range(100, 110))
    healthy = [job.seed for job in jobs if not job.fault]
    assert healthy == list(range(100, 300))


def test_signs_differ_by_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    lots = Dataset.from_arrays(torch.arange(50, dtype=torch.uint8).reshape(50, 1, 1, 1), torch.arange(50) // 5)
    monkeypatch.setattr("benchmarks.doctor.material.load_parts", lambda name: (lots, lots))
    drawn = [material("signs", seed)[0] for seed in (1, 1, 2)]
    assert torch.equal(drawn[0].x, drawn[1].x)
    assert not torch.equal(drawn[0].x, drawn[2].x)
    assert all(len(part) == 40 and part.y.equal(part.y.sort().values) for part in drawn)  # in the order of folders


def test_what_a_fault_is_not_put_into_has_a_reason() -> None:
    for fault in faults():
        assert (len(fault.settings) < len(SETTINGS)) == bool(fault.exclusion_reason), (fault.name, fault.about)


def test_healthy_trainings_are_of_more_kinds_than_faults_are_put_into() -> None:
    names = [setting.name for setting in HEALTHY]
    assert len(set(names)) == len(names)
    assert set(names) > {setting.name for setting in SETTINGS}


@pytest.mark.parametrize(
    "name", ["warm-up and cosine", "30 clusters", "frozen features", "numbers (N, 1)", "numbers (N,)"]
)
def test_healthy_trainings_of_other_kinds_learn(name: str) -> None:
    case = next(setting for setting in HEALTHY if setting.name == name).but(seed=3).train()
    assert case.history is not None
    assert not case.stopped
    losses = [row["val_loss"] for row in case.history.rows]
    assert losses[-1] < 0.6 * losses[0]
    assert (case.train.y.dim(), case.classifies) == (1 if "N, 1" not in name else 2, "numbers" not in name)
    assert bool(case.model.frozen) == (name == "frozen features")


def test_faults_name_checks_and_are_distinguished() -> None:
    known = faults()
    assert {fault.name for fault in known} <= {check.name for check in CHECKS}
    assert len({(fault.name, fault.about) for fault in known}) == len(known)
    names = {setting.name for setting in SETTINGS}
    assert all(fault.settings and set(fault.settings) <= names for fault in known)
    assert select_faults(known, ["leakage"]) == [fault for fault in known if fault.name == "leakage"]
    assert not [fault.about for fault in known if "|" in fault.about]  # which would break the tables


@pytest.mark.parametrize(("hits", "cases"), [(0, 10), (1, 10), (9, 10), (10, 10), (190, 200), (0, 200)])
def test_intervals_are_wilsons(hits: int, cases: int) -> None:
    found = binomtest(hits, cases).proportion_ci(0.95, method="wilson")
    assert wilson(hits, cases) == pytest.approx((found.low, found.high), abs=1e-12)


def test_counts() -> None:
    dead, leak = by_fault([one for one in FOUND if one["fault"]])
    assert (dead.cases, dead.named, dead.cause, dead.first, dead.errors) == (4, 2, 1, 1, 1)
    assert dead.others == {"learning-rate-too-high": 2, "useless-maps": 1}
    assert (leak.cases, leak.named, leak.cause, leak.first) == (1, 1, 1, 1)
    every = row([one for one in FOUND if one["fault"]])
    assert (every.cases, every.named, every.cause, every.first) == (5, 3, 2, 2)
    healthy = alarms([one for one in FOUND if not one["fault"]])
    assert (healthy.cases, healthy.alarmed, healthy.errors, healthy.checks) == (20, 2, 1, {"overfitting": 1})


def test_the_page_says_what_was_counted(tmp_path: Path) -> None:
    report.write(FOUND, tmp_path, "python -m benchmarks.doctor", "a machine", "abc, commit def")
    page = (tmp_path / "doctor.md").read_text("utf-8")
    assert "**Of 5 faults 60.0 % are named** (23.1 to 88.2 %), 40.0 % as a cause and 40.0 % first." in page
    assert "**Of 20 healthy trainings 10.0 % get any finding** (2.8 to 30.1 %), 10.0 % any cause." in page
    row = "| dead-units | so | digits-relu, mnist-conv | 1 | 4 | 50.0 % | 15.0 to 85.0 % | 25.0 % | 25.0 % | "
    assert f"{row}learning-rate-too-high 2, " in page
    assert "| overfitting | 1 (5.0 %) |" in page
    assert "| digits-relu | digits | 4 | 75.0 % | 19 | 5.3 % |" in page
    assert "- dead-units|7: E: no" in page
    assert "with a machine; code abc, commit def." in page
    assert report.FURTHER in page
    found = json.loads((tmp_path / "doctor.json").read_text("utf-8"))
    assert found["faults"]["named"] == 3
    assert found["healthy"]["interval"] == pytest.approx(wilson(2, 20), abs=1e-6)
    assert len(found["cases"]) == len(FOUND)


@pytest.mark.parametrize("name", ["doctor", "mistakes"])
def test_the_committed_pages_say_how_many_further_mistakes_were_named(name: str) -> None:
    """Beside the figures of cases that the checks were written with; 8 of 29 has the stated interval."""
    page = (Path(__file__).parents[3] / "docs" / f"{name}.md").read_text("utf-8")
    assert page.index(report.FURTHER) < page.index("\n## ")
    assert [round(100 * bound) for bound in wilson(8, 29)] == [15, 46]
    assert "28 % were named (Wilson 15 to 46 %)" in report.FURTHER


def test_made_up_histories_are_in_no_total(tmp_path: Path) -> None:
    known = [one for one in faults() if one.synthetic]
    assert {one.name for one in known} == {"discriminator"}
    made_up = [record(one.name, [one.name], [one.name], one.about) for one in known]
    report.write([*FOUND, *made_up], tmp_path, "python -m benchmarks.doctor", "a machine", "abc")
    page = (tmp_path / "doctor.md").read_text("utf-8")
    assert "**Of 5 faults 60.0 % are named**" in page
    assert "| digits-relu | digits | 4 | 75.0 % | 19 | 5.3 % |" in page
    lines = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| ")]
    total = lines.index("| **all**")
    assert lines[total : total + 4] == ["| **all**", *["| discriminator"] * 2, "| **synthetic history**"]
    assert "| **synthetic history** |  | digits-relu | 1 | 2 | 100.0 % |" in page
    found = json.loads((tmp_path / "doctor.json").read_text("utf-8"))
    assert (found["faults"]["cases"], found["synthetic_histories"]["cases"]) == (5, 2)
    assert [one["check"] for one in found["by_fault"] if one["synthetic"]] == ["discriminator"] * 2


def test_the_page_says_where_a_fault_was_put_and_why_not_elsewhere(tmp_path: Path) -> None:
    fault = next(one for one in faults() if one.exclusion_reason)
    cases = [
        record(fault.name, [], [], fault.about, setting=setting, seed=100 + k)
        for k, setting in enumerate(fault.settings)
    ]
    report.write(cases, tmp_path, "python -m benchmarks.doctor", "a machine", "abc, commit def")
    page = (tmp_path / "doctor.md").read_text("utf-8")
    where = ", ".join(fault.settings)
    assert f"| {fault.about} | {where} | 100 to {99 + len(cases)} | {len(cases)} |" in page
    assert f"- Only in {where}, because {fault.exclusion_reason}: {fault.name} ({fault.about})." in page


def test_an_interrupted_bench_goes_on(tmp_path: Path) -> None:
    store = Store(tmp_path, "abc")
    store.add({"key": "a", "names": []})
    store.add({"key": "b", "error": "E"})
    with store.path.open("a") as file:
        file.write('{"key": "c", "na')
    again = Store(tmp_path, "abc")
    assert set(again.known) == {"a"}  # what failed, or was cut off, is made again
    assert again.of(["b", "a"]) == [{"key": "a", "names": []}]
    assert not Store(tmp_path, "other").known


def test_other_code_is_another_bench(tmp_path: Path) -> None:
    for folder in ("pellucid", "benchmarks/doctor"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "pellucid/a.py").write_text("1")
    before = fingerprint(tmp_path)
    assert before == fingerprint(tmp_path)
    (tmp_path / "pellucid/a.py").write_text("2")
    assert fingerprint(tmp_path) != before


def test_the_commit_is_reported_where_git_knows_it(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *who, *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    inner = tmp_path / "pellucid"
    inner.mkdir()
    (inner / "a.py").write_text("1")
    git("init", "-q")
    assert commit(tmp_path) == ""  # nothing is committed yet
    git("add", ".")
    git("commit", "-qm", "Begin")
    assert commit(tmp_path) == git("rev-parse", "--short=12", "HEAD")
    (tmp_path / "notes.md").write_text("1")  # is no code
    assert "changes" not in commit(tmp_path)
    (inner / "a.py").write_text("2")
    assert commit(tmp_path).endswith(" with changes")
    assert commit(inner) == ""


def test_a_case_is_kept_as_json(tmp_path: Path) -> None:
    store = Store(tmp_path, "abc")
    store.add({"key": "a", "findings": [["c", "p", {"x": float("nan"), "y": (1, 2.5)}]]})
    assert Store(tmp_path, "abc").known["a"]["findings"] == [["c", "p", {"x": None, "y": [1, 2.5]}]]


def test_a_case_is_trained_and_examined() -> None:
    found = run_job(Job("", "", "digits-relu", 0))
    assert "error" not in found, found["error"]
    assert (found["fault"], found["setting"], found["seed"]) == ("", "digits-relu", 0)
    assert found["checks"] == len(CHECKS)
    assert "StopIteration" in run_job(Job("", "", "no such setting", 0))["error"]
