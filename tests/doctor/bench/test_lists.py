"""The frozen lists of mistakes: their contents, the draw of the unopened half, the measured harm, and judgements."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.doctor import harm
from benchmarks.doctor.cases import usual
from benchmarks.doctor.cases.unusual.healthy import HEALTHY
from benchmarks.doctor.cases.usual.healthy import HEALTHY as USUAL_HEALTHY
from benchmarks.doctor.listed import FOLDER, LATER, UNUSUAL, draw, judgements, mistakes, read
from benchmarks.doctor.lists import cases, entries
from benchmarks.doctor.report import JUDGEMENTS

ROOT = Path(__file__).resolve().parents[3]
FROZEN_SHA256 = {
    "usual": "2c5f86391e5ebf4c79c1e65d2b12d472fb30a0c57b879493a19daa5ba0ef62f1",
    "first": "3dd74d52437c063ffcf02d898137eb4e1c484d8c050165091c7a0852c259dfdb",
    "second": "ea45137bc2e97b279e1c34ecd92621ba9a70c7028877a1cc819d9a71628dc096",
    "third": "84ca69915e46ebc84e98b8dcc5f9d3d96e2cffc54e3d8732a593fe106ef1039b",
    "fourth": "efdc45da5bbd625fdbfec8b988023c9ab3a8fd8dd8af2157e2778ee61fa23bda",
    "fifth": "1fe93295c376fff3ca6c8cbc692644a56676b7a5920d7a1f9645d2d85b707606",
}
FIRST = mistakes("first") | mistakes("unopened")  # the whole first list


def test_the_lists_are_as_they_were_frozen() -> None:
    assert set(FROZEN_SHA256) == {"usual", "first", *LATER}
    for name, checksum in FROZEN_SHA256.items():
        assert hashlib.sha256((FOLDER / f"{name}.toml").read_bytes()).hexdigest() == checksum


def test_each_mistake_is_named_once_and_cited_and_has_a_case() -> None:
    unusual = [one for name in UNUSUAL for one in mistakes(name).values()]
    assert len({one.url for one in unusual}) == len({one.id for one in unusual}) == len(unusual)
    assert all(one.change for one in unusual)
    for name in ("usual", *UNUSUAL):
        assert all(one.url.startswith("https://") and one.source and one.cause for one in mistakes(name).values())
        assert set(cases(name)) == set(mistakes(name))
    assert set(usual.CASES) == set(mistakes("usual"))
    assert {one.kind for one in mistakes("usual").values()} <= set(read("names")["kinds"])
    assert (len(mistakes("usual")) >= 40, len(FIRST) >= 66) == (True, True)
    assert (len(HEALTHY) >= 40, len(USUAL_HEALTHY) >= 50) == (True, True)


@pytest.mark.parametrize("list_name", LATER)
def test_each_mistake_of_a_later_list_is_harmful(list_name: str) -> None:
    records = harm.read()
    for entry in entries(list_name):
        assert (records[entry.name]["code"], records[entry.name]["harmful"]) == (entry.code, True)


def test_a_third_of_the_first_list_is_outside_classification_and_regression() -> None:
    tasks = Counter(one.task for one in FIRST.values())
    assert len(FIRST) - tasks["classification"] - tasks["regression"] >= 26
    assert set(tasks) == {
        "classification", "detection", "generation", "keypoints", "regression", "segmentation", "transfer",
        "translation",
    }  # fmt: skip


def test_the_unopened_half_is_the_one_that_the_seed_draws() -> None:
    assert set(mistakes("unopened")) == set(draw(FIRST.values()))
    halves = Counter(one.task for one in mistakes("unopened").values())
    for task, count in Counter(one.task for one in FIRST.values()).items():
        assert abs(2 * halves[task] - count) <= 1


def seed_scores(mistaken: float, sound: float) -> dict[str, float]:
    return {"mistaken": mistaken, "sound": sound}


def test_a_harm_must_exceed_two_standard_deviations() -> None:
    clear_harm = {
        "0": seed_scores(0.5, 0.9),
        "1": seed_scores(0.4, 0.9),
        "2": seed_scores(0.6, 0.9),
    }  # harms 0.4, 0.5 and 0.3: mean 0.4, standard deviation 0.1
    assert harm.summary({"seeds": clear_harm}) == {"harm": 0.4, "deviation": 0.1, "harmful": True}
    uncertain_harm = {
        "0": seed_scores(0.9, 0.9),
        "1": seed_scores(0.5, 0.9),
        "2": seed_scores(0.7, 0.9),
    }  # harms 0.0, 0.4 and 0.2: mean 0.2, standard deviation 0.2
    assert harm.summary({"seeds": uncertain_harm}) == {"harm": 0.2, "deviation": 0.2, "harmful": False}


def test_a_mistake_of_too_few_seeds_is_not_judged() -> None:
    two_seeds = {"0": seed_scores(0.1, 0.9), "1": seed_scores(0.1, 0.9), "2": {"refused": "no"}}
    assert harm.summary({"seeds": two_seeds}) == {"harm": None, "deviation": None, "harmful": False}


@pytest.mark.slow
def test_an_interrupted_measurement_of_harm_goes_on(tmp_path: Path) -> None:
    (entry,) = (entry for entry in entries("first") if entry.name == "reg-relu-end")
    path = tmp_path / "harm.json.gz"
    harm.measure([entry], 0.0, path)
    assert harm.read(path) == {}
    known = {"id": entry.name, "code": entry.code, "seeds": {"0": seed_scores(0.1, 0.9), "1": seed_scores(0.2, 0.9)}}
    harm.write(path, known)
    harm.measure([entry], float("inf"), path)
    record = harm.read(path)[entry.name]
    assert {**known["seeds"], "2": record["seeds"]["2"]} == record["seeds"]
    assert record["seeds"]["2"]["mistaken"] < record["seeds"]["2"]["sound"]
    assert record["harmful"]


def test_each_diagnosis_on_the_page_is_judged_by_a_known_word() -> None:
    assert {*judgements("first")} == {*FIRST}
    for name in UNUSUAL:
        judged = judgements(name)  # a list that is not opened yet has no judgements
        assert name not in LATER or not judged or {*judged} == {*mistakes(name)}
        assert {*judged.values()} <= set(JUDGEMENTS)
    for record in json.loads((ROOT / "docs/causes.json").read_text("utf-8"))["cases"]:
        assert record.get("judged") == judgements(record["list"]).get(record["name"])
