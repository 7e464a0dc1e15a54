"""https://1000bd.com/Article/Index/1422869
CAUSE: the list of labels is in the order of the pictures' numbers, but the files come sorted by name (img_1, img_10, img_100, ...), so most pictures land in the folder of another picture's class.
FIX: join pictures and labels by the file's number (sort numerically), and make the class folders anew."""
import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from pellucid.data import data_root

RECIPE = """
[data]
name = "{data}"
size = 28
mode = "L"
standardize = true
[network]
model = "convnet"
width = 8
classes = 10
[loss]
name = "softmax_cross_entropy"
[optimizer]
name = "adam"
lr = 0.01
[schedule]
name = "one_cycle"
[train]
epochs = 5
batch_size = 32
"""


def source(seed, n):
    f = f"{data_root()}/mnist/t10k-"
    x = np.frombuffer(gzip.open(f + "images-idx3-ubyte.gz").read(), np.uint8, offset=16).reshape(-1, 28, 28)
    y = np.frombuffer(gzip.open(f + "labels-idx1-ubyte.gz").read(), np.uint8, offset=8)
    order = np.random.default_rng(seed).permutation(len(x))[:n]
    return x[order], y[order]


def save(folder, images, labels):
    for i, (im, k) in enumerate(zip(images, labels)):
        d = folder / str(k)
        d.mkdir(parents=True, exist_ok=True)
        Image.fromarray(im).save(d / f"{i:04}.png")


def make(folder, seed, mistake):
    folder = Path(folder)
    x, y = source(seed, 1800)
    raw = folder / "raw"
    raw.mkdir()
    for i, im in enumerate(x[:1300]):
        Image.fromarray(im).save(raw / f"img_{i + 1}.png")
    (folder / "labels.csv").write_text("\n".join(str(k) for k in y[:1300]))
    # sort the pictures into class folders
    labels = (folder / "labels.csv").read_text().split()
    files = sorted(raw.iterdir()) if mistake else sorted(raw.iterdir(), key=lambda f: int(f.stem.split("_")[1]))
    images = [np.asarray(Image.open(f)) for f in files]
    cut = np.random.default_rng(seed + 1).permutation(1300)
    save(folder / "digits/train", [images[i] for i in cut[:1000]], [labels[i] for i in cut[:1000]])
    save(folder / "digits/val", [images[i] for i in cut[1000:]], [labels[i] for i in cut[1000:]])
    save(folder / "clean/train", x[1300:1400], y[1300:1400])
    save(folder / "clean/val", x[1300:], y[1300:])
    (folder / "recipe.toml").write_text(RECIPE.format(data=folder / "digits"))
    return [str(folder / "recipe.toml"), f"recipe.seed={seed}", "recipe.threads=1"]


def score(run_folder, seed):
    clean = Path(run_folder).parent.parent / "clean"
    done = subprocess.run([sys.executable, "-m", "pellucid", "evaluate", str(run_folder), "--data", str(clean), "--json"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["accuracy"]
