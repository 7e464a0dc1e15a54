"""`pellucid scorecard`: its output, its exit codes and its error messages."""

import json
from pathlib import Path

import pytest

from conformance import card, parts
from conformance.tally import Row
from pellucid.cli.main import main

pytestmark = pytest.mark.slow

ROW_KEYS = {"suite", "version", "cases", "passed", "skipped", "failed", "worst_error", "skips", "file"}


@pytest.mark.heavy
def test_a_part_as_json_is_one_object_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["scorecard", "metrics", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert {frozenset(row) for row in values["rows"]} == {frozenset(ROW_KEYS)}
    assert values["coverage"] == []
    assert not list(tmp_path.iterdir())


def test_a_failing_case_is_reported_and_is_the_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Row("torch OpInfo x", "0", "x.py", None, 1, failures=["sample 0: Mismatch: error 1e+00 is more than 1e-11"])
    monkeypatch.setattr("conformance.card.run_parts", lambda parts, every, tell: (tell(row), card.Card((row,), ()))[1])
    assert main(["scorecard", "opinfo"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == "pellucid: torch OpInfo x: sample 0: Mismatch: error 1e+00 is more than 1e-11"
    assert second == "pellucid: torch OpInfo x: 1 of 1 cases failed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["opinf"], "the scorecard has no part 'opinf'; did you mean 'opinfo'?"),
        (["coverag"], "did you mean 'coverage'?"),
        (["--every", "0"], "--every is 0; give 1 for all cases"),
        (["opinfo", "--check"], "--check compares a run of everything"),
    ],
)
def test_invalid_arguments_are_reported_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scorecard", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_missing_extra_is_reported_in_one_line_with_its_installation(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "find_spec", lambda module: None)
    assert main(["scorecard", "onnx_nodes"]) == 2
    assert "pip install 'pellucid[scorecard]'" in capsys.readouterr().err
