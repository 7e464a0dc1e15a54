"""Pages of measurements: written by their programs from stored results, and leading with what to expect."""

from pathlib import Path

import pytest
from scipy.stats import binomtest

from benchmarks.doctor.openings import OPENINGS, expectation, openings_table
from benchmarks.pages import pages

ROOT = Path(__file__).resolve().parents[2]
WRITTEN = pages()


@pytest.mark.parametrize("name", WRITTEN)
def test_a_committed_page_is_written_from_stored_results(name: str) -> None:
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == WRITTEN[name]


def test_the_expectation_has_the_rates_and_intervals_of_the_openings() -> None:
    """The rates were published when each list was opened; the intervals are SciPy's."""
    assert [one.mistakes for one in OPENINGS] == [29, 31, 34, 29, 36]
    assert "it named 28, 32, 44, 34 and 28 % when each was opened" in expectation()
    assert "in 19, 21, 21 and 25 %" in expectation()
    total = binomtest(53, 159).proportion_ci(method="wilson")
    assert f"{100 * total.low:.0f} to {100 * total.high:.0f} %" in expectation()
    for one in OPENINGS:
        interval = binomtest(one.named, one.mistakes).proportion_ci(method="wilson")
        assert f"({100 * interval.low:.1f} to {100 * interval.high:.1f} %)" in openings_table()


@pytest.mark.parametrize("name", ["README.md", "docs/how-to/doctor.md", "docs/doctor.md", "docs/causes.md"])
def test_pages_about_the_doctor_lead_with_the_same_expectation(name: str) -> None:
    text = " ".join((ROOT / name).read_text(encoding="utf-8").split())
    assert expectation() in text
    assert "97.9 %" not in text or text.index(expectation()) < text.index("97.9 %")
