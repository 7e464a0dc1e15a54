"""The frozen list of mistakes of all tasks: what it holds, and the draw of its unopened half."""

import hashlib
from collections import Counter

from benchmarks.causes.cases import cases
from benchmarks.causes.listed import HERE, draw, listed, unopened

FROZEN = "3dd74d52437c063ffcf02d898137eb4e1c484d8c050165091c7a0852c259dfdb"  # SHA-256 of list.toml


def test_the_list_of_all_tasks_is_as_it_was_frozen() -> None:
    assert hashlib.sha256((HERE / "list.toml").read_bytes()).hexdigest() == FROZEN


def test_each_mistake_is_named_once_and_cited() -> None:
    ids = [entry.id for entry in listed()]
    assert len(ids) == len(set(ids)) >= 66
    assert all(entry.url.startswith("https://") and entry.source and entry.change for entry in listed())
    assert len({entry.url for entry in listed()}) == len(ids)


def test_a_third_of_the_mistakes_are_outside_classification_and_regression() -> None:
    tasks = Counter(entry.task for entry in listed())
    assert len(listed()) - tasks["classification"] - tasks["regression"] >= 26
    assert set(tasks) == {
        "classification", "detection", "generation", "keypoints", "regression", "segmentation", "transfer",
        "translation",
    }  # fmt: skip


def test_the_unopened_half_is_the_one_that_the_seed_draws() -> None:
    assert unopened() == frozenset(draw(listed()))
    halves = Counter(entry.task for entry in listed() if entry.id in unopened())
    for task, count in Counter(entry.task for entry in listed()).items():
        assert abs(2 * halves[task] - count) <= 1


def test_each_opened_mistake_is_made() -> None:
    assert set(cases()) == {entry.id for entry in listed()} - unopened()
