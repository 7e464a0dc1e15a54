"""Prediction of many pictures with torchrun, its processes killed: no row is lost or repeated, memory is constant."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

webdataset = pytest.importorskip("webdataset", reason="it writes the shards")

ROOT = Path(__file__).parents[2]
N_SHARDS = 20
PEAK_MEMORY_SCRIPT = """
import atexit, sys
from pathlib import Path

peak = Path(sys.argv.pop())
status = Path("/proc/self/status")  # getrusage counts what the parent had before exec, too
atexit.register(lambda: peak.write_text(status.read_text().partition("VmHWM:")[2].split()[0]))
from pellucid.cli.main import run_command

sys.exit(run_command())
"""


def write_shards(folder: Path, count: int) -> Path:
    """Write shards of pictures of random blocks, all different, with one broken picture in each shard."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for shard in range(N_SHARDS):
        with webdataset.TarWriter(str(folder / f"shard-{shard:06d}.tar")) as writer:
            for number in range(count // N_SHARDS):
                file = io.BytesIO()
                blocks = rng.integers(0, 256, (4, 4), dtype=np.uint8)
                Image.fromarray(np.kron(blocks, np.ones((7, 7), np.uint8))).save(file, "PNG")
                data = b"broken" if number == 7 else file.getvalue()
                writer.write({"__key__": f"{shard:03d}{number:05d}", "png": data, "cls": b"0"})
    return folder


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def predict_in_one_process(source: Path, out: Path) -> int:
    """Predict in one process; return its peak memory in KiB."""
    peak = out.with_suffix(".peak")
    words = ["predict", "mnist-mlp-100", str(source), "--out", str(out), str(peak)]
    subprocess.run(
        [sys.executable, "-c", PEAK_MEMORY_SCRIPT, *words], env=environment(), check=True, capture_output=True
    )
    return int(peak.read_text())


def start_torchrun(count: int, source: Path, out: Path) -> "subprocess.Popen[str]":
    settings = "--standalone", f"--nproc-per-node={count}", "--max-restarts=0"
    words = ["-m", "pellucid", "predict", "mnist-mlp-100", str(source), "--out", str(out)]
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", *settings, *words],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment()},
    )


def child_pids(process: "subprocess.Popen[str]") -> list[int]:
    """Return the processes that torchrun has started and that run."""
    result = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False)
    return [int(word) for word in result.stdout.split()]


def record_peak_memory(process: "subprocess.Popen[str]", peaks: dict[int, int]) -> None:
    """Record the peak memory in KiB of each process that torchrun starts, until torchrun ends."""
    while process.poll() is None:
        for pid in child_pids(process):
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:  # it ended
                continue
            if "VmHWM:" in status:  # not a process that ended and was not waited for
                peaks[pid] = int(status.partition("VmHWM:")[2].split()[0])
        time.sleep(0.1)


def kill_one_process(process: "subprocess.Popen[str]", parts: Path, rng: random.Random) -> bool:
    """Kill one process soon after a part is finished; return False if all processes ended before that."""
    n_parts_before, n_new_parts = len([*parts.glob("part-*")]), rng.randint(1, 3)
    while process.poll() is None:
        if len([*parts.glob("part-*")]) >= n_parts_before + n_new_parts:
            time.sleep(rng.random() * 0.3)
            pids = child_pids(process)
            if not pids:
                return False
            os.kill(rng.choice(pids), signal.SIGKILL)
            return True
        time.sleep(0.02)
    return False


@pytest.mark.long
@pytest.mark.parametrize(("pictures", "kills"), [(2_000, 3), (20_000, 10)])
def test_killed_processes_neither_lose_nor_repeat_rows_and_memory_is_constant(
    tmp_path: Path, pictures: int, kills: int
) -> None:
    source = write_shards(tmp_path / "many", pictures)
    few_peak = predict_in_one_process(write_shards(tmp_path / "few", pictures // 10), tmp_path / "few.jsonl")
    many_peak = predict_in_one_process(source, tmp_path / "whole.jsonl")
    print(f"peak memory of {pictures // 10:,} pictures: {few_peak:,} KiB, of {pictures:,}: {many_peak:,} KiB")
    # The list of names and positions takes about 300 bytes for each picture.
    assert many_peak - few_peak < 4_000 + pictures // 2
    rng, n_killed, n_launches, peaks = random.Random(0), 0, 0, dict[int, int]()
    out = tmp_path / "killed"
    while True:
        n_launches += 1
        process = start_torchrun(rng.choice((1, 2, 3)), source, out)
        threading.Thread(target=record_peak_memory, args=(process, peaks), daemon=True).start()
        if n_killed < kills:
            n_killed += kill_one_process(process, out / "parts", rng)
        _, stderr = process.communicate(timeout=300)
        if process.returncode == 0:
            break
        assert n_launches <= kills, stderr
    print(f"{n_killed} kills in {n_launches} launches")
    assert n_killed == kills
    print(f"peak memory of {len(peaks)} processes: {max(peaks.values()):,} KiB")
    assert max(peaks.values()) - few_peak < 4_000 + pictures // 2
    lines = (out / "results.jsonl").read_bytes()
    assert lines == (tmp_path / "whole.jsonl").read_bytes()
    names = [json.loads(line)["image"] for line in lines.splitlines()]
    assert len(names) == len({*names}) == pictures
    assert sum(b'"error"' in line for line in lines.splitlines()) == N_SHARDS
