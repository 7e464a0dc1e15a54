"""Every public part is reached by a suite of the conformance or has an existing, independent check."""

import ast
import inspect
from pathlib import Path
from typing import Any

import pytest

from conformance.case import Case, SkipCase
from conformance.coverage import INDEPENDENT_CHECKS, VALUE_BY_VALUE, Check, coverage, public_parts, reached_subjects
from pellucid import combine, metrics, rules
from pellucid.combine import Combinator, Sequential
from pellucid.layers import LAYERS, Dense, LocalContrastNorm, ReLU
from pellucid.losses import LOSSES
from pellucid.optim import OPTIMIZERS, SGD
from tests.layers.elementwise import ELEMENTWISE

ROOT = Path(__file__).resolve().parents[2]


def make_case(subject: Any, error: float = 0.0, name: str = "one", checked_names: list[str] | None = None) -> Case:
    def check() -> float:
        if checked_names is not None:
            checked_names.append(name)
        return error

    return Case("torch something", "1.0", name, subject, check, tolerance=1e-3)


@pytest.mark.parametrize("part", INDEPENDENT_CHECKS, ids=lambda part: part.__name__)
def test_every_named_check_exists_in_the_tests(part: Any) -> None:
    check = INDEPENDENT_CHECKS[part]
    path = ROOT / check.file
    assert path.is_file()
    assert path.is_relative_to(ROOT / "tests")
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert check.name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert len(check.method.split()) > 3


def test_every_kind_of_public_part_is_covered() -> None:
    kinds: dict[str, set[Any]] = {}
    for part, kind in public_parts():
        kinds.setdefault(kind, set()).add(part)
    assert kinds["layer"] == set(LAYERS)
    assert kinds["loss"] == set(LOSSES.values())
    assert kinds["optimizer"] == set(OPTIMIZERS.values())
    exported = {getattr(combine, name) for name in combine.__all__}
    assert kinds["combinator"] == {p for p in exported if isinstance(p, type) and issubclass(p, Combinator)} - {
        Combinator
    }
    assert {part.__name__ for part in kinds["metric"]} == {
        "accuracy", "top_k", "confusion_matrix", "precision", "recall", "f1", "macro", "macro_f1", "Reliability",
        "reliability", "calibration_error", "Bins", "Accuracy", "TopK", "Precision", "Recall", "MacroF1", "Confusion",
        "ECE", "MAE", "RMSE", "R2", "MeanIoU", "BoundaryF1", "AveragePrecision",
        "MaskAveragePrecision", "KeypointAveragePrecision", "NME", "PSNR", "SSIM", "Colours", "DeltaE",
        "MultiLabel",
    }  # fmt: skip
    assert metrics.top_k in kinds["metric"]
    assert {"gradient", "own", "Epsilon", "ZPlus", "Guided", "epsilon_plus", "fold"} <= {
        part.__name__ for part in kinds["rule"]
    }
    assert set(filter(inspect.isfunction, map(rules.__dict__.get, rules.__all__))) <= kinds["rule"]
    assert len(kinds["schedule"]) == 7
    assert len(kinds["regularizer"]) == 4


def test_a_public_name_without_a_check_is_listed_as_open() -> None:
    parts = {part for part, _ in public_parts()} - INDEPENDENT_CHECKS.keys()
    unchecked = [entry for entry in coverage(parts - {Dense}) if not entry.checked_by]
    assert [(entry.name, entry.kind, entry.file) for entry in unchecked] == [
        ("Dense", "layer", "pellucid/layers/dense.py")
    ]
    assert unchecked[0].to_json() == {
        "name": "Dense", "kind": "layer", "file": "pellucid/layers/dense.py", "checked_by": "",
    }  # fmt: skip


def test_an_activation_that_no_suite_has_is_checked_by_its_reference() -> None:
    parts = {part for part, _ in public_parts()} - INDEPENDENT_CHECKS.keys()
    (entry,) = [entry for entry in coverage(parts - {ReLU}) if entry.name == "ReLU"]
    assert entry.checked_by == str(VALUE_BY_VALUE)
    path = ROOT / VALUE_BY_VALUE.file
    assert f"def {VALUE_BY_VALUE.name}(" in path.read_text(encoding="utf-8")
    assert ReLU in ELEMENTWISE


def test_a_check_of_a_part_that_a_suite_reaches_is_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = {part for part, _ in public_parts()}
    entries = coverage(parts - (INDEPENDENT_CHECKS.keys() - {Sequential}))
    unchecked = [entry for entry in entries if not entry.checked_by]
    assert [entry.kind for entry in unchecked] == ["stale"]
    assert "Sequential (a suite reaches it" in unchecked[0].name
    monkeypatch.setitem(
        INDEPENDENT_CHECKS, Path, Check("tests/oracle.py", "forward_backward", "of a part that is gone")
    )
    removed = [entry for entry in coverage(parts - INDEPENDENT_CHECKS.keys()) if not entry.checked_by]
    assert "Path (no public part of ours" in removed[0].name


def test_a_part_is_reached_by_its_first_passing_case_and_later_ones_are_not_run() -> None:
    def skip() -> float:
        raise SkipCase("option axis")

    skipped = Case("torch something", "1.0", "zero", SGD, skip, tolerance=1.0)
    checked_names: list[str] = []
    cases = [
        skipped,
        make_case(SGD, 1.0, "fails", checked_names),
        make_case(SGD, 0.0, "passes", checked_names),
        make_case(SGD, 0.0, "late", checked_names),
    ]
    assert reached_subjects(cases) == {SGD}
    assert checked_names == ["fails", "passes"]
    assert reached_subjects([skipped, make_case(LocalContrastNorm, float("nan"))]) == set()
