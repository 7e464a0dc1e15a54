"""The frozen list of mistakes of all tasks: its contents, the draw of its unopened half, and the measured harm."""

import hashlib
import json
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.causes.cases import cases, later_cases
from benchmarks.causes.diagnose import diagnosis_summary, train_and_diagnose, trainings
from benchmarks.causes.harm import HarmFile, Results, code_hash, harm_summary
from benchmarks.causes.healthy import HEALTHY
from benchmarks.causes.listed import (
    HERE,
    LATER_LISTS,
    all_mistakes,
    draw,
    later_mistakes,
    listed_mistakes,
    unopened_ids,
)
from benchmarks.causes.page import JUDGEMENTS, judgements_by_id
from benchmarks.causes.paired import PAIRS
from pellucid.doctor import Diagnosis
from pellucid.doctor.finding import Finding

ROOT = Path(__file__).resolve().parents[3]
QUICK_MISTAKES = (
    "cls-class-order-differs", "cls-test-in-training", "cls-validation-bgr", "gen-vae-mean-over-pixels", "own-backward",
    "reg-relu-end", "reg-sigmoid-end", "reg-target-not-scaled",
)  # fmt: skip
FROZEN_SHA256 = {  # of list.toml and the later lists
    "list": "3dd74d52437c063ffcf02d898137eb4e1c484d8c050165091c7a0852c259dfdb",
    "second": "ea45137bc2e97b279e1c34ecd92621ba9a70c7028877a1cc819d9a71628dc096",
    "third": "84ca69915e46ebc84e98b8dcc5f9d3d96e2cffc54e3d8732a593fe106ef1039b",
    "fourth": "efdc45da5bbd625fdbfec8b988023c9ab3a8fd8dd8af2157e2778ee61fa23bda",
    "fifth": "1fe93295c376fff3ca6c8cbc692644a56676b7a5920d7a1f9645d2d85b707606",
}


def test_the_lists_are_as_they_were_frozen() -> None:
    assert set(FROZEN_SHA256) == {"list", *LATER_LISTS}
    for name, checksum in FROZEN_SHA256.items():
        assert hashlib.sha256((HERE / f"{name}.toml").read_bytes()).hexdigest() == checksum
    assert len({entry.url for entry in all_mistakes()}) == len(all_mistakes())


@pytest.mark.parametrize("list_name", LATER_LISTS)
def test_each_mistake_of_a_later_list_is_harmful(list_name: str) -> None:
    records = HarmFile(HERE / "harm.json.gz").records()
    for id, case in later_cases(list_name).items():
        record = records[id]
        assert (record["code"], record["harmful"]) == (code_hash(case), True)


def test_each_mistake_is_named_once_and_cited() -> None:
    ids = [entry.id for entry in listed_mistakes()]
    assert len(ids) == len(set(ids)) >= 66
    assert all(entry.url.startswith("https://") and entry.source and entry.change for entry in listed_mistakes())
    assert len({entry.url for entry in listed_mistakes()}) == len(ids)


def test_a_third_of_the_mistakes_are_outside_classification_and_regression() -> None:
    tasks = Counter(entry.task for entry in listed_mistakes())
    assert len(listed_mistakes()) - tasks["classification"] - tasks["regression"] >= 26
    assert set(tasks) == {
        "classification", "detection", "generation", "keypoints", "regression", "segmentation", "transfer",
        "translation",
    }  # fmt: skip


def test_the_unopened_half_is_the_one_that_the_seed_draws() -> None:
    assert unopened_ids() == frozenset(draw(listed_mistakes()))
    halves = Counter(entry.task for entry in listed_mistakes() if entry.id in unopened_ids())
    for task, count in Counter(entry.task for entry in listed_mistakes()).items():
        assert abs(2 * halves[task] - count) <= 1


def test_each_opened_mistake_has_a_case() -> None:
    assert set(cases()) == {entry.id for entry in listed_mistakes()} - unopened_ids()


def test_at_least_forty_trainings_are_healthy() -> None:
    assert len(HEALTHY) >= 40


def seed_scores(mistaken: float, sound: float) -> dict[str, float]:
    return {"mistaken": mistaken, "sound": sound}


