"""Make the pictures of the studio in docs/ with the system's Chromium: `python tools/studio_pictures.py [--looks DIR]`.

--looks: for review, write each view in light and dark, for a screen and a phone, to this folder instead.
"""

import argparse
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import ViewportSize, sync_playwright

DOCS = Path(__file__).resolve().parents[1] / "docs"
SIZE: ViewportSize = {"width": 1280, "height": 860}
# (the picture in docs, the fragment of the address, the selector of an element that the complete view has)
PICTURES = (
    ("studio.png", "draw?model=mnist-mlp-100&sample=3.1", ".check:not([data-numeric=''])"),
    ("studio-train.png", "train?run=digits-1", ".conf [data-cell]"),
    ("studio-explain.png", "explain?model=mnist-lenet&sample=digit+3", "#explain-relevance tr, #explain-relevance li"),
    ("studio-inspect.png", "inspect?model=mnist-lenet&layer=features.conv2", "#inspect-inside canvas[data-values]"),
)
SETTLE_MS = 6000  # milliseconds of waiting for maps, which are loaded one by one
SCHEMES_AND_WIDTHS: list[tuple[Literal["light", "dark"], int]] = [
    ("light", 1280),
    ("light", 390),
    ("dark", 1280),
    ("dark", 390),
]


def main() -> None:
    """Train the recipe `digits`, start the studio, and write a picture of each view."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--looks", metavar="DIR", type=Path)
    looks_folder = parser.parse_args().looks
    pellucid = [sys.executable, "-m", "pellucid"]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        settings = ["train.keep=[0,1,2,4,8,16,32,40]", "recipe.threads=1"]
        subprocess.run([*pellucid, "train", "digits", *settings], cwd=folder, check=True)
        command = [*pellucid, "studio", "--no-open", "--port", "0"]
        server = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        address = re.findall(r"http://\S+", server.stdout.readline())[0]
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        context = browser.new_context()
        context.new_page().goto(address)  # sets a cookie that replaces the token
        state = context.storage_state()
        for scheme, width in SCHEMES_AND_WIDTHS if looks_folder else SCHEMES_AND_WIDTHS[:1]:
            size: ViewportSize = {"width": width, "height": SIZE["height"]}
            page = browser.new_context(viewport=size, color_scheme=scheme, storage_state=state).new_page()
            for name, view, ready in PICTURES:
                page.goto(f"{address.split('/?')[0]}/#{view}")
                page.wait_for_selector(ready, timeout=60_000)
                page.wait_for_timeout(SETTLE_MS)
                picture = Image.open(BytesIO(page.screenshot(full_page=looks_folder is not None))).convert("RGB")
                path = looks_folder / f"{scheme}-{width}-{name}" if looks_folder else DOCS / name
                path.parent.mkdir(parents=True, exist_ok=True)
                picture.quantize(128).save(path, optimize=True)
            page.context.close()
        browser.close()
        server.send_signal(signal.SIGINT)
        server.wait(30)


if __name__ == "__main__":
    main()
