"""`pellucid studio` as a process: it starts, prints its address, answers over a real socket, and ends with Ctrl-C."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pellucid.cli.main import main
from pellucid.run.history import read_csv
from pellucid.studio.messages import pack
from tests.studio.talk import parsed

websockets = pytest.importorskip("websockets.sync.client", reason="websockets is not installed")


class Started(NamedTuple):
    """A server process, its address with the token, and the seconds until it printed the address."""

    process: subprocess.Popen[str]
    address: str
    seconds: float

    @property
    def host(self) -> str:
        return self.address.split("/")[2]


@contextmanager
def studio(*options: str) -> Iterator[Started]:
    command = [sys.executable, "-m", "pellucid", "studio", "--no-open", "--port", "0", *options]
    began = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    line = process.stdout.readline()
    seconds = time.perf_counter() - began
    try:
        match = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", line)
        assert match, line
        yield Started(process, match[0], seconds)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode in {0, 130, -signal.SIGKILL}  # SIGKILL: sent by a test
    assert "Traceback" not in errors, errors


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new"
    assert main(["studio", str(folder), "--no-open"]) == 2
    error = f"pellucid: {folder} does not exist; for a new folder of runs, create it first\n"
    assert capsys.readouterr().err == error


Ask = Callable[..., dict[str, Any]]


@contextmanager
def connected(started: Started) -> Iterator[tuple[Any, Ask]]:
    """Connect a tab; yield its socket, and a function that sends a message and returns the header of the answer."""
    with urllib.request.urlopen(started.address, timeout=30) as opened:
        headers = {"Cookie": opened.headers["Set-Cookie"].split(";")[0]}
    where, origin = f"ws://{started.host}/session", f"http://{started.host}"
    with websockets.connect(where, origin=origin, additional_headers=headers) as tab:

        def ask(kind: str, **fields: Any) -> dict[str, Any]:
            tab.send(pack(kind, 1, fields, {}))
            header, _ = parsed(tab.recv())
            return header

        yield tab, ask


@pytest.mark.heavy
@pytest.mark.slow
def test_the_studio_answers_over_a_socket_and_ends_with_ctrl_c() -> None:
    with studio() as started, connected(started) as (tab, ask):
        assert ask("draw.open")["classes"] == [*"0123456789"]
        tab.send("text")
        assert b'"error"' in tab.recv()
        started.process.send_signal(signal.SIGINT)  # while a tab is connected
        assert started.process.wait(20) in {0, 130}


def wait_until(is_done: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not is_done():
        assert time.monotonic() < end
        time.sleep(0.1)


def processes_in(folder: Path) -> list[str]:
    """Return the command lines of processes that name a folder or have it as working directory."""
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # the process has ended
            command = (process / "cmdline").read_text().replace("\0", " ")
            if str(folder) in command or (process / "cwd").resolve().is_relative_to(folder):
                found.append(command)
    return found


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are looked up in /proc")
def test_ctrl_c_saves_the_training_and_leaves_no_process_of_it_or_of_its_doctor(tmp_path: Path) -> None:
    with studio(str(tmp_path)) as started, connected(started) as (_, ask):
        run = ask("train.start", recipe="digits", settings=["train.epochs=100000"])["run"]
        wait_until(lambda: ask("train.state", run=run)["rows"])
        wait_until(lambda: ask("train.findings", run=run)["working"])
        assert len(processes_in(tmp_path)) >= 3, processes_in(tmp_path)  # the server, the training and the doctor
        started.process.send_signal(signal.SIGINT)
        assert started.process.wait(30) in {0, 130}
        assert processes_in(tmp_path) == []
    assert "resume" in (tmp_path / run / "train.log").read_text()


@pytest.mark.heavy
@pytest.mark.slow
def test_a_training_continues_after_its_server_is_killed(tmp_path: Path) -> None:
    with studio(str(tmp_path)) as started, connected(started) as (_, ask):
        run = ask("train.start", recipe="digits", settings=["train.epochs=100000"])["run"]
        wait_until(lambda: ask("train.state", run=run)["rows"])
        started.process.kill()
        started.process.wait(10)
    done = len(read_csv(tmp_path / run / "metrics.csv"))
    with studio(str(tmp_path)) as again, connected(again) as (_, ask):
        wait_until(lambda: len(ask("train.state", run=run)["rows"]) >= done + 3)
        assert ask("train.state", run=run)["status"] == "running"
        ask("train.control", run=run, action="stop")


@pytest.mark.heavy
@pytest.mark.slow
def test_a_detector_opens_at_the_view_that_explains_it() -> None:
    with studio("bccd") as started, connected(started) as (_, ask):
        answers = {kind: ask(kind) for kind in ("studio.open", "draw.open", "explain.open")}
    assert answers["studio.open"]["view"] == "explain"
    assert "bccd" not in answers["draw.open"]["models"]
    assert (answers["explain.open"]["model"], answers["explain.open"]["sample"]) == ("bccd", "cells 0")


def test_models_that_the_page_cannot_show_are_reported_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["studio", "no-such-model", "--no-open"]) == 2
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["studio", "--no-open", "--port", str(taken.getsockname()[1])]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2, errors
