"""A small run of `python -m benchmarks.fuzz` finds no violation, and violations are reported."""

import random
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.fuzz import trial
from benchmarks.fuzz.__main__ import Result, fuzz, split_count
from benchmarks.fuzz.annotations import ANNOTATIONS, outcome_of_annotations, write_annotation_case, write_annotations
from benchmarks.fuzz.archives import ARCHIVES, outcome_of_archive, write_archive_case, write_archives
from benchmarks.fuzz.material import PICTURES, WEIGHTS, write_picture, write_weights
from benchmarks.fuzz.mutations import damage
from benchmarks.fuzz.names import outcome_of_names, write_names, write_names_case
from benchmarks.fuzz.objectives import OBJECTIVES, write_objective
from benchmarks.fuzz.readings import READINGS, outcome_of_reading, write_readings_case
from benchmarks.fuzz.recipes import RECIPES, write_recipe
from benchmarks.fuzz.records import RECORDS, write_record
from benchmarks.fuzz.runs import RUNS, use_run, write_run, write_run_case
from benchmarks.fuzz.tables import TABLES, outcome_of_table, write_table, write_table_case
from pellucid.base.errors import PellucidError
from pellucid.data.annotations import convert, voc
from pellucid.data.format_names import TITLES

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
KINDS = [*WEIGHTS, *PICTURES]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_changed_files_are_refused_or_read_in_one_way(kind, tmp_path):
    """These are the first cases of the command, here run in this process."""
    original, picture, path = tmp_path / f"whole.{kind}", tmp_path / "whole.png", tmp_path / f"case.{kind}"
    write_picture("png", picture)
    if kind != "png":
        (write_picture if kind in PICTURES else write_weights)(kind, original)
    expected = trial.result_of(kind, original, picture) if kind in trial.CHECKSUMMED else None
    outcomes: set[str] = set()
    for number in range(25):
        trial.write_case(kind, original, path, random.Random(f"0 {kind} {number}"))
        outcomes.add(trial.outcome_of_use(kind, path, picture, expected))
    assert outcomes <= {"refused", "same" if expected is not None else "other"}
    assert "refused" in outcomes or kind == "bmp"


def test_every_format_of_annotations_is_damaged() -> None:
    assert {*ANNOTATIONS} == {*TITLES, "mask"}, "add the format to ANNOTATIONS of benchmarks/fuzz/annotations.py"


@pytest.mark.parametrize("kind", ANNOTATIONS)
def test_changed_annotations_are_refused_or_every_object_is_loaded_or_listed(kind, tmp_path):
    original, path = tmp_path / f"whole.{kind}", tmp_path / f"case.{kind}"
    write_annotations(kind, original)
    path.write_bytes(original.read_bytes())
    assert outcome_of_annotations(kind, path) == ("same" if kind == "mask" else "other")
    outcomes: set[str] = set()
    for number in range(50):
        write_annotation_case(kind, original, path, random.Random(f"0 {kind} {number}"))
        outcomes.add(outcome_of_annotations(kind, path))
    assert "refused" in outcomes
    assert outcomes <= {"refused", "listed", "other"} - ({"other"} if kind == "mask" else set())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ARCHIVES)