def test_a_harm_must_exceed_two_standard_deviations() -> None:
    clear_harm = {
        "0": seed_scores(0.5, 0.9),
        "1": seed_scores(0.4, 0.9),
        "2": seed_scores(0.6, 0.9),
    }  # harms 0.4, 0.5 and 0.3: mean 0.4, standard deviation 0.1
    assert harm_summary({"seeds": clear_harm}) == {"harm": 0.4, "deviation": 0.1, "harmful": True}
    uncertain_harm = {
        "0": seed_scores(0.9, 0.9),
        "1": seed_scores(0.5, 0.9),
        "2": seed_scores(0.7, 0.9),
    }  # harms 0.0, 0.4 and 0.2: mean 0.2, standard deviation 0.2
    assert harm_summary({"seeds": uncertain_harm}) == {"harm": 0.2, "deviation": 0.2, "harmful": False}


def test_a_mistake_of_too_few_seeds_is_not_judged() -> None:
    two_seeds = {"0": seed_scores(0.1, 0.9), "1": seed_scores(0.1, 0.9), "2": {"refused": "no"}}
    assert harm_summary({"seeds": two_seeds}) == {"harm": None, "deviation": None, "harmful": False}


@pytest.mark.parametrize("store", [Results, HarmFile])
def test_an_interrupted_case_resumes_unless_the_code_has_changed(
    store: type[Results] | type[HarmFile], tmp_path: Path
) -> None:
    results, (id, case) = store(tmp_path / "results"), next(iter(cases().items()))
    code = code_hash(case)
    record = results.read(id, code)
    assert record == {"id": id, "code": code}
    results.write(record | {"seeds": {"0": seed_scores(0.1, 0.9)}})
    assert results.read(id, code)["seeds"] == {"0": seed_scores(0.1, 0.9)}
    results.write(record | {"code": "of before", "seeds": {"0": seed_scores(0.1, 0.9)}})
    assert results.read(id, code) == record


def test_the_first_finding_of_a_diagnosis_is_its_verdict() -> None:
    unproven = Finding("lost-classes", "train", {})
    proven = Finding("label-noise", "train", {}, "labels are wrong", "mend them", is_fault=True, proven=True)
    assert diagnosis_summary(Diagnosis((), (), {}, {})) == {"verdict": "silent", "first": ""}
    assert diagnosis_summary(Diagnosis((proven, unproven), (), {}, {})) == {
        "verdict": "cause", "first": "label-noise (train): labels are wrong",
    }  # fmt: skip
    assert diagnosis_summary(Diagnosis((unproven,), (), {}, {}, symptoms=frozenset({0})))["verdict"] == "symptom"


def test_each_opened_mistake_and_each_healthy_training_is_diagnosed() -> None:
    assert [id for id, _, _ in trainings(only_healthy=False, with_unopened=False)] == list(cases())
    healthy_ids = [id for id, _, _ in trainings(only_healthy=True, with_unopened=False)]
    assert len(set(healthy_ids)) == len(HEALTHY)


def test_each_diagnosis_on_the_page_is_judged_by_a_known_word() -> None:
    judgements = tomllib.loads((HERE / "judged.toml").read_text("utf-8"))
    assert set(judgements["mistakes"]) == {entry.id for entry in listed_mistakes()}
    for name in LATER_LISTS:
        judged = judgements.get(name, {})  # a list that is not opened yet has no judgements
        assert not judged or set(judged) == {entry.id for entry in later_mistakes(name)}
        assert {*judged.values()} <= set(JUDGEMENTS)
    assert {*judgements["mistakes"].values()} <= set(JUDGEMENTS)
    assert set(judgements["pairs"]) == {f"{data}+{settings}" for data, settings in PAIRS}
    for record in json.loads((ROOT / "docs/causes.json").read_text("utf-8")):
        assert record.get("judged") == judgements_by_id().get(record["id"].removesuffix("-0"))


@pytest.mark.slow
@pytest.mark.parametrize("id", QUICK_MISTAKES)
def test_the_doctor_says_first_of_a_mistake_what_the_stored_results_say(id: str) -> None:
    on_page = {record["id"]: record for record in json.loads((ROOT / "docs/causes.json").read_text("utf-8"))}[f"{id}-0"]
    (make_fit,) = (make_fit for name, _, make_fit in trainings(False, True) if name == id)
    record = train_and_diagnose(make_fit, 0)
    assert (record["verdict"], record["first"]) == (on_page["verdict"], on_page["first"])
