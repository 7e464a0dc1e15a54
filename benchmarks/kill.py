"""Kill trainings, conversions and reports repeatedly, and check that nothing is lost: `python -m benchmarks.kill`.

Trainings: each job of TRAININGS is killed by SIGKILL at random times after a checkpoint, and resumed. A run that ends
must have the same weights as an uninterrupted run. The kills are divided among the jobs. Writing: `pellucid data
convert`, `pellucid compare-runs` and the last seconds of a training, in which results and report are written, are
killed at random times. No partly written file may remain, and a second call must succeed with the same result. The
table is printed; the exit status is 1 if any result differs.
"""

import argparse
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pellucid import Augment, Conv2d, Dense, Flatten, MaxPool2d, Model, ReLU, Sequential
from pellucid.data import ImageFolder, data_root

PELLUCID = [sys.executable, "-m", "pellucid"]
CHECKPOINT_SECONDS = 0.5  # time between two checkpoints
COMMON_SETTINGS = ("recipe.threads=1", f"train.checkpoint_seconds={CHECKPOINT_SECONDS}")


@dataclass(frozen=True)
class Training:
    """Commands of a training. resume: the words before `--resume RUN`; () if `command` also resumes a run."""

    command: tuple[str, ...]
    resume: tuple[str, ...] = ("train",)

    def command_line(self, run: Path) -> list[str]:
        """Return the command that starts or resumes the run in the folder `run`."""
        if not self.resume:
            return [*self.command, str(run)]
        if (run / "recipe.toml").exists():
            return [*PELLUCID, *self.resume, "--resume", str(run)]
        return [*PELLUCID, *self.command, *COMMON_SETTINGS, "--out", str(run.parent)]


def recipe_training(name: str, *settings: str) -> Training:
    return Training(("train", name, *settings))


TRAININGS = {
    "digits": recipe_training("mnist-mlp", "train.epochs=2"),
    "detection": recipe_training("bccd-ssd", "data.limit=16", "train.epochs=4", "start.weights=", "data.size=160",
                        "train.frozen=[]", "train.rates=[]"),
    "segmentation": recipe_training("camvid-unet", "data.limit=24", "train.epochs=4", "network.width=4"),
    "gan": recipe_training("mnist-dcgan", "data.limit=2000", "train.epochs=3", "train.keep=[]"),
    "streaming": Training((sys.executable, "-m", "benchmarks.kill", "--streamed"), resume=()),
    "gestures": Training(
        ("gestures", "train", str(data_root() / "signs"), "--epochs", "3"), resume=("gestures", "train")
    ),
}  # fmt: skip


def train_streamed(run: Path) -> None:
    """Train or resume a small network on image files decoded on demand, and write its hash to results.json."""
    blocks = {f"b{k}": Sequential(conv=Conv2d(8 << k, 3), act=ReLU(), pool=MaxPool2d(2)) for k in range(3)}
    model = Model(Sequential(**blocks, flat=Flatten(), scores=Dense(10)))
    signs = data_root() / "signs"
    model.fit(
        ImageFolder(signs, "train", size=48), validation=ImageFolder(signs, "val", size=48), epochs=3, batch_size=32,
        augment=Augment(rotate=15, shift=0.1, flip=True), run=run, resume=True, checkpoint_seconds=CHECKPOINT_SECONDS,
        verbose=False,
    )  # fmt: skip
    results = run / "results.new"
    results.write_text(json.dumps({"sha256": model.sha256()}), encoding="utf-8")
    results.rename(run / "results.json")


def result_hash(run: Path) -> str | None:
    """Return the hash of the weights of a finished run; None if it is not finished."""
    results = run / "results.json"
    return json.loads(results.read_text(encoding="utf-8"))["sha256"] if results.exists() else None


def checkpoint_time(run: Path) -> int:
    """Return the time of the last checkpoint in nanoseconds; 0 without a checkpoint."""
    last = run / "weights" / "last.safetensors"
    return last.stat().st_mtime_ns if last.exists() else 0


def kill_between_checkpoints(command: list[str], find_run: Callable[[], Path], delay: float) -> bool:
    """Start a training, wait for its first checkpoint and then `delay` seconds, and kill it.

    Return True if it was killed, and False if it ended before. Raises RuntimeError if it fails.
    """
    last_checkpoint = checkpoint_time(find_run())
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        while process.poll() is None and checkpoint_time(find_run()) == last_checkpoint:
            time.sleep(0.01)
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
        if process.returncode:
            errors.seek(0)
            raise RuntimeError(f"{' '.join(command)}: {errors.read().decode('utf-8', 'replace')}")
        return False


def kill_trainings(name: str, kills: int, rng: random.Random, folder: Path) -> tuple[int, int, bool]:
    """Return the numbers of kills and of runs of one job, and whether all runs had the expected weights."""
    training = TRAININGS[name]

    def run_in(out: Path) -> Path:
        """Return the run folder in `out`, or its future path."""
        return next(iter(sorted(out.glob("*-1"))), out / "run-1")

    undisturbed = folder / name / "calm"
    undisturbed.mkdir(parents=True)
    subprocess.run(training.command_line(run_in(undisturbed)), check=True, capture_output=True)
    expected = result_hash(run_in(undisturbed))
    n_kills, n_runs, all_equal = 0, 0, True
    while n_kills < kills:
        n_runs += 1
        out = folder / name / f"killed-{n_runs}"
        out.mkdir()
        while result_hash(run_in(out)) is None:
            delay = rng.uniform(0, 2 * CHECKPOINT_SECONDS) if n_kills < kills else 3600.0
            n_kills += kill_between_checkpoints(training.command_line(run_in(out)), lambda out=out: run_in(out), delay)
        all_equal = all_equal and result_hash(run_in(out)) == expected
    return n_kills, n_runs, all_equal


