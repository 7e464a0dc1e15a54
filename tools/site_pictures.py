"""Make the pictures of docs/index.md from the sample pictures: `python tools/site_pictures.py`.

Each is written by one command of that page, and reduced to at most 640 pixels.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).resolve().parents[1] / "docs"
WIDTH = 640  # pixels
# (the picture in docs, the command, the file that the command writes)
PICTURES = (
    ("objects.jpg", "detect bccd try/cells.jpg --out found", "found/cells-detections.png"),
    ("box.png", "explain bccd try/cells.jpg --box 1 --method gradcam --out box", "box/gradcam.png"),
    ("street.jpg", "segment camvid try/street.jpg --out found", "found/street-overlay.png"),
)


def main() -> None:
    """Run the commands in a temporary folder, and write the reduced pictures to docs/."""
    with tempfile.TemporaryDirectory() as folder:
        for name, command, file in (("", "samples try", ""), *PICTURES):
            subprocess.run([sys.executable, "-m", "pellucid", *command.split()], cwd=folder, check=True)
            if name:
                picture = Image.open(Path(folder) / file).convert("RGB")
                picture.thumbnail((WIDTH, WIDTH))
                if name.endswith(".png"):
                    picture = picture.quantize(128)
                picture.save(DOCS / name, quality=85, optimize=True)


if __name__ == "__main__":
    main()
