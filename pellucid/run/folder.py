"""Run folders: their files, the lock against a second process, and the weights that a MODEL argument names."""

import hashlib
import json
import os
import platform
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch

from pellucid import shipped_files
from pellucid.base.errors import PellucidError, nearest
from pellucid.base.files import is_picture, read_regular, reason_of, remove_orphans, set_aside, write_atomically
from pellucid.base.text import note, shown
from pellucid.base.version import __version__
from pellucid.data.trained_on import note_limited_use
from pellucid.run.records import read_object

MAX_RUNS = 1_000_000
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


class RunFolder:
    """A run folder and its files; `with RunFolder(path):` locks the folder against other processes.

    The file `lock` is never removed: the folder is locked by an operating system's lock on this file, which is released
    when the process ends, even if it is killed. Raises PellucidError if the folder cannot be created or another process
    has locked it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.metrics = self.path / "metrics.csv"
        self.layers = self.path / "layers.csv"
        self.recipe = self.path / "recipe.toml"
        self.comparison_file = self.path / "then.txt"  # the name of the run to train next, for comparison
        self.error = self.path / "error.json"  # the error that ended the training, if any
        self.manifest = self.path / "manifest.json"
        self.split = self.path / "split.json"  # the files of each part of a table
        self.launch = self.path / "launch"  # the name of the launch by torchrun that began the run
        self.weights = self.path / "weights"
        self.best = self.weights / "best.safetensors"
        self.last = self.weights / "last.safetensors"
        self.previous = self.weights / "previous.safetensors"  # the checkpoint before the last
        self.pictures = self.path / "pictures"
        self.figures = self.path / "figures"  # of the report
        self.tensorboard = self.path / "tensorboard"
        self.samples = self.path / "samples"
        self._handle: int | None = None

    def preview(self, epoch: int) -> Path:
        """Return the path of the image that shows the predictions for held-out pictures after an epoch."""
        return self.pictures / f"epoch-{epoch:04d}.png"

    def previews(self) -> dict[int, Path]:
        """Return the files of `preview` that exist, by epoch in ascending order."""
        epoch_texts = {file: file.stem.removeprefix("epoch-") for file in sorted(self.pictures.glob("epoch-*.png"))}
        return {int(epoch_text): file for file, epoch_text in epoch_texts.items() if epoch_text.isdecimal()}

    def __enter__(self) -> "RunFolder":
        """Create and lock the folder, and remove the temporary files of killed processes."""
        try:
            self._check_no_linked_folders()
            self.weights.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except (OSError, ValueError) as error:
            raise PellucidError(f"{self.path} cannot be written ({error}); choose another place") from error
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise PellucidError(f"{self.path / 'lock'} is not a regular file; remove it, or choose another run folder")
        if not lock_file(handle, self.path):
            owner = os.pread(handle, 20, 0).decode("ascii", "replace").strip()
            os.close(handle)
            raise PellucidError(f"{self.path} is in use by process {owner}; wait for it, or choose another run folder")
        try:
            os.truncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            os.close(handle)
            raise PellucidError(
                f"{self.path / 'lock'} cannot be written ({error.strerror}); check the folder and its free space"
            ) from error
        self._handle = handle
        remove_orphans(self.path)
        remove_orphans(self.weights)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Unlock the folder."""
        if self._handle is not None:
            os.close(self._handle)  # which also unlocks it
            self._handle = None

    def _check_no_linked_folders(self) -> None:
        """Raise PellucidError if a folder into which a training writes is a link; the user's own links may remain.

        Links to files are replaced by files, or refused where they are opened.
        """
        for folder in (self.weights, self.pictures, self.figures, self.tensorboard, self.samples):
            if folder.is_symlink():
                raise PellucidError(
                    f"{folder} is a link to a folder, and a training writes only into its own; remove the link"
                )

    @property
    def has_checkpoint(self) -> bool:
        """Whether the folder contains a checkpoint."""
        return self.last.exists() or self.previous.exists()

    def begin_again(self) -> None:
        """Rename the files of an earlier training without a checkpoint, and report this on stderr."""
        if self.metrics.exists():
            files = (file for file in (self.metrics, self.layers, self.best) if file.is_file() and file.stat().st_size)
            set_aside_files = [set_aside(file) for file in files]
            names = ", ".join(file.name for file in set_aside_files if file is not None)
            note(
                f"{self.last} is missing: the training begins again at its first step"
                + (f"; the files of the earlier one are kept as {names}" if names else "")
            )

    def write_manifest(self, seed: int, data: Mapping[str, str], extra: Mapping[str, Any]) -> None:
        """Write manifest.json: versions, machine, seed and checksums, which together with the recipe determine results.

        data: the SHA-256 of each part of the data, by its name. extra: additional entries. The values of an existing
        manifest are kept, and the machine and versions of each resumption are added under "resumed". Without a
        checkpoint, other data replace those of an existing manifest, and a note on stderr says so.
        """
        environment_entry = {"started": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **environment()}
        manifest = {**environment_entry, "seed": seed, "data": dict(data), **recipe_hash(self.recipe), **extra}
        if self.manifest.exists():
            earlier = self.read_manifest()
            if not self.has_checkpoint and earlier.get("data") != manifest["data"]:
                note(
                    f"the data differ from those with which {self.path} was begun, which has no checkpoint; it is "
                    "trained on the data as they are now"
                )
                earlier["data"] = manifest["data"]
            manifest = {**manifest, **earlier, "resumed": [*earlier.get("resumed", []), environment_entry]}
        write_atomically(self.manifest, (json.dumps(manifest, indent=2) + "\n").encode())

    def read_manifest(self) -> dict[str, Any]:
        """Return manifest.json; raises PellucidError if it cannot be read."""
        manifest = read_object(self.manifest, "give a run folder that training wrote")
        if manifest is None:
            raise PellucidError(f"{self.manifest} is missing; give a run folder that training wrote")
        for key in ("resumed", "lr_changes"):
            if not isinstance(manifest.get(key, []), list):
                raise PellucidError(f'{self.manifest}: "{key}" must be a list; remove that key, or the file')
        return manifest


