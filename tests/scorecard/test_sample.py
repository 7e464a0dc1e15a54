"""A sample of every suite, on every push, and the command around it."""

import json
from pathlib import Path

import pytest

from pellucid.cli.main import main
from pellucid.scorecard import card, parts
from pellucid.scorecard.committed import PAGE
from pellucid.scorecard.parts import COVERAGE, SINGLE
from pellucid.scorecard.tally import Row

ROOT = Path(__file__).resolve().parents[2]
KEYS = {"suite", "version", "cases", "passed", "skipped", "failed", "worst_error", "skips", "file"}
PROJECTS = ("torch", "onnx", "sklearn", "Captum", "Zennit", "keras", "pycocotools", "skimage")


@pytest.fixture(scope="module")
def sample() -> card.Card:
    return card.score((*SINGLE, COVERAGE), 10, lambda row: None)  # networks have a test of their own


def test_nothing_of_the_sample_fails(sample: card.Card) -> None:
    assert [f"{row.suite}: {failure}" for row in sample.rows for failure in row.failures] == []
    assert sum(row.passed for row in sample.rows) > 1000


def test_nothing_is_without_an_independent_check(sample: card.Card) -> None:
    assert sample.holes == ()


def test_the_committed_page_has_the_rows_of_the_sample(sample: card.Card) -> None:
    lines = (ROOT / PAGE).read_text(encoding="utf-8").splitlines()
    committed = {tuple(line.split(" | ")[:2]) for line in lines}
    assert {(f"| {row.suite}", row.version) for row in sample.rows} <= committed


def test_every_row_says_whose_suite_it_is_and_adds_up(sample: card.Card) -> None:
    for row in sample.rows:
        assert row.suite.startswith(PROJECTS)
        assert row.cases == row.passed + row.skipped + row.failed
        assert (ROOT / row.file).is_file()
        assert all(reason.strip() for reason in row.skips)


def test_a_part_as_json_is_one_object_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["scorecard", "metrics", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {frozenset(row) for row in found["rows"]} == {frozenset(KEYS)}
    assert found["coverage"] == []
    assert not list(tmp_path.iterdir())


def test_a_failing_case_is_told_and_is_the_exit_code(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Row("torch OpInfo x", "0", "x.py", None, 1, failures=["sample 0: Mismatch: error 1e+00 is more than 1e-11"])
    monkeypatch.setattr(card, "score", lambda parts, every, tell: (tell(row), card.Card((row,), ()))[1])
    assert main(["scorecard", "opinfo"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == "torch OpInfo x: sample 0: Mismatch: error 1e+00 is more than 1e-11"
    assert second == "torch OpInfo x: 1 of 1 cases failed"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["opinf"], "the scorecard has no part 'opinf'; did you mean 'opinfo'?"),
        (["coverag"], "did you mean 'coverage'?"),
        (["--every", "0"], "--every is 0; give 1 for all cases"),
        (["opinfo", "--check"], "--check compares a run of everything"),
    ],
)
def test_mistakes_are_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scorecard", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_without_the_extra_one_line_says_how_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "find_spec", lambda module: None)
    assert main(["scorecard", "onnx_nodes"]) == 2
    assert "pip install 'pellucid[scorecard]'" in capsys.readouterr().err
