"""The runs of a folder that the studio shows, and the processes of their trainings, which can outlive the server.

A training is the process `pellucid train --resume RUN`, in a separate session. Its output is RUN/train.log. The studio
locks this file before it starts the process, which inherits the lock and holds it until it ends, even by a crash. So
another server finds a training by the lock, and does not mistake the process id of an earlier training for it.
"""

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from pellucid.base.errors import PellucidError, nearest
from pellucid.base.files import open_regular, reason_of, write_atomically
from pellucid.base.settings.checks import check
from pellucid.base.text import NOTE_PREFIX, percent, shown
from pellucid.base.toml_reader import read_toml
from pellucid.command.models import FOREIGN_SUFFIXES
from pellucid.recipe.recipe import Recipe
from pellucid.recipe.watched import (
    MAX_RATE_FACTOR,
    Control,
    control_file,
    is_taught,
    live_file,
    read_control,
    read_object_or_empty,
    write_control,
)
from pellucid.run.folder import RunFolder, next_run
from pellucid.run.history import History
from pellucid.studio.examinations import Examinations
from pellucid.training.diagnose import StoppedError

LOG, PROCESS = "train.log", "studio.pid"
MODEL_SUFFIXES = (".safetensors", *FOREIGN_SUFFIXES)  # of files that may contain a model
MAX_RUNS = 200  # runs that the page lists, the newest first
TOUCH = 2.0  # seconds between two touches of control.json, which show that a page watches
WAIT = 60.0  # seconds in which a stopped training should have saved its checkpoint
MAX_LOG = 4096  # bytes of the end of a log
MAX_PID = 2**31 - 1  # the largest number of a process that the system's functions take


class Process(NamedTuple):
    """The process of a training; studio: the process of the studio that started it, None for a command line."""

    pid: int
    studio: int | None

    @property
    def ends_with_us(self) -> bool:
        """Whether this studio stops it at its own end: it was started by this studio, or by one that no longer runs."""
        return self.studio is not None and (self.studio == os.getpid() or not _exists(self.studio))


