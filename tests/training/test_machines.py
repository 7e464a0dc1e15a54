"""Training on two machines, simulated by two launches of torchrun: by an address, and by the script for SLURM."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pellucid.model import Model

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/how-to/many-processes.md"
TRAIN = ["train", "digits", "train.epochs=2", "distributed.shards=2"]


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def environment(**variables: str) -> dict[str, str]:
    # The host names that torchrun uses may lead to another network interface than the loopback.
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo", **variables}


def train_by_one_process(out: Path) -> Path:
    subprocess.run([sys.executable, "-m", "pellucid", *TRAIN, "--out", out], check=True, env=environment(), cwd=ROOT)
    return out / "digits-1"


@pytest.mark.long
def test_two_machines_train_as_one(tmp_path: Path) -> None:
    command = next(line for line in PAGE.read_text().splitlines() if "--node-rank 0" in line)
    command = command.replace("192.168.1.10", "127.0.0.1").replace("29500", str(free_port()))
    words = command.replace("--nproc-per-node 4", "--nproc-per-node 1").partition(" train digits")[0].split()
    assert words[0] == "torchrun"
    machines = []
    for rank in "01":
        words[words.index("--node-rank") + 1] = rank
        line = [sys.executable, "-m", "torch.distributed.run", *words[1:], *TRAIN, "--out", str(tmp_path / "two")]
        machines.append(subprocess.Popen(line, env=environment(), cwd=ROOT))
    assert [process.wait(timeout=120) for process in machines] == [0, 0]
    assert Model.load(tmp_path / "two/digits-1").sha256() == Model.load(train_by_one_process(tmp_path / "one")).sha256()


@pytest.mark.long
def test_the_script_for_slurm_trains_and_a_requeued_job_resumes(tmp_path: Path) -> None:
    script = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)[0]
    for original, replacement in [
        ("/shared/runs", str(tmp_path)),
        (":29500", f":{free_port()}"),
        ("--nproc-per-node 16", "--nproc-per-node 1"),
        ("train digits", " ".join(TRAIN)),
    ]:
        assert original in script
        script = script.replace(original, replacement)
    tools = tmp_path / "bin"
    tools.mkdir()
    programs = {
        "srun": '"$@" & first=$!; "$@"; code=$?; wait $first && exit $code',  # run the task twice, for two machines
        "scontrol": "echo localhost; echo other",
        "torchrun": f'exec {sys.executable} -m torch.distributed.run "$@"',
    }
    for name, text in programs.items():
        (tools / name).write_text(f"#!/bin/bash\n{text}\n")
        (tools / name).chmod(0o755)
    job = {"SLURM_JOB_ID": "7", "SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "n[1-2]"}
    job_environment = environment(**job, PATH=f"{tools}:{os.environ['PATH']}")
    run = tmp_path / "7" / "digits-1"
    for _ in range(2):  # the second job finds a finished run
        subprocess.run(["bash", "-c", script], check=True, env=job_environment, cwd=ROOT, timeout=120)
        assert [path.name for path in (tmp_path / "7").iterdir()] == ["digits-1"]
    assert Model.load(run).sha256() == Model.load(train_by_one_process(tmp_path / "one")).sha256()