def read_preview(file: Path) -> bytes:
    """Return the bytes of a file of `RunFolder.previews`; raises PellucidError if it is not a PNG file."""
    try:
        data = read_regular(file, follow_links=False)
    except OSError as error:
        raise PellucidError(f"{file} cannot be read ({reason_of(error)}); remove it") from error
    if not data.startswith(PNG_SIGNATURE):
        raise PellucidError(f"{file} is not a PNG file; remove it")
    return data


def next_run(root: str | os.PathLike[str], name: str) -> Path:
    """Create and return the folder root/NAME-N with the smallest free N, from 1."""
    root = Path(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        for number in range(1, MAX_RUNS):
            path = root / f"{name}-{number}"
            if not path.exists():
                try:
                    path.mkdir()
                except FileExistsError:  # another process has just created it
                    continue
                return path
    except (OSError, ValueError) as error:
        raise PellucidError(f"{root} cannot be written ({error}); choose another place for runs") from error
    raise PellucidError(f"{root} contains {MAX_RUNS} runs of {name}; move some away")


def environment() -> dict[str, Any]:
    """Return the versions and the machine, on which the exact bits of a result depend."""
    return {
        "pellucid": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "device": "cpu",
        "cpu": processor(),
        "threads": torch.get_num_threads(),
    }


def recipe_hash(recipe: Path) -> dict[str, str]:
    """Return {"recipe_sha256": ...} for a recipe file; {} if it does not exist."""
    return {"recipe_sha256": hashlib.sha256(read_regular(recipe)).hexdigest()} if recipe.is_file() else {}


def processor() -> str:
    """Return the processor's name and the instruction set that PyTorch uses, which affect the last bits of results."""
    return f"{_processor_name()} ({torch.backends.cpu.get_cpu_capability()})"


def _processor_name() -> str:
    """Return the processor's name from /proc/cpuinfo, otherwise its architecture."""
    info_file = Path("/proc/cpuinfo")
    if info_file.is_file():
        for line in info_file.read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def lock_file(handle: int, folder: Path) -> bool:
    """Lock an open file without waiting; return False if another process has locked it.

    Raises PellucidError, and closes the file, if the system or the folder's file system has no locks.
    """
    try:
        import fcntl
    except ImportError as error:
        os.close(handle)
        raise PellucidError(
            "run folders need file locks (fcntl), which this system lacks; train without a run folder"
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # no locks left, or a network file system without locks
        os.close(handle)
        raise PellucidError(f"{folder} cannot be locked ({error.strerror}); choose a place on a local disk") from error
    return True


def weights_file(model: str | os.PathLike[str]) -> Path:
    """Return the weights file that MODEL names; raises PellucidError, with the nearest name, if there is none.

    For a run folder, this is the file of the best weights, or else the last checkpoint, or else the one before it.
    The first use of shipped weights by name writes a note if their data do not permit every use.
    """
    if not isinstance(model, str | os.PathLike):
        raise PellucidError(f"a weights file must be a path, not {shown(model)}; give the file to load")
    path = Path(model)
    model = str(model)
    if model in shipped_files.pretrained_names():
        note_limited_use(model)
        return shipped_files.pretrained_file(model)
    if path.is_dir():
        for checkpoint in ("best", "last", "previous"):
            file = path / "weights" / f"{checkpoint}.safetensors"
            if file.is_file():
                return file
        raise PellucidError(
            f"{path} contains no weights/last.safetensors; give a run folder that `pellucid train` wrote"
        )
    if path.is_file() and is_picture(path.name):
        raise PellucidError(f"{model} is a picture, not a model; give {shipped_files.MODEL_HELP}, before the pictures")
    if path.exists():  # reading it raises PellucidError if it is not a regular file
        return path
    if model in shipped_files.recipe_names():
        raise PellucidError(f"{model} is a recipe without trained weights; train it and give its run folder")
    runs = [str(run) for run in sorted(Path("runs").glob("*")) if run.is_dir()]
    hint = nearest(model, [*shipped_files.pretrained_names(), *runs])
    raise PellucidError(f"no model {model!r}{hint}; give {shipped_files.MODEL_HELP}")
