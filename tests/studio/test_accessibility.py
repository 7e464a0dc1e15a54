"""Each view of the studio, judged by axe-core in a browser."""

from typing import Any

import pytest

from pellucid.studio.session import VIEWS
from tests.report.test_browser import browser  # noqa: F401  (a fixture)
from tests.studio.test_browser import WAIT, cookies, served  # noqa: F401  (fixtures)
from tests.studio.test_command import Started

pytestmark = pytest.mark.real
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_accessible(view: str, scheme: str, browser: Any, served: Started, cookies: Any) -> None:  # noqa: F811
    context = browser.new_context(color_scheme=scheme)
    context.add_cookies(cookies)
    page = context.new_page()
    page.goto(f"http://{served.host}/#{view}")
    page.wait_for_selector("#views a[aria-current]", timeout=WAIT)
    page.wait_for_timeout(2000)  # the view fills itself with what the server answers
    result = axe.Axe().run(page).response
    context.close()
    assert len(result["passes"]) > 10  # it ran
    serious = [
        f"{fault['id']} ({fault['impact']}): {fault['help']}: {[node['target'] for node in fault['nodes']]}"
        for fault in result["violations"]
        if fault["impact"] in {"serious", "critical"}
    ]
    assert not serious, "\n".join(serious)