def test_small_zips_of_many_objects_are_refused_or_read(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.fuzz.archives.IMAGE_SIDES", (40, 600))
    original, path = tmp_path / f"whole.{kind}", tmp_path / f"case.{kind}"
    write_archives(kind, original)
    outcomes: set[str] = set()
    for number in range(12):
        write_archive_case(kind, original, path, random.Random(f"0 {kind} {number}"))
        outcomes.add(outcome_of_archive(path))
    assert outcomes <= {"refused", "listed", "other"}


@pytest.mark.parametrize("kind", TABLES)
def test_changed_tables_are_refused_or_read(kind, tmp_path):
    original, path = tmp_path / f"whole.{kind}", tmp_path / f"case.{kind}"
    write_table(kind, original)
    assert outcome_of_table(original) == "other"
    outcomes: set[str] = set()
    for number in range(100):
        write_table_case(original, path, random.Random(f"0 {kind} {number}"))
        outcomes.add(outcome_of_table(path))
    assert outcomes == {"refused", "other"}


def test_names_are_restored_or_refused(tmp_path, monkeypatch):
    image, path = tmp_path / "whole.png", tmp_path / "case.names"
    write_names("names", image)
    outcomes: set[str] = set()
    for number in range(60):
        write_names_case("names", image, path, random.Random(f"0 names {number}"))
        outcomes.add(outcome_of_names(path, image))
    assert outcomes == {"refused", "same"}
    path.write_text('{"to": "voc", "names": [" a"], "image": "a"}')
    monkeypatch.setattr(convert, "_check_names", lambda *arguments: None)
    assert outcome_of_names(path, image) == "changed: [' a'] to ['a'], 'a.png' to 'a.png'"


def test_an_annotation_lost_in_loading_is_reported(tmp_path, monkeypatch):
    path = tmp_path / "whole.voc"
    write_annotations("voc", path)
    monkeypatch.setattr(voc, "read_instances", lambda *arguments: ())
    assert outcome_of_annotations("voc", path) == "lost: 3 objects in the file, 0 loaded, 0 listed"


@pytest.mark.parametrize("kind", READINGS)
def test_data_sets_in_unusual_forms_are_read_as_meant_or_refused(kind, tmp_path):
    path = tmp_path / "case.json"
    outcomes: set[str] = set()
    for number in range(60):
        write_readings_case(kind, path, random.Random(f"0 {kind} {number}"))
        outcomes.add(outcome_of_reading(path))
    assert outcomes <= {"refused", "listed", "same"}
    assert "same" in outcomes


@pytest.mark.parametrize(
    ("kind", "function", "replacement"),
    [
        ("mask-values", "pellucid.tasks.segment.own.check_values", lambda *arguments, **options: None),
        ("mask-values", "pellucid.data.images.JPEG", b"another"),
        ("parts", "pellucid.data.parts.standard_part", lambda folder: folder if folder == "train" else ""),
        ("parts", "pellucid.data.parts.note_once", lambda text: None),
        ("pixels", "pellucid.data.folder.check_bits", lambda tree, names: None),
        ("line-shapes", "pellucid.data.annotations.yolo_lines.PolygonLines.fault", lambda self: ""),
        ("line-shapes", "pellucid.data.annotations.readings.BoxReadings.fault", lambda self: ""),
        ("groups", "pellucid.data.annotations.coco._CocoReader._unused_parents", lambda self, categories: []),
        ("texts", "pellucid.base.files.note_once", lambda text: None),
    ],
)
def test_a_misreading_is_reported(kind, function, replacement, tmp_path, monkeypatch):
    path = tmp_path / "case.json"
    monkeypatch.setattr(function, replacement)
    outcomes: set[str] = set()
    for number in range(80):
        write_readings_case(kind, path, random.Random(f"0 {kind} {number}"))
        outcomes.add(outcome_of_reading(path).partition(" ")[0].partition(":")[0])
    assert "misread" in outcomes


@pytest.mark.slow
@pytest.mark.parametrize("kind", OBJECTIVES)
def test_forged_objectives_are_refused_or_used(kind, tmp_path):
    original, picture, path = tmp_path / f"whole.{kind}", tmp_path / "whole.png", tmp_path / f"case.{kind}"
    write_picture("png", picture)
    write_objective(kind, original)
    assert trial.outcome_of_use(kind, original, picture, None) == "other"
    outcomes: set[str] = set()
    for number in range(25):
        trial.write_case(kind, original, path, random.Random(f"0 {kind} {number}"))
        outcomes.add(trial.outcome_of_use(kind, path, picture, None))
    assert outcomes == {"refused", "other"}


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.parametrize("kind", RUNS)
def test_damaged_histories_of_runs_are_refused_or_read(kind, tmp_path):
    original, path = tmp_path / f"whole.{kind}", tmp_path / f"case.{kind}"
    write_run(kind, original)
    use_run(kind, original)
    outcomes: set[str] = set()
    for number in range(25):
        write_run_case(original, path, random.Random(f"0 {kind} {number}"))
        outcomes.add(trial.outcome_of_use(kind, path, tmp_path, None))
    assert outcomes == {"refused", "other"}


@pytest.mark.heavy
@pytest.mark.slow
def test_strange_files_of_runs_and_sweeps_are_refused_or_read(tmp_path):
    outcomes: set[str] = set()
    for kind in RECORDS:
        original, path = tmp_path / f"whole.{kind}", tmp_path / f"case.{kind}"
        write_record(kind, original)
        assert trial.outcome_of_use(kind, original, tmp_path, None) == "other", kind
        for number in range(20):
            trial.write_case(kind, original, path, random.Random(f"0 {kind} {number}"))
            outcomes.add(trial.outcome_of_use(kind, path, tmp_path, None))
    assert outcomes == {"refused", "other"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", RECIPES)
def test_changed_recipes_are_refused_or_read(kind, tmp_path):
    original, path = tmp_path / f"whole.{kind}", tmp_path / f"case.{kind}"
    write_recipe(kind, original)
    assert trial.outcome_of_use(kind, original, tmp_path, None) == "other"
    outcomes: set[str] = set()
    for number in range(100):
        trial.write_case(kind, original, path, random.Random(f"0 {kind} {number}"))
        outcomes.add(trial.outcome_of_use(kind, path, tmp_path, None))
    assert outcomes == {"refused", "other"}


@pytest.mark.long
@pytest.mark.slow
@linux_only
def test_the_command_measures_each_file_in_another_process():
    counts = {"zip": 3, "png": 2, "voc": 2, "yaml": 2, "names": 2}
    results = fuzz(counts, seed=0, processes=1)
    assert {kind: sum(result.outcomes.values()) for kind, result in results.items()} == counts
    assert all(not result.faults and 0 < result.peak < 1 << 30 for result in results.values())
    assert sum(split_count(20_000, WEIGHTS).values()) == 20_000


def test_a_file_of_any_kind_may_take_10_s_and_1_gib():
    for seconds, peak, faults in ((9.9, 1 << 30, 0), (10.1, 1, 1), (1, (1 << 30) + 1, 1)):
        result = Result()
        result.add({"case": 0, "outcome": "refused", "seconds": seconds, "peak": peak})
        assert len(result.faults) == faults


def test_violations_are_reported(tmp_path, monkeypatch):
    path, expected = tmp_path / "file", torch.zeros(2)

    def outcome_label(result) -> str:
        def return_or_raise(*_: object) -> torch.Tensor:
            if isinstance(result, Exception):
                raise result
            return result

        monkeypatch.setattr(trial, "result_of", return_or_raise)
        return trial.outcome_of_use("zip", path, Path(), expected).partition(":")[0]

    assert outcome_label(expected) == "same"
    assert outcome_label(expected + 1) == "unseen"
    assert outcome_label(IndexError()) == "traceback"
    assert outcome_label(PellucidError(f"{path} is damaged; replace it")) == "refused"
    assert outcome_label(PellucidError("damaged")) == "message", "which does not name the file"


def test_every_damaged_copy_differs_from_the_original():
    assert all(damage(b"abc" * 500, random.Random(k)) != b"abc" * 500 for k in range(200))
