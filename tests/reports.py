"""A context without reports of trainings by recipes, since their figures take longer than a small training."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest


@contextmanager
def without_report() -> Iterator[None]:
    """Disable the reports of trainings by recipes within a `with` block."""
    from pellucid.recipe import run_report
    from pellucid.recipe.data_page import look

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(look, "page_of_parts", lambda *_: SimpleNamespace(sections=list))
        patch.setattr(run_report, "write_report", lambda run, data: run / "report.html")
        yield
