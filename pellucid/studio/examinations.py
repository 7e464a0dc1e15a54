"""What the doctor finds in runs: one process of `pellucid doctor RUN --json` at a time, for a run that a page shows."""

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

LOW_PRIORITY = 15  # of 19, as of `nice`
MAX_SILENCE = 3.0  # seconds between two requests of a page that waits for an examination


class Examinations:
    """The latest examination of each run.

    Only one is at work at a time: a second waits for it, or ends it if no page has asked for it for MAX_SILENCE.
    """

    def __init__(self) -> None:
        self._latest = dict[Path, DoctorProcess]()
        self._diagnoses = dict[Path, tuple[int, Any]]()  # the latest of each run, with its finished epochs
        self._guard = threading.Lock()

    def ask(
        self, path: Path, epochs: int, is_trained: bool, is_running: bool, again: bool, data: str | None = None
    ) -> dict[str, Any]:
        """Return the latest diagnosis of a run, None before the first.

        epochs: the finished ones. is_trained: whether a process trains the run. is_running: and is not paused. The
        first call begins an examination; so do later ones after the training has ended, or has doubled its epochs,
        since the last began; again: in any case. Beside a running training it has a low priority, and begins anew with
        a normal one when the training ends or pauses. data: `--data` of the command. In the answer, epochs is what was
        given when the examination began; working: whether there will be another diagnosis. Raises PellucidError if the
        last examination failed.
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
        """End the examination that is at work."""
        with self._guard:
            for examination in self._latest.values():
                examination.end()

    def _has_room(self) -> bool:
        """Return whether an examination may begin; end one for which no page waits any more."""
        working = {path: one for path, one in self._latest.items() if not one.is_done}
        for path, one in working.items():
            if time.monotonic() - one.asked < MAX_SILENCE:
                return False
            self._latest.pop(path).end()
        return True


class DoctorProcess:
    """A process of the doctor for a run.

    epochs: finished when it began. is_beside: whether the run's training is at work; then it has one thread. data: see
    `ask`. asked: when a page asked for it last. is_slow: whether its priority is low.
    """

    def __init__(self, path: Path, epochs: int, is_beside: bool, data: str | None) -> None:
        self.epochs, self.asked, self.is_slow = epochs, time.monotonic(), False
        self._output = list[str]()  # of both streams, once the process has ended
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pellucid", "doctor", str(path), "--json", *(("--data", data) if data else ())],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, **({"OMP_NUM_THREADS": "1"} if is_beside else {})},
            start_new_session=True,  # Linux may share the processors among sessions: only one of its own can be slow
        )  # fmt: skip
        threading.Thread(target=lambda: self._output.extend(self._process.communicate()), daemon=True).start()

    @property
    def is_done(self) -> bool:
        """Whether the process has ended and its output is there."""
        return bool(self._output) and self._process.poll() is not None

    def is_outdated(self, epochs: int, is_trained: bool) -> bool:
        """Return whether a run with these finished epochs is to be examined again."""
        return epochs >= 2 * max(self.epochs, 1) if is_trained else epochs > self.epochs

    def slow_down(self) -> None:
        """Give all threads of the process, and Linux' automatic group of its session, a low priority."""
        if self.is_slow or self.is_done:
            return
        with suppress(OSError):
            os.setpriority(os.PRIO_PGRP, self._process.pid, LOW_PRIORITY)
            Path(f"/proc/{self._process.pid}/autogroup").write_text(str(LOW_PRIORITY), "ascii")
        self.is_slow = True

    def end(self) -> None:
        """End the process if it is still at work."""
        self._process.kill()

    def answer(self) -> Any:
        """Return the diagnosis; raises PellucidError if there is none."""
        out, errors = self._output
        if self._process.returncode:
            raise PellucidError(errors.strip().splitlines()[-1] if errors.strip() else "the doctor was interrupted")
        return json.loads(out)
