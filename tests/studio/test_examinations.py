"""Examinations of runs: one at a time, with low priority during a training, and repeated after it."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pellucid.base.errors import PellucidError
from pellucid.studio import examinations
from pellucid.studio.examinations import LOW_PRIORITY, Examinations

# Replaces `python -m pellucid doctor RUN --json`: waits until the file RUN/end exists, and prints its content.
DOCTOR = """#!/bin/sh
echo $$ >> "$4/pids"
while [ ! -e "$4/end" ]; do sleep 0.01; done
cat "$4/end"
grep -q findings "$4/end" || { echo "no such data" >&2; exit 2; }
"""


class DoctorRequests:
    """Examinations of two runs, a and b, by the script DOCTOR."""

    def __init__(self, folder: Path) -> None:
        self.examinations, self.folder = Examinations(), folder
        for name in "ab":
            (folder / name).mkdir()

    def __call__(self, name: str, epochs: int = 1, status: str = "finished", again: bool = False) -> Any:
        flags = {"finished": (False, False), "running": (True, True), "paused": (True, False)}[status]
        return self.examinations.request(self.folder / name, epochs, *flags, again)

    def pids(self, name: str, count: int) -> list[int]:
        """Wait until `count` processes have been started for a run; return their ids."""
        file = self.folder / name / "pids"
        until(lambda: file.exists() and file.read_text().count("\n") == count)
        return [int(line) for line in file.read_text().split()]

    def end(self, name: str, output: str = '{"findings": []}') -> None:
        (self.folder / name / "end").write_text(output)

    def end_and_request(self, name: str, **arguments: Any) -> Any:
        """End the examination of a run; return the result of the request that follows."""
        self.end(name)
        until(lambda: not self(name, **arguments)["working"])
        return self(name, **arguments)


def until(condition: Any) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""  # of a process that nobody has waited for: b""
    except (FileNotFoundError, ProcessLookupError):  # it may end between opening and reading, too
        return False


@pytest.fixture
def examine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DoctorRequests]:
    script = tmp_path / "doctor"
    script.write_text(DOCTOR)
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    requests = DoctorRequests(tmp_path)
    yield requests
    requests.examinations.close()


def test_a_finished_run_is_examined_once_until_requested_again(examine: DoctorRequests) -> None:
    assert examine("a", 5) == {"diagnosis": None, "epochs": 0, "working": True}
    assert os.getpriority(os.PRIO_PROCESS, examine.pids("a", 1)[0]) == os.getpriority(os.PRIO_PROCESS, 0)
    assert examine.end_and_request("a", epochs=5) == {"diagnosis": {"findings": []}, "epochs": 5, "working": False}
    examine.pids("a", 1)
    result = examine("a", 5, again=True)
    assert result == {"diagnosis": {"findings": []}, "epochs": 5, "working": True}
    examine.pids("a", 2)


def test_during_a_training_the_doctor_has_low_priority_and_runs_again_after_twice_the_epochs(
    examine: DoctorRequests,
) -> None:
    examine("a", 3, "running")
    (pid,) = examine.pids("a", 1)
    assert os.getpriority(os.PRIO_PROCESS, pid) == LOW_PRIORITY
    assert examine.end_and_request("a", epochs=5, status="running")["epochs"] == 3
    assert not examine("a", 5, "running")["working"]
    assert examine("a", 6, "running") == {"diagnosis": {"findings": []}, "epochs": 3, "working": True}
    examine.pids("a", 2)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("status", ["paused", "finished"])
def test_when_the_training_pauses_or_ends_the_examination_restarts_at_normal_priority(
    status: str, examine: DoctorRequests
) -> None:
    examine("a", 1, "running")
    (first,) = examine.pids("a", 1)
    assert examine("a", 5, status)["working"]
    _, second = examine.pids("a", 2)
    until(lambda: not is_alive(first))
    assert os.getpriority(os.PRIO_PROCESS, second) == os.getpriority(os.PRIO_PROCESS, 0)
    assert examine.end_and_request("a", epochs=5, status=status)["epochs"] == 5


def test_a_resumed_training_lowers_the_priority_of_its_examination(examine: DoctorRequests) -> None:
    examine("a", 1, "paused")
    (pid,) = examine.pids("a", 1)
    examine("a", 1, "running")
    assert os.getpriority(os.PRIO_PROCESS, pid) == LOW_PRIORITY
    assert examine.pids("a", 1) == [pid]


def test_a_second_run_waits_for_the_first(examine: DoctorRequests) -> None:
    examine("a")
    examine.pids("a", 1)
    assert examine("b") == {"diagnosis": None, "epochs": 0, "working": True}
    assert not (examine.folder / "b" / "pids").exists()
    examine.end_and_request("a")
    examine("b")
    examine.pids("b", 1)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are looked up in /proc")
def test_an_examination_without_a_waiting_page_is_stopped_for_another(
    examine: DoctorRequests, monkeypatch: pytest.MonkeyPatch
) -> None:
    examine("a")
    (first,) = examine.pids("a", 1)
    monkeypatch.setattr(examinations, "MAX_SILENCE", 0.0)
    examine("b")
    examine.pids("b", 1)
    until(lambda: not is_alive(first))
    assert examine.end_and_request("b")["diagnosis"] == {"findings": []}
    assert examine("a")["working"]  # the examination restarts
    examine.pids("a", 2)


def test_the_last_line_of_a_doctor_that_fails_is_raised(examine: DoctorRequests) -> None:
    examine("a")
    examine.end("a", "")
    with pytest.raises(PellucidError, match=r"^no such data$"):
        until(lambda: not examine("a")["working"])


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are looked up in /proc")
def test_closing_ends_the_process_of_an_examination(examine: DoctorRequests) -> None:
    examine("a")
    (pid,) = examine.pids("a", 1)
    examine.examinations.close()
    until(lambda: not is_alive(pid))
