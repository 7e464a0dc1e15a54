"""Sweeps started by the command line, each in its own process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NO_REPORT_FILE = str(Path(__file__).with_name("no_report.py"))
BASE_WORDS = ("digits", "data.validation=0.1", "data.limit=300", "recipe.threads=1")
Process = subprocess.Popen[str]


def launch(*words: str, folder: Path) -> Process:
    """Start `pellucid sweep` with `folder` as its working directory."""
    command = [sys.executable, "-m", "pellucid", "--custom", NO_REPORT_FILE, "sweep", *BASE_WORDS, *words, "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)


def wait_for_results(process: Process) -> dict[str, Any]:
    """Wait for the end of a sweep, and return the JSON object that it printed."""
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    return json.loads(out)


def worker_pids(process: Process) -> list[int]:
    """Return the process ids of a sweep's running workers."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in children.read_text().split()] if children.exists() else []


def finished_runs(folder: Path) -> list[Path]:
    """Return the folders of the runs that have an outcome."""
    return [file.parent for file in sorted(folder.glob("trials/*/seed-*/outcome.json"))]
