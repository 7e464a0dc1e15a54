"""Make the pictures of the studio in docs/ with the system's Chromium: `python tools/studio_pictures.py`."""

import re
import shutil
import signal
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

DOCS = Path(__file__).resolve().parents[1] / "docs"
SIZE = {"width": 1280, "height": 860}
# The picture in docs, what the address holds, and what is there when the view is complete.
PICTURES = (
    ("studio.png", "draw?model=mnist-mlp-100&sample=3.1", ".check:not([data-numeric=''])"),
    ("studio-train.png", "train?run=digits-1", ".conf [data-cell]"),
    ("studio-explain.png", "explain?model=mnist-lenet&sample=digit+3", "#explain-relevance tr, #explain-relevance li"),
    ("studio-inspect.png", "inspect?model=mnist-lenet&layer=features.conv2", "#inspect-inside canvas[data-values]"),
)
SETTLED = 6000  # milliseconds for maps that arrive one by one


def main() -> None:
    """Train a run, start the studio, and write a picture of each view."""
    pellucid = [sys.executable, "-m", "pellucid"]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        settings = ["train.keep=[0,1,2,4,8,16,32,40]", "recipe.threads=1"]
        subprocess.run([*pellucid, "train", "digits", *settings], cwd=folder, check=True)
        command = [*pellucid, "studio", "--no-open", "--port", "0"]
        server = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        address = re.findall(r"http://\S+", server.stdout.readline())[0]
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.goto(address)
        page.wait_for_selector("#views a[aria-current]")
        for name, state, ready in PICTURES:
            page.goto(f"{address.split('/?')[0]}/#{state}")
            page.wait_for_selector(ready, timeout=60_000)
            page.wait_for_timeout(SETTLED)
            picture = Image.open(BytesIO(page.screenshot())).convert("RGB")
            picture.quantize(128).save(DOCS / name, optimize=True)
        browser.close()
        server.send_signal(signal.SIGINT)
        server.wait(30)


if __name__ == "__main__":
    main()
