"""The bench of the doctor: its lists, resuming, its counts and its pages, and cases of each list."""

import json
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.doctor import report
from benchmarks.doctor.__main__ import main
from benchmarks.doctor.fault import Fault
from benchmarks.doctor.lists import FAULT_MODULES, LISTS, Entry, entries
from benchmarks.doctor.material import material
from benchmarks.doctor.settings import SETTINGS
from benchmarks.doctor.store import Store, doctor_hash, slug
from benchmarks.doctor.tally import counted, has_finding, is_accused, judged, tally
from benchmarks.doctor.trial import tried
from pellucid.base.errors import PellucidError
from pellucid.data import Dataset
from pellucid.doctor.checks import CHECKS
from tests.cases import each

pytestmark = pytest.mark.slow

DOCS = Path(__file__).resolve().parents[3] / "docs"
FAULTS: list[Fault] = [
    fault for name in FAULT_MODULES for fault in import_module(f"benchmarks.doctor.faults.{name}").FAULTS
]
# Of different lists and tasks, and two that are healthy: what the doctor finds, which readers judged to be right.
CASES = (
    ("faults", "leakage, all of validation is training, digits-relu", "leakage"),
    ("usual", "softmax-over-batch", "mixed-examples"),
    ("first", "reg-relu-end", "wrong-output"),
    ("unopened", "kpt-order-differs", "key-point-order"),
    ("third", "trf-old-classes-forgotten", "class-imbalance"),
    ("fifth", "gen-vae-logits-as-images", "own-objective"),
    ("healthy", "unusual: numbers", ""),
    ("healthy", "usual: layer norm", ""),
)
POST = """
import torch
def training(seed, mistake):
    x, y = torch.randn(60, 4, generator=torch.Generator().manual_seed(seed)), torch.arange(60) % 2
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x + 3 * y[:, None], y), 20)
    network = torch.nn.Linear(4, 2)
    torch.nn.init.constant_(network.weight, float("nan") if mistake else 0.1)
    return {
        "network": network, "loss": torch.nn.CrossEntropyLoss(), "scheduler": None, "train": loader,
        "optimizer": torch.optim.Adam(network.parameters(), 0.05), "validation": loader, "epochs": 8,
    }
"""


def faulty(names: list[str], causes: list[str], **more: Any) -> dict[str, Any]:
    about = {"fault": "dead-units", "about": "so", "setting": "digits-relu"}
    key = {"list": "faults", "name": "dead-units, so, digits-relu", "seed": 1}
    return {**key, **about, "names": names, "causes": causes, "seconds": {"doctor": 2.0}, **more}


def usual(name: str, kind: str, names: list[str], causes: list[str], **more: Any) -> dict[str, Any]:
    key = {"list": "usual", "name": name, "seed": 1, "kind": kind}
    return {**key, "names": names, "causes": causes, "seconds": {"doctor": 2.0}, **more}


def healthy(name: str, names: list[str], causes: list[str]) -> dict[str, Any]:
    return {"list": "healthy", "name": name, "seed": 1, "names": names, "causes": causes, "seconds": {"doctor": 2.0}}


def failed(record: dict[str, Any]) -> dict[str, Any]:
    shown = {key: value for key, value in record.items() if key not in ("names", "causes")}
    return {**shown, "verdict": "error", "words": "E: no", "seconds": {}}


FAULT_RECORDS = [
    faulty(["dead-units", "useless-maps"], ["dead-units"]),
    faulty(["learning-rate-too-high", "dead-units"], ["learning-rate-too-high"]),
    faulty(["learning-rate-too-high"], ["learning-rate-too-high"]),
    failed(faulty([], [])),
    faulty(["leakage"], ["leakage"], fault="leakage"),
    *(healthy("faults: digits-relu", [], []) for _ in range(18)),
    healthy("faults: digits-relu", ["overfitting"], ["overfitting"]),
    failed(healthy("faults: digits-relu", [], [])),
]
USUAL_RECORDS = [
    usual("high-momentum", "momentum", ["momentum-too-high"], ["momentum-too-high"]),
    usual("tight-clipping", "clipping", ["dead-units"], ["dead-units"]),
    usual("large-epsilon", "rate-too-low", ["underfitting"], ["underfitting"], harmed=0.5, sound=0.51),
    failed(usual("norm-of-zero", "nan", [], [])),
    healthy("usual: tanh", [], []),
    healthy("usual: ELU", ["leakage"], ["leakage"]),
    healthy("usual: GELU", ["overfitting"], []),
    healthy("usual: L1", [], []),
]
MEASURED = {"command": "a command", "machine": "a machine", "code": "abc, commit def", "date": "2026-01-02"}


