"""https://www.mo4tech.com/image-classification-record-a-sinkhole-binary-classification-network-using-crossentropyloss-loss-has-been-at-0-69-do-not-converge-problem.html
CAUSE: far too much augmentation (rotations up to 180 degrees, shifts, zooms, both flips, strong brightness and contrast, a large covered square), so the small network cannot learn the pictures, and signs that differ by direction become alike.
FIX: only small changes that keep the class (rotations of some degrees, small shifts)."""
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

ARROWS = {"left": 180, "right": 0, "up": 90, "down": 270, "u_turn": None, "stop": None}
MILD = "rotate = 8.0\nshift = 0.05\nzoom = 0.08\nbrightness = 0.15\n"
HEAVY = "rotate = 180.0\nshift = 0.3\nzoom = 0.4\nshear = 30.0\nflip = true\nvertical_flip = true\nbrightness = 0.6\ncontrast = 0.7\nsaturation = 0.6\ncutout = 16\n"
RECIPE = """
[data]
name = "{data}"
size = 32
mode = "RGB"
standardize = true
[augment]
{augment}fill = "nearest"
[network]
model = "convnet"
width = 8
classes = 6
[loss]
name = "softmax_cross_entropy"
[optimizer]
name = "adam"
lr = 0.01
[schedule]
name = "one_cycle"
[train]
epochs = 6
batch_size = 32
"""


def sign(kind, rng):
    """A road sign with an arrow, in front of a blurred background."""
    n = 96
    base = rng.integers(0, 255, (5, 5, 3)).astype(np.uint8)
    im = Image.fromarray(base).resize((n, n), Image.BICUBIC)
    face = Image.new("RGBA", (n, n), (0, 0, 0, 0))
    d = ImageDraw.Draw(face)
    colour = tuple(int(v) for v in np.clip(np.array([40, 80, 170]) + rng.normal(0, 25, 3), 0, 255))
    white = tuple(int(v) for v in rng.integers(195, 256, 3))
    d.ellipse((14, 14, 82, 82), fill=colour)
    w = int(rng.integers(7, 12))
    if kind == "u_turn":
        d.arc((34, 30, 62, 58), 180, 360, fill=white, width=w)
        d.line((37, 44, 37, 68), fill=white, width=w)
        d.polygon([(50, 46), (70, 46), (60, 64)], fill=white)
    elif kind == "stop":
        d.rectangle((26, 48 - w, 70, 48 + w), fill=white)
    else:
        d.line((28, 48, 58, 48), fill=white, width=w)
        d.polygon([(52, 34), (52, 62), (72, 48)], fill=white)
        face = face.rotate(ARROWS[kind])
    size = int(rng.integers(66, 100))
    face = face.rotate(float(rng.normal(0, 5)), resample=Image.BILINEAR).resize((size, size), Image.BILINEAR)
    at = tuple(int(v) for v in (n - size) / 2 + rng.integers(-8, 9, 2))
    im.paste(face, at, face)
    x = np.asarray(im.resize((48, 48), Image.BILINEAR), np.float32) * rng.uniform(0.5, 1.1) + rng.normal(0, 14, (48, 48, 3))
    return Image.fromarray(np.clip(x, 0, 255).astype(np.uint8))


def write(folder, each, rng):
    for kind in ARROWS:
        (folder / kind).mkdir(parents=True)
        for i in range(each):
            sign(kind, rng).save(folder / kind / f"{i:03}.png")


def make(folder, seed, mistake):
    folder, rng = Path(folder), np.random.default_rng(seed)
    write(folder / "roadsigns/train", 150, rng)
    write(folder / "roadsigns/val", 40, rng)
    write(folder / "clean/train", 5, rng)
    write(folder / "clean/val", 80, rng)
    (folder / "recipe.toml").write_text(RECIPE.format(data=folder / "roadsigns", augment=HEAVY if mistake else MILD))
    return [str(folder / "recipe.toml"), f"recipe.seed={seed}", "recipe.threads=1"]


def score(run_folder, seed):
    clean = Path(run_folder).parent.parent / "clean"
    command = [sys.executable, "-m", "pellucid", "evaluate", str(run_folder), "--data", str(clean), "--json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["accuracy"]
