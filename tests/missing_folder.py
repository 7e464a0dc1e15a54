"""A plugin of pytest for a copy of the checkout without one folder of the package, pellucid.MISSING_FOLDER.

Tests that import the folder, or that fail with the error that names it, are skipped: they are tests of what needs it.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FOLDER = os.environ["MISSING_FOLDER"]
MISSING = f"pellucid.{FOLDER}"
IS_NAMED = re.compile(rf"No module named '{MISSING}\b|this needs {MISSING}\b[^\n]*, which this installation lacks")
IS_IMPORTED = re.compile(rf"(from|import) (pellucid|tests)\.{FOLDER}\b|from pellucid import [^\n]*\b{FOLDER}\b")


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Ignore the files that import the folder at the top, which is an error at the collection."""
    if collection_path.suffix != ".py":
        return None
    return True if IS_IMPORTED.search(collection_path.read_text(encoding="utf-8")) else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Iterator[None]:
    """Skip a test whose failure, or whose output, names the folder as missing."""
    report: Any = yield
    output = "\n".join([report.longreprtext, *(text for _, text in report.sections)])
    if report.failed and IS_NAMED.search(output):
        report.outcome = "skipped"
        report.longrepr = (str(item.path), 0, f"Skipped: needs {MISSING}")
    return report