@each("case", CASES)
def test_the_doctor_says_of_a_case_what_readers_judged_to_be_right(
    case: tuple[str, str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    list_name, name, check = case
    assert main([list_name, "--names", name, "--out", str(tmp_path)]) == 0
    (path,) = (path for path in tmp_path.glob("*/*.json") if json.loads(path.read_text("utf-8"))["name"] == name)
    record = json.loads(path.read_text("utf-8"))
    if list_name == "healthy":
        assert not is_accused(record), record["words"]
    else:
        assert (record["check"], record["causes"][:1]) == (check, [check])
    assert record["words"] in capsys.readouterr().out
    assert {*record["seconds"]} == {"training", "doctor"}


def test_posts_are_asked_about_with_and_without_their_mistakes_and_one_that_crashes_is_recorded(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "nan.py").write_text(POST)
    (tmp_path / "other.py").write_text(POST)
    (tmp_path / "crash.py").write_text("def training(seed, mistake):\n    raise SystemExit('no data')\n")
    (tmp_path / "names").write_text("crash\nnan\n")
    command = ["posts", "--folder", str(tmp_path), "--out", str(tmp_path / "out"), "--names", str(tmp_path / "names")]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["crash", "error"]
    assert "SystemExit: no data" in lines[0]
    assert lines[1].startswith("nan ")
    assert len(lines) == 3
    assert main([*command, "--healthy"]) == 0
    healthy_line = capsys.readouterr().out.splitlines()[1]
    assert healthy_line.split()[1] in ("silent", "symptom")
    stored = sorted(path.name for path in (tmp_path / "out").glob("*/*"))
    assert stored == ["crash-0-healthy.json", "crash-0.json", "nan-0-healthy.json", "nan-0.json"]


def test_each_list_has_trainings_of_different_files() -> None:
    for name in LISTS:
        slugs = Counter(slug(entry.name) for entry in entries(name))
        assert slugs or name == "posts"
        assert not [one for one, count in slugs.items() if count > 1]


def test_a_resumed_run_asks_again_only_after_changes_and_errors(tmp_path: Path) -> None:
    store = Store(tmp_path)
    path = store.path("usual", "a name, of 1", 7)
    assert store.read(path, "abc") is None
    store.write(path, {"code": "abc", "verdict": "silent", "x": float("nan")})
    assert store.read(path, "abc") == {"code": "abc", "verdict": "silent", "x": None}
    assert store.read(path, "other") is None
    store.write(path, {"code": "abc", "verdict": "error"})
    assert store.read(path, "abc") is None
    assert {store.path("usual", "a name, of 1", 7, healthy=True).name} == {"a-name-of-1-7-healthy.json"}
    assert doctor_hash() == doctor_hash()


def test_no_training_begins_after_the_seconds_and_stored_ones_are_shown(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    command = ["first", "--names", "reg-relu-end", "--out", str(tmp_path)]
    assert main([*command, "--seconds", "0"]) == 0
    assert capsys.readouterr().out.startswith("first: 0 trainings")
    assert main(command) == 0
    first_time = capsys.readouterr().out
    assert main([*command, "--seconds", "0"]) == 0
    assert capsys.readouterr().out == first_time


def test_refusals_and_errors_are_verdicts() -> None:
    def refuse() -> dict[str, Any]:
        raise PellucidError("no")

    def refuse_training(seed: int, mistake: bool) -> Any:
        return refuse()

    def trained(seed: int, mistake: bool) -> Any:
        return (refuse, lambda: {}["findings"])[seed]

    assert tried(Entry("a", "", refuse_training), 0)["verdict"] == "refused"
    assert tried(Entry("a", "", trained), 0)["verdict"] == "not examined"
    assert tried(Entry("a", "", trained), 1) == {
        "verdict": "error", "check": "", "words": "KeyError: 'findings'", "seconds": {"training": 0.0},
    }  # fmt: skip


def test_the_seed_selects_the_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Dataset.from_arrays(torch.arange(50, dtype=torch.uint8).reshape(50, 1, 1, 1), torch.arange(50) // 5)
    monkeypatch.setattr("benchmarks.doctor.material.load_parts", lambda name: (dataset, dataset))
    samples = [material("signs", seed)[0] for seed in (1, 1, 2)]
    assert torch.equal(samples[0].x, samples[1].x)
    assert not torch.equal(samples[0].x, samples[2].x)
    assert all(len(part) == 40 and part.y.equal(part.y.sort().values) for part in samples)  # sorted by class


def test_a_fault_of_some_settings_has_an_exclusion_reason() -> None:
    for fault in FAULTS:
        assert (len(fault.settings) < len(SETTINGS)) == bool(fault.exclusion_reason), (fault.name, fault.about)


def test_faults_are_unique_and_name_checks() -> None:
    by_experiments = {
        "learning-rate-too-high", "learning-rate-too-low", "shifted-labels", "batch-norm-tiny-batches",
        "examples-in-order",
    }  # fmt: skip
    assert {fault.name for fault in FAULTS} <= {check.name for check in CHECKS} | by_experiments
    assert len({(fault.name, fault.about) for fault in FAULTS}) == len(FAULTS)
    names = {setting.name for setting in SETTINGS}
    assert all(fault.settings and set(fault.settings) <= names for fault in FAULTS)


def test_faults_that_are_named_and_alarms_are_counted() -> None:
    dead_units = counted([one for one in FAULT_RECORDS if one.get("fault") == "dead-units"])
    assert tuple(dead_units) == (4, 2, 1, 1, 1)
    unharmed = [one for one in FAULT_RECORDS if one["list"] == "healthy"]
    assert (sum(map(has_finding, unharmed)), sum(map(is_accused, unharmed))) == (2, 2)
    assert sum(map(is_accused, [one for one in USUAL_RECORDS if one["list"] == "healthy"])) == 1
    text = tally([one | {"verdict": "cause"} for one in FAULT_RECORDS[:3]])
    assert text == "3 trainings: 2 wrong cause, 1 named; 3 accused"


@pytest.mark.parametrize(
    ("kind", "causes", "others", "expected"),
    [
        ("momentum", ["momentum-too-high"], [], "named"),
        ("momentum", ["dead-units", "momentum-too-high"], [], "named"),
        ("momentum", ["dead-units"], ["momentum-too-high"], "wrong cause"),
        ("momentum", ["underfitting", "dead-units"], [], "wrong cause"),
        ("momentum", ["underfitting"], ["dead-units"], "symptom only"),
        ("momentum", [], ["dead-units"], "symptom only"),
        ("momentum", [], [], "nothing"),
        ("capacity", ["underfitting"], [], "named"),
        ("pixels-scrambled", ["leakage"], [], "wrong cause"),
    ],
)
def test_verdict_by_the_names_of_causes(kind: str, causes: list[str], others: list[str], expected: str) -> None:
    assert judged(usual("a", kind, causes + others, causes)) == expected


def test_the_pages_contain_the_counts() -> None:
    faults = {**MEASURED, "cases": FAULT_RECORDS}
    page = report.doctor_page(faults)
    assert "**Of 5 faults 60.0 % are named** (23.1 to 88.2 %), 40.0 % as a cause and 40.0 % first." in page
    assert "**Of 20 healthy trainings 10.0 % get any finding** (2.8 to 30.1 %), 10.0 % any cause." in page
    assert "| dead-units | 4 | 50.0 % | 25.0 % | 25.0 % |" in page
    assert "| leakage | 1 | 100.0 % | 100.0 % | 100.0 % |" in page
    assert "| overfitting | 1 (5.0 %) |" in page
    assert "- dead-units (so) in digits-relu, seed 1: E: no" in page
    assert "Measured 2026-01-02 by `a command` with a machine; code abc, commit def." in page
    page = report.mistakes_page({**MEASURED, "cases": USUAL_RECORDS}, faults)
    assert "| mistakes | 4 | 25.0 % | 4.6 to 69.9 % | 0.0 % | 25.0 % | 25.0 % | 25.0 % | 4 | 25.0 % | 50.0 % |" in page
    assert "Cost less than 0.02: large-epsilon (seed 1)." in page


def test_new_records_replace_those_of_the_same_trainings(tmp_path: Path) -> None:
    for name in ("doctor", "mistakes", "causes"):
        (tmp_path / f"{name}.json").write_bytes((DOCS / f"{name}.json").read_bytes())
    report.take([], tmp_path)
    for name in ("doctor", "mistakes", "causes"):
        assert (tmp_path / f"{name}.json").read_bytes() == (DOCS / f"{name}.json").read_bytes()
    new = {"healthy": False, "verdict": "silent", "check": "", "words": "So.", "names": [], "causes": []}
    new |= {"seed": 100, "code": "c", "seconds": {"training": 1.0, "doctor": 1.0}}
    report.take([new | {"list": "usual", "name": "high-momentum", "diagnosis": {}}], tmp_path)
    before, after = (report.stored(folder, "mistakes")["cases"] for folder in (DOCS, tmp_path))
    assert len(before) == len(after)
    (changed,) = (one for one in after if one not in before)
    assert (changed["name"], changed["words"], changed["causes"]) == ("high-momentum", "So.", [])
    assert "harmed" in changed
    assert "diagnosis" not in changed
