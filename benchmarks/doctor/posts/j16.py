"""https://decodetrail.com/question/why-does-my-cnn-predict-only-one-class-no-matter-what-image-i-give-it/?show=recent
CAUSE: one class has most of the pictures (in training and validation alike), so the network mostly answers with it; the accuracy looks fair, but pictures of the rare classes are missed.
FIX: balance the classes (collect or sample them evenly, or weight the loss by class)."""
import json
import random
import subprocess
import sys
import zipfile
from pathlib import Path
from pellucid.data import data_root

CLASSES = ["automobile", "bird", "frog", "ship"]
RECIPE = """
[data]
name = "{data}"
size = 32
mode = "RGB"
standardize = true
[augment]
flip = true
[network]
model = "convnet"
width = 8
classes = 4
[loss]
name = "softmax_cross_entropy"
[optimizer]
name = "adam"
lr = 0.005
[schedule]
name = "one_cycle"
[regularizer]
name = "l2"
lam = 0.1
[train]
epochs = 5
batch_size = 32
"""


def make(folder, seed, mistake):
    folder, rng = Path(folder), random.Random(seed)
    z = zipfile.ZipFile(f"{data_root()}/cifar10/cifar10.zip")
    found = {(part, c): [] for part in ("train", "test") for c in CLASSES}
    for name in sorted(z.namelist()):
        p = name.split("/")
        if p[-1] and len(p) >= 3 and (p[-3], p[-2]) in found:
            found[p[-3], p[-2]].append(name)
    frequent = CLASSES[seed % len(CLASSES)]

    def write(part, origin, counts):
        for c, n in counts.items():
            (folder / part / c).mkdir(parents=True)
            for i in range(n):
                name = found[origin, c].pop(rng.randrange(len(found[origin, c])))
                (folder / part / c / f"{i:04}.jpg").write_bytes(z.read(name))

    counts = {c: (1110 if c == frequent else 30) if mistake else 300 for c in CLASSES}
    write("photos/train", "train", counts)
    write("photos/val", "test", {c: n // 5 for c, n in counts.items()})
    write("clean/val", "test", {c: 150 for c in CLASSES})
    write("clean/train", "train", {c: 5 for c in CLASSES})
    (folder / "recipe.toml").write_text(RECIPE.format(data=folder / "photos"))
    return [str(folder / "recipe.toml"), f"recipe.seed={seed}", "recipe.threads=1"]


def score(run_folder, seed):
    clean = Path(run_folder).parent.parent / "clean"
    command = [sys.executable, "-m", "pellucid", "evaluate", str(run_folder), "--data", str(clean), "--json"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["accuracy"]
