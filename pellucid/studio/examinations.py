"""Diagnoses of the runs that pages show, by one process of `pellucid doctor RUN --json` at a time."""

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from pellucid.base.errors import PellucidError
from pellucid.base.text import NOTE_PREFIX

LOW_PRIORITY = 15  # niceness; 19 is the lowest priority
MAX_SILENCE = 3.0  # seconds between two requests of a page that waits for an examination


class Examinations:
    """The latest examination of each run.

    Only one runs at a time: the next waits for it, or ends it if no page has requested it for MAX_SILENCE seconds.
    """

    def __init__(self) -> None:
        self._latest = dict[Path, DoctorProcess]()
        self._diagnoses = dict[Path, tuple[int, Any]]()  # the latest of each run, with its finished epochs
        self._lock = threading.Lock()

    def request(
        self, path: Path, epochs: int, is_training: bool, is_running: bool, again: bool, data: str | None = None
    ) -> dict[str, Any]:
        """Return {"diagnosis", "epochs", "working"} of a run, and start an examination if one is due.

        These are the latest diagnosis (None before the first), the number of finished epochs when its examination
        started (0 before the first), and whether another diagnosis will follow.

        epochs: the number of finished epochs now. is_training: whether a process trains the run. is_running: whether
        that process is not paused. data: `--data` of the command. The first call starts an examination, or a later one
        does if another run is being examined. Until it ends, `again` has no effect. After that, a call starts the next
        one if `again` is true, if the number of epochs has doubled since the start of the last, or if the training has
        ended after more epochs. While the training runs, an examination has a low priority; if the training ends or
        pauses, it is restarted with normal priority. Raises PellucidError if the last examination failed.
        """
        with self._lock:
            last = self._latest.get(path)
            is_done = last is not None and last.is_done
            if last is not None and (
                (again or last.is_outdated(epochs, is_training))
                if is_done
                else (last.has_low_priority and not is_running)
            ):
                self._latest.pop(path).end()
                last, is_done = None, False
            if last is None and self._make_room():
                last = self._latest[path] = DoctorProcess(path, epochs, is_running, data)
            if last is not None:
                last.last_request = time.monotonic()
            if last is not None and is_running:
                last.lower_priority()
            if last is not None and is_done:
                self._diagnoses[path] = (last.epochs, last.diagnosis())
            diagnosed_epochs, diagnosis = self._diagnoses.get(path, (0, None))
        return {"diagnosis": diagnosis, "epochs": diagnosed_epochs, "working": not is_done}

    def close(self) -> None:
        """End the running examination."""
        with self._lock:
            for examination in self._latest.values():
                examination.end()

    def _make_room(self) -> bool:
        """End a running examination for which no page waits; return whether another may start now."""
        running = {path: process for path, process in self._latest.items() if not process.is_done}
        for path, process in running.items():
            if time.monotonic() - process.last_request < MAX_SILENCE:
                return False
            self._latest.pop(path).end()
        return True


class DoctorProcess:
    """A process of the doctor for a run.

    epochs: epochs that were finished when it started. beside_training: whether the training runs at the same time; if
    so, the process has one thread. data: see `Examinations.request`. last_request: time of the last request of a page.
    has_low_priority: whether its priority has been lowered.
    """

    def __init__(self, path: Path, epochs: int, beside_training: bool, data: str | None) -> None:
        self.epochs, self.last_request, self.has_low_priority = epochs, time.monotonic(), False
        self._output = list[str]()  # output of both streams, once the process has ended
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pellucid", "doctor", str(path), "--json", *(("--data", data) if data else ())],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **({"OMP_NUM_THREADS": "1"} if beside_training else {})},
            start_new_session=True,  # Linux may schedule by session: a low priority then needs a separate session
        )  # fmt: skip
        threading.Thread(target=lambda: self._output.extend(self._process.communicate()), daemon=True).start()

    @property
    def is_done(self) -> bool:
        """Whether the process has ended and its output has been read."""
        return bool(self._output) and self._process.poll() is not None

    def is_outdated(self, epochs: int, is_training: bool) -> bool:
        """Return whether a run with `epochs` finished epochs needs another examination."""
        return epochs >= 2 * max(self.epochs, 1) if is_training else epochs > self.epochs

    def lower_priority(self) -> None:
        """Give all threads of the process, and on Linux the autogroup of its session, a low priority."""
        if self.has_low_priority or self.is_done:
            return
        with suppress(OSError):
            os.setpriority(os.PRIO_PGRP, self._process.pid, LOW_PRIORITY)
            Path(f"/proc/{self._process.pid}/autogroup").write_text(str(LOW_PRIORITY), "ascii")
        self.has_low_priority = True

    def end(self) -> None:
        """End the process if it still runs."""
        self._process.kill()

    def diagnosis(self) -> Any:
        """Return the diagnosis; raises PellucidError if there is none."""
        out, errors = self._output
        if self._process.returncode:
            last = errors.strip().rpartition("\n")[2].removeprefix(NOTE_PREFIX)
            raise PellucidError(last or "the doctor was interrupted")
        return json.loads(out)
