"""How much a training at full speed slows down while a page of the studio watches it: `python -m benchmarks.studio`.

Within one training, moments with and without a page take turns, so that other work on the machine disturbs both alike.
Compared are the processor's seconds that the training takes for an epoch, and shown what the server and Chromium, which
draws the page, take beside it; on a machine with two idle processors, these do not slow the training.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from pellucid.run.history import read_csv
from tests.report.test_browser import CHROMIUM

TURN, TURNS = 6.0, 4  # seconds; of each kind
SETTLE = 11.0  # seconds of a turn that do not count: the page is loaded, or the training forgets it (WATCHED)


def next_epoch(run: Path, after: float = 0.0) -> int:
    """Wait for the next epoch's end, at first for some seconds; return the number of finished epochs."""
    time.sleep(after)
    done = len(read_csv(run / "metrics.csv"))
    while (now := len(read_csv(run / "metrics.csv"))) == done:
        time.sleep(0.005)
    return now


def processor_seconds(pid: int) -> float:
    """Return the processor time of a process, of all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(recipe: str, *settings: str) -> None:
    """Print the seconds of an epoch in each turn, and the ratio of the medians."""
    times: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        command = [sys.executable, "-m", "pellucid", "studio", name, "--no-open", "--port", "0"]
        studio = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert studio.stdout is not None
        found = re.search(r"http://\S+", studio.stdout.readline())
        assert found is not None
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(found[0])
        command = [sys.executable, "-m", "pellucid", "train", recipe, "train.epochs=100000", *settings, "--out", name]
        training = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not (runs := [path.parent for path in Path(name).glob("*/metrics.csv")]):
            time.sleep(0.1)
        for turn in range(2 * TURNS):
            watched = turn % 4 in (1, 2)
            page.goto(f"{found[0].partition('/?')[0]}/#train?run={runs[0].name}" if watched else "about:blank")
            first, began = next_epoch(runs[0], SETTLE), processor_seconds(training.pid)
            server, then = processor_seconds(studio.pid), time.perf_counter()
            last, ended = next_epoch(runs[0], TURN), processor_seconds(training.pid)
            load = (processor_seconds(studio.pid) - server) / (time.perf_counter() - then)
            times[watched].append((ended - began) / (last - first))
            what = "watched" if watched else "alone"
            print(f"{what:8}{times[watched][-1]:8.4f} s an epoch; the server: {100 * load:.1f} % of a core", flush=True)
        browser.close()
        for process in (training, studio):
            process.terminate()
            process.wait()
    ratio = statistics.median(times[True]) / statistics.median(times[False])
    print(f"{recipe} {' '.join(settings)}: {ratio:.3f} times the processor time while it is watched")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["mnist-lenet", "data.limit=2000", "data.validation=0.1", "recipe.threads=1"]))