def tree_hash(path: Path) -> str:
    """Return the hash of a file, or of the names and contents of the files in a folder; "" if there are no files."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(path)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest() if files else ""


def kill_writing(name: str, command: list[str], out: Path, kills: int, rng: random.Random) -> tuple[int, bool, str]:
    """Kill a command that writes `out`; return the number of kills, whether all checks passed, and a message if not.

    After each kill, `out` must be complete or absent, no other file may remain in its folder, and the command must
    succeed when it is called once more.
    """
    start_time = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.monotonic() - start_time
    expected, expected_siblings = tree_hash(out), set(out.parent.iterdir())
    n_kills = 0
    while n_kills < kills:
        shutil.rmtree(out) if out.is_dir() else out.unlink()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(rng.uniform(0.3, 1.05) * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            n_kills += 1
        if out.exists() and tree_hash(out) != expected:
            return n_kills, False, f"{name}: a part of {out.name} remained"
        if not out.exists():
            second_call = subprocess.run(command, check=False, capture_output=True, text=True)
            if second_call.returncode or tree_hash(out) != expected:
                return n_kills, False, f"{name}: the second call failed: {second_call.stderr.strip()}"
        if set(out.parent.iterdir()) != expected_siblings:
            return (
                n_kills,
                False,
                f"{name}: {[one.name for one in set(out.parent.iterdir()) - expected_siblings]} remained",
            )
    return n_kills, True, ""


def kill_reports(kills: int, rng: random.Random, folder: Path) -> tuple[int, bool, str]:
    """Kill trainings while they write results and report; return the same values as `kill_writing`."""
    training = recipe_training("mnist-mlp", "train.epochs=1", "data.limit=500")
    undisturbed = folder / "reports" / "calm" / "mnist-mlp-1"
    subprocess.run(training.command_line(undisturbed), check=True, capture_output=True)
    expected, expected_names = result_hash(undisturbed), {file.name for file in undisturbed.iterdir()}
    n_kills, run_index = 0, 0
    while n_kills < kills:
        run_index += 1
        run = folder / "reports" / f"killed-{run_index}" / "mnist-mlp-1"
        process = subprocess.Popen(training.command_line(run), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not checkpoint_time(run):
            time.sleep(0.005)
        try:
            process.wait(rng.uniform(0, 3.0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            n_kills += 1
        page = run / "report.html"
        if page.exists() and not page.read_text(encoding="utf-8").rstrip().endswith("</html>"):
            return n_kills, False, "report: a part of report.html remained"
        second_call = subprocess.run(training.command_line(run), check=False, capture_output=True, text=True)
        remaining = {file.name for file in run.iterdir()}
        if second_call.returncode or result_hash(run) != expected or remaining != expected_names:
            return n_kills, False, f"report: {second_call.stderr.strip()} {sorted(remaining ^ expected_names)}"
    return n_kills, True, ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="of trainings (default: 100)")
    parser.add_argument("--writing", type=int, default=30, help="kills of conversions and reports (default: 30)")
    parser.add_argument("--only", nargs="*", default=list(TRAININGS), choices=list(TRAININGS), help="trainings")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--streamed", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.streamed:
        train_streamed(options.streamed)
        return 0
    rng, all_good = random.Random(options.seed), True
    print("| job | kills | runs | result |\n|---|--:|--:|---|")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for index, name in enumerate(options.only):
            share = options.kills // len(options.only) + (index < options.kills % len(options.only))
            if not share:
                continue
            kills, runs, equal = kill_trainings(name, share, rng, folder)
            print(f"| {name} | {kills} | {runs} | {'same weights' if equal else 'OTHER WEIGHTS'} |", flush=True)
            all_good = all_good and equal
        if options.writing:
            all_good = _kill_all_writing(options.writing // 3, rng, folder) and all_good
    return 0 if all_good else 1


def _kill_all_writing(kills: int, rng: random.Random, folder: Path) -> bool:
    """Kill each command that writes files, print its row, and return whether all checks passed."""
    out = folder / "converted"
    out.mkdir()
    bccd = [*PELLUCID, "data", "convert", str(data_root() / "bccd"), str(out / "yolo"), "--to", "yolo"]
    runs = []
    for seed in (0, 1):
        run_folder = folder / f"run{seed}"
        command = recipe_training("mnist-mlp", "train.epochs=1", "data.limit=500", f"recipe.seed={seed}").command
        subprocess.run([*PELLUCID, *command, "--out", str(run_folder)], check=True, capture_output=True)
        runs.append(str(run_folder / "mnist-mlp-1"))
    pages = folder / "pages"
    pages.mkdir()
    compare = [*PELLUCID, "compare-runs", *runs, "--out", str(pages / "page.html")]
    results = [
        ("conversion", kill_writing("conversion", bccd, out / "yolo", kills, rng)),
        ("page", kill_writing("page", compare, pages / "page.html", kills, rng)),
        ("report", kill_reports(kills, rng, folder)),
    ]
    for name, (n_kills, is_whole, fault) in results:
        print(f"| {name} | {n_kills} | | {'whole files, same results' if is_whole else fault} |", flush=True)
    return all(is_whole for _, (_, is_whole, _) in results)


if __name__ == "__main__":
    sys.exit(main())
