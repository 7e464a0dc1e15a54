"""Tests of each row of the scorecard, and of the committed page against a run of all rows: `make scorecard`."""

import warnings
from itertools import groupby
from pathlib import Path

import pytest

from conformance import committed
from conformance.case import Case
from conformance.coverage import INDEPENDENT_CHECKS, coverage
from conformance.parts import PARTS, cases
from conformance.tally import Row

ROOT = Path(__file__).resolve().parent.parent


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize `group`: the cases of a suite that check one class or function of ours."""
    if "group" not in metafunc.fixturenames:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the suites make some samples by deprecated calls
        groups = [list(group) for _, group in groupby(cases(tuple(PARTS)), lambda case: (case.suite, case.subject))]
    names = [f"{group[0].suite} {getattr(group[0].subject, '__name__', '')}" for group in groups]
    metafunc.parametrize("group", groups, ids=names)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """The rows of the tests that have run."""
    return []


def test_suite(group: list[Case], rows: list[Row]) -> None:
    first = group[0]
    row = Row(first.suite, first.version, first.file, first.subject)
    for case in group:
        row.add(case)
    rows.append(row)
    assert row.failures == []


def test_the_committed_page_is_that_of_this_run(rows: list[Row], request: pytest.FixtureRequest) -> None:
    if len(rows) < len(request.session.items) - 1:
        pytest.skip("the page is compared with a run of all suites")
    entries = coverage({row.subject for row in rows if row.passed})
    unchecked = [entry for entry in entries if not entry.checked_by]
    assert unchecked == [], "give each an entry in INDEPENDENT_CHECKS of conformance/coverage.py"
    reached = {part.__name__ for part in INDEPENDENT_CHECKS} - {entry.name for entry in entries}
    assert not reached, "a suite reaches these; remove them from INDEPENDENT_CHECKS"
    assert committed.differences(rows, entries, ROOT) == [], "`.venv/bin/pellucid scorecard` writes the page again"
