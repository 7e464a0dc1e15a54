"""Trainings by recipes without reports, whose figures take longer than a small training."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def without_report() -> Iterator[None]:
    """Let trainings by recipes write no report."""
    from pellucid import run_report

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_report, "write_report", lambda run, data: run / "report.html")
        yield
