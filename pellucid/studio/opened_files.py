"""Models in files of others: each is opened and converted by a process of its own, with limits of time and memory."""

import json
import weakref
from collections import OrderedDict
from contextlib import suppress
from itertools import count
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from threading import Lock

from pellucid.base.child import run_child
from pellucid.base.errors import PellucidError
from pellucid.base.limits import LIMITS_HINT, MAX_OPENING_MEMORY, MAX_OPENING_SECONDS, scaled_limit
from pellucid.model import Model

SCRIPT = "pellucid.studio.open_file"
MEMORY_COPIES = 8  # of the file, in the process that opens it
MAX_DROPPED = 4  # dropped files that are kept
MAX_MODELS = 4  # opened models that are kept
MAX_TEXT = 400  # characters of the reason why a file is not opened


class OpenedFiles:
    """The models of files, and the files that were dropped on a page, which are kept until the studio ends.

    dropped: the paths of the dropped files, by the names of their models.
    """

    def __init__(self) -> None:
        self.dropped = OrderedDict[str, Path]()
        self._folder: Path | None = None
        self._models = OrderedDict[tuple[str, int, int], Model]()  # by path, time and size of the file
        self._faults = dict[Path, str]()  # why a dropped file is not opened; it can be given again
        self._numbers = count(1)
        self._opening = Lock()  # one file is opened at a time
        self._adding = Lock()  # so that dropping a file does not wait for the opening of another

    @property
    def folder(self) -> Path:
        """The folder of dropped and converted files."""
        if self._folder is None:
            self._folder = Path(mkdtemp(prefix="pellucid-studio-"))
            weakref.finalize(self, rmtree, self._folder, ignore_errors=True)  # at the latest when Python ends
        return self._folder

    def new_path(self, suffix: str) -> Path:
        """Return the path for a file that is being dropped."""
        return self.folder / f"{next(self._numbers)}{suffix}"

    def add(self, name: str, path: Path) -> tuple[str, str]:
        """Keep a dropped file; return its model's name, and a line about the file that it replaces, "" if none."""
        with self._adding:
            model_name = f"{path.stem} {name}"
            self.dropped[model_name] = path
            if len(self.dropped) <= MAX_DROPPED:
                return model_name, ""
            faulty_names = [old_name for old_name, old_path in self.dropped.items() if old_path in self._faults]
            old_name = next(iter(faulty_names or self.dropped))  # a file that cannot be opened before a model
            old_path = self.dropped.pop(old_name)
            self._faults.pop(old_path, None)
            with suppress(OSError):  # on Windows while it is opened; the folder is deleted at the end
                old_path.unlink()
            if faulty_names:
                return model_name, ""
            return model_name, f"{old_name} was removed from the list: the studio keeps {MAX_DROPPED} files of models"

    def model(self, path: Path, name: str) -> Model:
        """Return the model of a file; raises PellucidError, in which the file is called `name`."""
        with self._opening:
            try:
                status = path.stat()
            except OSError as error:
                raise PellucidError(f"{name} cannot be read ({error.strerror}); give it again") from error
            key = (str(path), status.st_mtime_ns, status.st_size)
            if path in self._faults:
                raise PellucidError(self._faults[path])
            if key not in self._models:
                converted = self.new_path(".safetensors")
                try:
                    fault = self._convert(path, converted, name)
                    if fault is not None:
                        if self.dropped.get(name) == path:
                            self._faults[path] = fault
                        raise PellucidError(fault)
                    self._models[key] = Model.load(converted)
                finally:
                    converted.unlink(missing_ok=True)
                if len(self._models) > MAX_MODELS:
                    self._models.popitem(last=False)
            return self._models[key]

    def _convert(self, path: Path, converted: Path, name: str) -> str | None:
        """Write the model of a file as a weights file of Pellucid; return why it cannot be opened, None if it can.

        Raises PellucidError above the limits of time and memory, within which the file may be opened another time.
        """
        if not path.stat().st_size:
            return f"{name} is empty; give it again"
        seconds = scaled_limit(MAX_OPENING_SECONDS)
        memory = scaled_limit(MAX_OPENING_MEMORY) + MEMORY_COPIES * path.stat().st_size
        settings = json.dumps({"source": str(path), "target": str(converted), "seconds": seconds, "memory": memory})
        limit_error = PellucidError(
            f"{name} needs more than {seconds} s or {memory >> 20:,} MiB to be opened; {LIMITS_HINT}"
        )
        message = run_child(["-m", SCRIPT, settings], 2 * seconds, limit_error)
        if message is None:
            return None
        text = message.replace(str(path), name)
        if len(text) > MAX_TEXT:
            text = f"{text[: MAX_TEXT // 2]} … {text[-MAX_TEXT // 2 :]}"  # the end says what to do
        return text or f"{name} cannot be opened"
