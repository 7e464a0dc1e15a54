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

from pellucid.errors import PellucidError

LOW_PRIORITY = 15  # niceness; 19 is the lowest priority
MAX_SILENCE = 3.0  # seconds between two requests of a page that waits for an examination


class Examinations:
    """The latest examination of each run.

    Only one runs at a time: the next waits for it, or ends it if no page has requested it for MAX_SILENCE seconds.
    """

    def __init__(self) -> None:
        self._latest = dict[Path, DoctorProcess]()
        self._diagnoses = dict[Path, tuple[int, Any]]()  # the latest of each run, with its finished epochs
        self._guard = threading.Lock()

    def ask(
        self, path: Path, epochs: int, is_trained: bool, is_running: bool, again: bool, data: str | None = None
    ) -> dict[str, Any]:
        """Return the latest diagnosis of a run, None before the first.

        epochs: the number of finished epochs. is_trained: whether a process trains the run. is_running: whether that
        process is not paused. The first call starts an examination. A later call starts one if `again` is true, or if
        the training has ended or doubled its epochs since the last start. During a running training, it has a low
        priority; if the training ends or pauses, it is restarted with normal priority. data: `--data` of the command.
        In the answer, epochs are the finished ones at the start of the examination, and working is whether another
        diagnosis will follow. Raises PellucidError if the last examination failed.
        """
        with self._guard:
            last = self._latest.get(path)
            is_done = last is not None and last.is_done
            if last is not None and (
                (again or last.is_outdated(epochs, is_trained)) if is_done else (last.is_slow and not is_running)
            ):
                self._latest.pop(path).end()
                last, is_done = None, False
            if last is None and self._has_room():
                last = self._latest[path] = DoctorProcess(path, epochs, is_running, data)
            if last is not None:
                last.asked = time.monotonic()
            if last is not None and is_running:
                last.slow_down()
            if last is not None and is_done:
                self._diagnoses[path] = (last.epochs, last.answer())
            known, diagnosis = self._diagnoses.get(path, (0, None))
        return {"diagnosis": diagnosis, "epochs": known, "working": not is_done}

    def close(self) -> None:
        """End the running examination."""
        with self._guard:
            for examination in self._latest.values():
                examination.end()

    def _has_room(self) -> bool:
        """Return whether an examination may start; end a running one for which no page waits."""
        running = {path: process for path, process in self._latest.items() if not process.is_done}
        for path, process in running.items():
            if time.monotonic() - process.asked < MAX_SILENCE:
                return False
            self._latest.pop(path).end()
        return True


class DoctorProcess:
    """A process of the doctor for a run.

    epochs: epochs that were finished when it started. is_beside: whether the training runs at the same time; if so, the
    process has one thread. data: see `Examinations.ask`. asked: time of the last request of a page. is_slow: whether
    its priority is low.
    """

    def __init__(self, path: Path, epochs: int, is_beside: bool, data: str | None) -> None:
        self.epochs, self.asked, self.is_slow = epochs, time.monotonic(), False
        self._output = list[str]()  # output of both streams, once the process has ended
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pellucid", "doctor", str(path), "--json", *(("--data", data) if data else ())],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **({"OMP_NUM_THREADS": "1"} if is_beside else {})},
            start_new_session=True,  # Linux may schedule by session: a low priority then needs a separate session
        )  # fmt: skip
        threading.Thread(target=lambda: self._output.extend(self._process.communicate()), daemon=True).start()

    @property
    def is_done(self) -> bool:
        """Whether the process has ended and its output has been read."""
        return bool(self._output) and self._process.poll() is not None

    def is_outdated(self, epochs: int, is_trained: bool) -> bool:
        """Return whether a run with `epochs` finished epochs needs another examination."""
        return epochs >= 2 * max(self.epochs, 1) if is_trained else epochs > self.epochs

    def slow_down(self) -> None:
        """Give all threads of the process, and on Linux the autogroup of its session, a low priority."""
        if self.is_slow or self.is_done:
            return
        with suppress(OSError):
            os.setpriority(os.PRIO_PGRP, self._process.pid, LOW_PRIORITY)
            Path(f"/proc/{self._process.pid}/autogroup").write_text(str(LOW_PRIORITY), "ascii")
        self.is_slow = True

    def end(self) -> None:
        """End the process if it still runs."""
        self._process.kill()

    def answer(self) -> Any:
        """Return the diagnosis; raises PellucidError if there is none."""
        out, errors = self._output
        if self._process.returncode:
            raise PellucidError(errors.strip().splitlines()[-1] if errors.strip() else "the doctor was interrupted")
        return json.loads(out)
