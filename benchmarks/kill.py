"""Kill a training again and again, and see that nothing is lost: `python -m benchmarks.kill [--kills 50]`.

A `mnist-mlp` training is ended by SIGKILL at random moments and resumed each time; when it gets to its end all the
same, its weights must have the hash of a training that nobody disturbed, and then the next one begins, until all
kills are spent. The result is printed, and the exit status is 1 if a hash differs.
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

COMMAND = [sys.executable, "-m", "pellucid", "train"]


def finished(run: Path) -> str | None:
    """Return the hash of a finished run."""
    results = run / "results.json"
    return json.loads(results.read_text(encoding="utf-8"))["sha256"] if results.exists() else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="mnist-mlp")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--longest", type=float, default=8.0, help="seconds before a kill, at most")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        subprocess.run(
            [*COMMAND, options.recipe, "--out", str(out / "calm"), "--json"], check=True, capture_output=True
        )
        wanted = finished(out / "calm" / f"{options.recipe}-1")
        kills, hashes, number = 0, [], 0
        while kills < options.kills:
            number += 1
            home = out / f"killed{number}"
            run = home / f"{options.recipe}-1"
            while finished(run) is None:
                begun = (run / "recipe.toml").exists()
                order = [*COMMAND, "--resume", str(run)] if begun else [*COMMAND, options.recipe, "--out", str(home)]
                process = subprocess.Popen(order, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
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
