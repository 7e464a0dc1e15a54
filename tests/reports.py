"""A context without reports of trainings by recipes, since their figures take longer than a small training."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def without_report() -> Iterator[None]:
    """Disable the reports of trainings by recipes within a `with` block."""
    from pellucid.recipe import run_report

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_report, "write_report", lambda run, data: run / "report.html")
        yield
