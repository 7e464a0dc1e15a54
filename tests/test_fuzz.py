"""A small run of `python -m benchmarks.fuzz`, and that it sees what is at fault."""

import random
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.fuzz import trial
from benchmarks.fuzz.__main__ import fuzz, shares
from benchmarks.fuzz.annotations import ANNOTATIONS, judged_annotations, write_annotation_case, write_annotations
from benchmarks.fuzz.material import PICTURES, WEIGHTS, write_picture, write_weights
from benchmarks.fuzz.mutations import damaged
from pellucid.data.annotations import voc
from pellucid.errors import PellucidError

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
KINDS = [*WEIGHTS, *PICTURES]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_changed_files_are_refused_or_read_in_one_way(kind, tmp_path):
    """The same cases as the command's first, in this process."""
    whole, picture, path = tmp_path / f"whole.{kind}", tmp_path / "whole.png", tmp_path / f"case.{kind}"
    write_picture("png", picture)
    if kind != "png":
        (write_picture if kind in PICTURES else write_weights)(kind, whole)
    wanted = trial.use(kind, whole, picture) if kind in trial.CHECKED else None
    outcomes: set[str] = set()
    for number in range(25):
        trial.write_case(kind, whole, path, random.Random(f"0 {kind} {number}"))
        outcomes.add(trial.judged(kind, path, picture, wanted))
    assert outcomes <= {"refused", "same" if wanted is not None else "other"}
    assert "refused" in outcomes or kind == "bmp"


@pytest.mark.parametrize("kind", ANNOTATIONS)
def test_changed_annotations_are_refused_or_every_object_is_loaded_or_listed(kind, tmp_path):
    whole, path = tmp_path / f"whole.{kind}", tmp_path / f"case.{kind}"
    write_annotations(kind, whole)
    path.write_bytes(whole.read_bytes())
    assert judged_annotations(kind, path) == ("same" if kind == "mask" else "other")
    outcomes: set[str] = set()
    for number in range(50):
        write_annotation_case(kind, whole, path, random.Random(f"0 {kind} {number}"))
        outcomes.add(judged_annotations(kind, path))
    assert "refused" in outcomes
    assert outcomes <= {"refused", "listed", "other"} - ({"other"} if kind == "mask" else set())


def test_a_lost_object_is_seen(tmp_path, monkeypatch):
    path = tmp_path / "whole.voc"
    write_annotations("voc", path)
    monkeypatch.setattr(voc, "instances", lambda *arguments: ())
    assert judged_annotations("voc", path) == "lost: 3 objects in the file, 0 loaded, 0 listed"


@pytest.mark.slow
@linux
def test_the_command_measures_each_file_in_another_process():
    results = fuzz({"zip": 3, "png": 2, "voc": 2}, seed=0, processes=1)
    assert {kind: sum(it.outcomes.values()) for kind, it in results.items()} == {"zip": 3, "png": 2, "voc": 2}
    assert all(not it.faults and 0 < it.peak < 2 << 30 for it in results.values())
    assert sum(shares(20_000, WEIGHTS).values()) == 20_000


def test_what_is_at_fault_is_seen(tmp_path, monkeypatch):
    path, wanted = tmp_path / "file", torch.zeros(2)

    def outcome(result) -> str:
        def use(*_: object) -> torch.Tensor:
            if isinstance(result, Exception):
                raise result
            return result

        monkeypatch.setattr(trial, "use", use)
        return trial.judged("zip", path, Path(), wanted).partition(":")[0]

    assert outcome(wanted) == "same"
    assert outcome(wanted + 1) == "unseen"
    assert outcome(IndexError()) == "traceback"
    assert outcome(PellucidError(f"{path} is damaged; replace it")) == "refused"
    assert outcome(PellucidError("damaged")) == "message", "which does not name the file"


def test_damage_changes_every_copy():
    assert all(damaged(b"abc" * 500, random.Random(k)) != b"abc" * 500 for k in range(200))
