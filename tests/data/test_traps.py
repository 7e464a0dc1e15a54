"""Small data sets with one trap each are read rightly or refused with the cure, and their twins are read."""

from pathlib import Path

import pytest

from benchmarks.traps import open_part, sealed_part
from benchmarks.traps.cases import Case
from benchmarks.traps.judge import judged

CASES = [*open_part.CASES, *sealed_part.CASES]


@pytest.mark.parametrize("role", ["trap", "twin"])
@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=pytest.mark.long if k % 3 else ()) for k, case in enumerate(CASES)],
    ids=[case.name for case in CASES],
)
def test_a_trap_is_no_trap(case: Case, role: str, tmp_path: Path) -> None:
    folder = tmp_path / role
    folder.mkdir()
    case.write(folder, role == "twin")
    mark, outcome = judged(folder, case.task, case.twin if role == "twin" else case.trap)
    assert mark == "ok" or (mark == "refused" and role == "trap"), outcome