class Runs:
    """The run folders in a folder. Methods raise PellucidError for names that are not among them.

    data: folders and files of data that may be read for a run whose recipe names them.
    """

    def __init__(self, folder: str | os.PathLike[str] = "runs", data: Sequence[str] = ()) -> None:
        self.folder, self._data = Path(folder).resolve(), {Path(source).resolve() for source in data}
        self._read = dict[Path, tuple[tuple[int, ...], History]]()  # histories by folder, with sizes and times of files
        self._unreadable = dict[Path, str]()  # the latest error in reading a history, by folder
        self._examinations = Examinations()
        self._guard = threading.Lock()

    @property
    def data_paths(self) -> list[str]:
        """The paths of the data that may be read."""
        return sorted(map(str, self._data))

    def names(self) -> list[str]:
        """Return the names of the runs, the newest first."""
        times = {path.name: modified(path) for path in self.folder.glob("*") if _is_run(path)}
        return sorted(times, key=lambda name: -times[name])[:MAX_RUNS]

    def model_files(self) -> list[str]:
        """Return the names of the files of models in the folder itself, sorted."""
        files = [path for path in self.folder.glob("*") if path.suffix in MODEL_SUFFIXES and _is_regular(path)]
        return sorted(path.name for path in files)[:MAX_RUNS]

    def path(self, name: str) -> Path:
        """Return the folder of a run."""
        names = [path.name for path in self.folder.glob("*") if _is_run(path)]
        if name not in names:
            raise PellucidError(f"no run {shown(name)} in {self.folder}{nearest(name, names)}")
        return self.folder / name

    def data_of(self, path: Path) -> str | None:
        """Return the path of the data in a run's recipe, if they may be read from there; else None."""
        name = recipe_value(path, "data", "name")
        return name if isinstance(name, str) and Path(name).resolve() in self._data else None

    def begin(self, recipe: Recipe) -> str:
        """Start a training in a new run folder, and return its name."""
        path = next_run(self.folder, recipe.name)
        write_atomically(path / "recipe.toml", recipe.to_toml().encode())
        self.launch(path)
        return path.name

    def launch(self, path: Path) -> None:
        """Start or resume the training of a run folder; raises PellucidError if it runs already."""
        command = [sys.executable, "-m", "pellucid", "train", "--resume", str(path)]
        if is_taught(path):
            raise PellucidError(f"{path.name} was taught in the view Teach, without epochs: there is nothing to resume")
        if process_of(path) is not None:
            raise PellucidError(f"{path.name} is being trained already")
        with _open_log(path / LOG) as log:
            if not _lock(log.fileno(), exclusive=True):
                raise PellucidError(f"{path.name} is being trained already")
            (path / PROCESS).unlink(missing_ok=True)  # of the previous training
            log.truncate(0)
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )  # fmt: skip
            write_atomically(path / PROCESS, f"{process.pid} {os.getpid()}\n".encode(), durable=False)
        threading.Thread(target=process.wait, daemon=True).start()  # so that no zombie process remains

    def control(self, path: Path, pause: bool, step: bool = False) -> None:
        """Make a running training pause, take one step and pause, or continue; raises PellucidError if none runs."""
        self._change_control(path, lambda control: control._replace(pause=pause, steps=control.steps + step))

    def set_rate(self, path: Path, factor: float) -> None:
        """Multiply the learning rate of a running training by a factor; raises PellucidError if none runs."""
        check(0 < factor <= MAX_RATE_FACTOR, "rate", f"above 0, at most {MAX_RATE_FACTOR:g}", factor)
        self._change_control(path, lambda control: control._replace(rate=factor))

    def _change_control(self, path: Path, change: Callable[[Control], Control]) -> None:
        if process_of(path) is None:
            raise PellucidError(f"{path.name} is not being trained")
        with self._guard:
            write_control(path, change(read_control(path)))

    def stop(self, path: Path) -> None:
        """Make a training save a checkpoint and end; raises PellucidError if none runs."""
        process = process_of(path)
        if process is None:
            raise PellucidError(f"{path.name} is not being trained")
        try:
            os.kill(process.pid, signal.SIGINT)
        except ProcessLookupError:  # it has just ended
            pass
        except PermissionError as error:
            raise PellucidError(f"{path.name} is trained by a process of another user, who can stop it") from error

    def close(self) -> None:
        """Stop the trainings of this studio, and of studios that were killed, and wait until they have ended."""
        self._examinations.close()
        running = {path: process_of(path) for path in map(self.folder.joinpath, self.names())}
        paths = [path for path, process in running.items() if process is not None and process.ends_with_us]
        for path in paths:
            with suppress(PellucidError):
                self.stop(path)
        end = time.monotonic() + WAIT
        while any(map(process_of, paths)) and time.monotonic() < end:
            time.sleep(0.05)

    def state(self, path: Path) -> dict[str, Any]:
        """Return the state of a training: status, message about its end, number of epochs, and content of live.json."""
        folder, process, epochs, finished_epochs = (
            RunFolder(path),
            process_of(path),
            epochs_of(path),
            len(self.history(path)),
        )
        live = read_object_or_empty(live_file(path)) if process else {}
        was_taught = process is None and is_taught(path)
        message = ""
        if process is not None:
            _touch(path)
            status = "finishing" if finished_epochs >= epochs else "starting"
            if live:
                status = "paused" if live.get("paused") else "running"
        elif (
            finished_epochs
            and read_object_or_empty(path / "results.json").get("epochs") == finished_epochs
            and (path / "report.html").is_file()
        ):
            status = "finished"
        elif was_taught:
            status, epochs = "finished", 0
            accuracy = read_object_or_empty(path / "results.json").get("accuracy")
            held_out = f": accuracy {percent(accuracy)} on held-out frames" if isinstance(accuracy, float) else ""
            message = f"Taught in the view Teach, without epochs{held_out}"
        else:
            stopped = StoppedError.read(folder.error)
            message = str(stopped) if stopped else last_line(path / LOG).removeprefix(NOTE_PREFIX)
            status = "stopped" if folder.has_checkpoint and stopped is None else "failed" if message else "stopped"
        if not _is_regular(path / "recipe.toml"):
            epochs = finished_epochs  # of another loop, whose end nobody knows
            status = "failed" if message else "finished"
        elif not epochs and not was_taught:
            message = f"{path / 'recipe.toml'} cannot be read, or names no number of epochs"
        elif process is None:
            message = self._unreadable.get(path, message)
        return {"status": status, "message": message, "epochs": epochs, "live": live or None}

    def history(self, path: Path) -> History:
        """Return the finished epochs of a run; the result of the last call if a line is just being written."""
        files = [file for file in (path / "metrics.csv", path / "layers.csv") if file.is_file()]
        stamp = tuple(number for file in files for number in (file.stat().st_mtime_ns, file.stat().st_size))
        known, history = self._read.get(path, ((), History()))
        if known != stamp:
            try:
                history = History.read(path) if (path / "metrics.csv").is_file() else History()
                self._read[path] = (stamp, history)
                self._unreadable.pop(path, None)
            except PellucidError as error:
                self._unreadable[path] = str(error)
        return history

    def examine(self, path: Path, again: bool) -> dict[str, Any]:
        """Return the latest diagnosis of a run, and start another if it is due; see `Examinations.request`."""
        is_training = process_of(path) is not None
        is_running = is_training and not read_object_or_empty(live_file(path)).get("paused")
        state = (len(self.history(path)), is_training, is_running)
        return self._examinations.request(path, *state, again, self.data_of(path))


