"""Measure how much the studio's page slows down a training that it shows: `python -m benchmarks.studio`.

Within one training, turns with and without an open page alternate, so other programs affect both equally. The page lets
the doctor examine the training, and this cost is included; a turn that ends during an examination is called examined.
The processor time and the wall-clock time of the training per epoch are compared. The server and Chromium, which draws
the page, need a second processor that is idle.
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

TURN_SECONDS, N_TURNS = 6.0, 4  # turns of each kind
SETTLE_SECONDS = 11.0  # start of a turn, not measured: the page is loaded, or the training stops counting as watched


def next_epoch(run: Path, delay: float = 0.0) -> int:
    """Wait for `delay` seconds and then for the end of an epoch; return the number of finished epochs."""
    time.sleep(delay)
    n_epochs = len(read_csv(run / "metrics.csv"))
    while (now := len(read_csv(run / "metrics.csv"))) == n_epochs:
        time.sleep(0.005)
    return now


def processor_seconds(pid: int) -> float:
    """Return the processor time of all threads of a process, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(recipe: str, *settings: str) -> None:
    """Print the seconds per epoch in each turn, and the ratio of the medians with and without the page."""
    times: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        command = [sys.executable, "-m", "pellucid", "studio", name, "--no-open", "--port", "0"]
        studio = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert studio.stdout is not None
        address = re.search(r"http://\S+", studio.stdout.readline())
        assert address is not None
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(address[0])
        command = [sys.executable, "-m", "pellucid", "train", recipe, "train.epochs=100000", *settings, "--out", name]
        training = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not (runs := [path.parent for path in Path(name).glob("*/metrics.csv")]):
            time.sleep(0.1)
        for turn in range(2 * N_TURNS):
            is_watched = turn % 4 in (1, 2)
            page.goto(f"{address[0].partition('/?')[0]}/#train?run={runs[0].name}" if is_watched else "about:blank")
            first, first_seconds = next_epoch(runs[0], SETTLE_SECONDS), processor_seconds(training.pid)
            server_start, start = processor_seconds(studio.pid), time.perf_counter()
            last, last_seconds = next_epoch(runs[0], TURN_SECONDS), processor_seconds(training.pid)
            seconds = time.perf_counter() - start
            server_load = 100 * (processor_seconds(studio.pid) - server_start) / seconds
            epoch = (last_seconds - first_seconds) / (last - first), seconds / (last - first)
            times[is_watched].append(epoch)
            is_examined = is_watched and "at work" in page.inner_text("#train-findings")
            state = "examined" if is_examined else "watched" if is_watched else "alone"
            times_text = f"{epoch[0]:8.4f} s of processor and {epoch[1]:.4f} s"
            print(f"{state:9}{times_text} an epoch; the server: {server_load:.1f} % of a core", flush=True)
        browser.close()
        for process in (training, studio):
            process.terminate()
            process.wait()
    busy, wall = (
        statistics.median(one[k] for one in times[True]) / statistics.median(one[k] for one in times[False])
        for k in range(2)
    )
    print(f"{recipe} {' '.join(settings)}: {busy:.3f} times the processor time and {wall:.3f} times the time watched")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["mnist-lenet", "data.limit=2000", "data.validation=0.1", "recipe.threads=1"]))
