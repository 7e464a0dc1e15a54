"""Kill a training again and again, and see that nothing is lost: `python -m benchmarks.kill [--kills 50]`.

A `mnist-mlp` training is ended by SIGKILL at random moments and resumed each time; when it gets to its end all the
same, its weights must have the hash of a training that nobody disturbed, and then the next one begins, until all
kills are spent. The result is printed, and the exit status is 1 if a hash differs. --streamed: instead of a recipe,
train a small network with augmentation on the image files of `signs`, which are decoded on demand.
"""

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from pellucid import Augment, Conv2d, Dense, Flatten, MaxPool2d, Model, ReLU, Sequential
from pellucid.data import ImageFolder, data_root

COMMAND = [sys.executable, "-m", "pellucid", "train"]


def finished(run: Path) -> str | None:
    """Return the hash of a finished run."""
    results = run / "results.json"
    return json.loads(results.read_text(encoding="utf-8"))["sha256"] if results.exists() else None


def streamed(run: Path) -> None:
    """Train or resume the network on image files, and write its hash where `finished` looks for it."""
    blocks = {f"b{k}": Sequential(conv=Conv2d(8 << k, 3), act=ReLU(), pool=MaxPool2d(2)) for k in range(3)}
    model = Model(Sequential(**blocks, flat=Flatten(), scores=Dense(10)))
    signs = data_root() / "signs"
    model.fit(
        ImageFolder(signs, "train", size=48), validation=ImageFolder(signs, "val", size=48), epochs=3, batch_size=32,
        augment=Augment(rotate=15, shift=0.1, flip=True), run=run, resume=True, checkpoint_seconds=0.5, verbose=False,
    )  # fmt: skip
    found = run / "results.new"
    found.write_text(json.dumps({"sha256": model.sha256()}), encoding="utf-8")
    found.rename(run / "results.json")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="mnist-mlp")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as for `pellucid train`")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--longest", type=float, default=8.0, help="seconds before a kill, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--streamed", action="store_true")
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        streamed(options.run)
        return 0

    def command(run: Path) -> list[str]:
        """Return what begins or resumes a run."""
        if options.streamed:
            return [sys.executable, "-m", "benchmarks.kill", "--run", str(run)]
        begun = (run / "recipe.toml").exists()
        first = [options.recipe, *options.set, "--out", str(run.parent)]
        return [*COMMAND, *(["--resume", str(run)] if begun else first)]

    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        calm = out / "calm" / f"{options.recipe}-1"
        subprocess.run(command(calm), check=True, capture_output=True)
        wanted = finished(calm)
        kills, hashes, number = 0, [], 0
        while kills < options.kills:
            number += 1
            run = out / f"killed{number}" / f"{options.recipe}-1"
            while finished(run) is None:
                begun = options.streamed or (run / "recipe.toml").exists()
                process = subprocess.Popen(command(run), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
                try:
                    wait = draw.uniform(0, options.longest) if kills < options.kills else None
                    _, error = process.communicate(timeout=wait)
                    if process.returncode:
                        print(error.decode(), file=sys.stderr)
                        return 1
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    process.communicate()
                    kills += 1
                if not begun and not (run / "recipe.toml").exists():
                    shutil.rmtree(run, ignore_errors=True)  # killed between the folder and its first file
            hashes.append(finished(run))
            print(f"{kills} kills, run {number} ended in {hashes[-1]}", flush=True)
    same = all(found == wanted for found in hashes)
    print(f"{kills} kills over {number} runs; undisturbed {wanted}: {'all equal' if same else 'NOT EQUAL'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