def has_weights(path: Path) -> bool:
    """Return whether a run folder contains weights."""
    return any(path.glob("weights/*.safetensors"))


def process_of(path: Path) -> Process | None:
    """Return the process that trains in a run folder now, if any."""
    if _is_locked(path / LOG) and (numbers := _numbers(path / PROCESS)) and _exists(numbers[0]):
        return Process(numbers[0], numbers[-1])
    pid = next(iter(_numbers(path / "lock")), None)
    # The lock is tried only if this process exists, so that it is free for a training that starts.
    return Process(pid, None) if pid is not None and _exists(pid) and _is_locked(path / "lock") else None


def _is_run(path: Path) -> bool:
    """Return whether a folder contains a recipe, or the curves of a loop that `pellucid.watch` recorded."""
    return _is_regular(path / "recipe.toml") or _is_regular(path / "metrics.csv")


def _is_regular(file: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(file).st_mode)
    except OSError:  # there is none, or the folder may not be searched
        return False


def modified(path: Path) -> int:
    """Return the time at which a file or folder was changed, in nanoseconds; 0 if there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _open_log(file: Path) -> BinaryIO:
    """Open a log for writing, without changing it; raises PellucidError unless it is a regular file or none."""
    try:
        # Without O_NONBLOCK, a pipe would wait for a reader.
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        if stat.S_ISREG(os.fstat(handle).st_mode):
            return os.fdopen(handle, "wb")
        os.close(handle)
    except OSError as error:
        raise PellucidError(f"{file} cannot be written ({reason_of(error)}); remove it") from error
    raise PellucidError(f"{file} is not a regular file; remove it")


def epochs_of(path: Path) -> int:
    """Return the number of epochs in a run's recipe; 0 if it cannot be read."""
    epochs = recipe_value(path, "train", "epochs")
    return epochs if type(epochs) is int else 0


def recipe_value(path: Path, table: str, key: str) -> Any:
    """Return a value of a run's recipe; None if there is none, or if the recipe cannot be read."""
    try:
        _, tables = read_toml(path / "recipe.toml", "", follow_links=False)
        return tables[table][key]
    except (PellucidError, KeyError, TypeError):
        return None


def last_line(file: Path) -> str:
    """Return the last line of a log, "" without one."""
    try:
        with open_regular(file, follow_links=False) as opened:
            opened.seek(max(0, os.fstat(opened.fileno()).st_size - MAX_LOG))
            lines: Sequence[str] = opened.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _touch(path: Path) -> None:
    """Touch the control file of a training, which shows that a page watches it."""
    file = control_file(path)
    try:
        if time.time() - file.stat().st_mtime > TOUCH:
            os.utime(file)
    except FileNotFoundError:
        with suppress(PellucidError):
            write_control(path, Control())


def _is_locked(file: Path) -> bool:
    """Return whether a process holds the lock of a file."""
    with _opened(file) as handle:
        return handle is not None and not _lock(handle, exclusive=False)


def _lock(handle: int, exclusive: bool) -> bool:
    """Lock an open file until it is closed, without waiting; return whether that was possible."""
    try:
        import fcntl
    except ImportError as error:
        raise PellucidError("trainings need file locks (fcntl), which this system lacks") from error
    try:
        fcntl.flock(handle, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _opened(file: Path) -> Iterator[int | None]:
    """Yield an open file; None if it cannot be read or is not a regular file."""
    try:
        opened = open_regular(file, follow_links=False)
    except OSError:
        yield None
        return
    with opened:
        yield opened.fileno()


def _numbers(file: Path) -> list[int]:
    """Return the process ids in a file; [] if it contains anything else."""
    with _opened(file) as handle:
        words = [] if handle is None else os.read(handle, 40).split()
    numbers = [int(word) if word.isdigit() else 0 for word in words]
    return numbers if all(1 < number <= MAX_PID for number in numbers) else []


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
