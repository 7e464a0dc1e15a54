"""The site in a browser: the search works on pages opened from the disk, without network access."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WORKER = "javascripts/iframe-worker.js"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a site of two pages, built with the theme, the search and the settings of mkdocs.yml."""
    config = pytest.importorskip("mkdocs.config", reason="the extra docs is not installed")
    build = pytest.importorskip("mkdocs.commands.build")
    docs, site_folder = tmp_path_factory.mktemp("docs"), tmp_path_factory.mktemp("site")
    (docs / WORKER).parent.mkdir()
    shutil.copy(ROOT / "docs" / WORKER, docs / WORKER)
    (docs / "index.md").write_text("# Start\n\nA sentence about nothing.\n", encoding="utf-8")
    (docs / "maps").mkdir()
    (docs / "maps" / "cam.md").write_text("# Maps\n\nGrad-CAM weights each map by its gradient.\n", encoding="utf-8")
    mkdocs_config = config.load_config(
        str(ROOT / "mkdocs.yml"),
        docs_dir=str(docs),
        site_dir=str(site_folder),
        hooks=[],
        nav=["index.md", "maps/cam.md"],
        plugins=["search", "offline"],
    )
    build.build(mkdocs_config)
    return site_folder


def test_no_script_or_style_is_loaded_from_a_network(site: Path):
    for page in ("index.html", "maps/cam.html"):
        text = (site / page).read_text(encoding="utf-8")
        assert 'src="http' not in text
        assert 'rel="stylesheet" href="http' not in text
        assert "iframe-worker.js" in text


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.mark.slow
@pytest.mark.parametrize("page_name", ["index.html", "maps/cam.html"])
def test_the_search_finds_a_page_opened_from_the_disk(page_name: str, site: Path, browser: Any):
    page = browser.new_page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto((site / page_name).as_uri())
    page.locator(".md-search__input").click()
    page.keyboard.type("grad-cam", delay=20)
    result = page.locator(".md-search-result__link").first
    result.wait_for(timeout=10_000)
    assert "Maps" in result.inner_text()
    result.click()
    page.wait_for_url("**/maps/cam.html*")
    page.close()
    assert [url for url in requests if not url.startswith(("file:", "data:", "about:"))] == []
