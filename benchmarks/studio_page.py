"""Measure the loading time of the studio's page and the long tasks of its main thread.

`python -m benchmarks.studio_page [MODEL ...]`. The loading time is the time from the server's printed address until a
headless Chromium, already started, shows a network's output; for the pages of VIEWS, that from their address in a
running server until they are complete, the first time and again. Long tasks are those above 50 ms; they are recorded
while the page is loaded, and while a mouse draws, hovers over neurons and steps through both passes.
"""

import sys

from playwright.sync_api import Browser, Page, sync_playwright

from tests.report.test_browser import CHROMIUM
from tests.studio.test_browser import THREE
from tests.studio.test_command import studio

ROUNDS = 5
VIEWS = {  # by name: the state in the address, and an element of the complete page
    "learn": ("learn?lesson=descent", ".learn-column h3"),
    "play": ("play?", "#play-chart svg"),
}
OBSERVER_SCRIPT = """window.tasks = [];
new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map((one) => one.duration)))
  .observe({ type: "longtask", buffered: true });"""


def draw(page: Page) -> None:
    """Draw a 3 with the mouse, move over the drawing of the network, and step through the passes in both orders."""
    box = page.locator("#pad").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + THREE[0][0] * box["width"], box["y"] + THREE[0][1] * box["height"])
    page.mouse.down()
    for x, y in THREE[1:]:
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=12)
    page.mouse.up()
    page.mouse.move(1100, 300, steps=40)
    page.mouse.move(600, 500, steps=40)
    page.wait_for_selector("[data-pass][disabled]")  # the drawing has no label, so no backward pass
    steps = page.locator("[data-pass]:not([disabled])").all()
    for step in [*steps, *reversed(steps)]:
        step.click()
        page.wait_for_timeout(100)
    page.wait_for_timeout(500)


def usable_times(browser: Browser, name: str) -> tuple[float, float]:
    """Return the seconds until a page of VIEWS is complete, the first time in a server and the second time."""
    state, selector = VIEWS[name]
    seconds = []
    with studio() as started:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(started.address)
        page.wait_for_selector("#views a")
        for _ in range(2):
            page.goto("about:blank")
            page.goto(f"http://{started.host}/#{state}")
            page.wait_for_selector(selector)
            seconds.append(page.evaluate("performance.now()") / 1000)
    return seconds[0], seconds[1]


def main(*models: str) -> None:
    """Print the loading time of the page, and the durations of the long tasks during loading and drawing, by model."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for name in VIEWS:
            first, second = usable_times(browser, name)
            print(f"{name}: usable after {first:.2f} s the first time, {second:.2f} s the second")
        for model in models:
            with studio(model) as started:
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                page.add_init_script(OBSERVER_SCRIPT)
                page.goto(started.address)
                page.wait_for_selector("#read")
                usable = page.evaluate("performance.now()")
                page.wait_for_timeout(1000)
                loading = page.evaluate("window.tasks.splice(0)")
                for _ in range(ROUNDS):
                    draw(page)
                drawing = page.evaluate("window.tasks")
            print(
                f"{model}: address after {started.seconds:.2f} s, page usable {usable / 1000:.2f} s later; tasks above "
                f"50 ms: {list(map(round, loading))} while loading, {list(map(round, drawing))} while drawing"
            )
        browser.close()


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["mnist-mlp-100", "mnist-lenet"]))
