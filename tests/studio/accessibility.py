"""Accessibility checks of a page by axe-core."""

from typing import Any

import pytest


def serious_faults(tab: Any) -> list[str]:
    """Return the serious and critical violations on a page, as text; skip the test if axe is not installed."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    result = axe.Axe().run(tab).response
    assert len(result["passes"]) > 10  # the checks have run
    return [
        f"{fault['id']} ({fault['impact']}): {fault['help']}: {[node['target'] for node in fault['nodes']]}"
        for fault in result["violations"]
        if fault["impact"] in {"serious", "critical"}
    ]
