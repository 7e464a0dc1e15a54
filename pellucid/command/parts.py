"""Results for many pictures in parts: files in a folder that any number of processes write and resume."""

import json
import math
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import __version__ as pillow_version

from pellucid.base.errors import PellucidError
from pellucid.base.files import make_folder, read_regular, remove_orphans, write_atomically
from pellucid.base.text import note
from pellucid.base.version import __version__
from pellucid.data.picture_list import PictureList

MIN_PART_SIZE, MAX_PART_SIZE = 16, 512  # pictures
TARGET_PARTS = 64  # approximate number of parts, unless a part would be smaller or larger than the limits
POLL_SECONDS = 0.5  # seconds between two checks of the parts of other processes
MANIFEST, LOCK = "manifest.json", "lock"
ALL_PARTS_LOCK = 0  # the byte of the file LOCK for manifest and result; byte n + 1 is for part n
PATIENCE_SECONDS = 60.0  # seconds of waiting for parts of other processes before a message names these parts
_PART_NAME_PATTERN = re.compile(r"part-[0-9]{5,}\.jsonl")


def part_size(pictures: int) -> int:
    """Return the number of pictures in a part: a multiple of 16 that makes about 64 parts, but at most 512."""
    return min(MAX_PART_SIZE, max(MIN_PART_SIZE, -(-pictures // TARGET_PARTS // MIN_PART_SIZE) * MIN_PART_SIZE))


class Parts:
    """The parts of one job; the same command resumes an interrupted job, with any number of processes.

    folder: the folder of the parts. result: the merged file, which exists only if all parts are done. job: the settings
    that the results depend on in addition to the pictures, as JSON values. threads: the number of threads of each
    process, which the first process determines. Raises PellucidError if the folder has the parts of another job.
    """

    def __init__(self, folder: Path, result: Path, pictures: PictureList, job: Mapping[str, Any]) -> None:
        self.folder, self.result, self.pictures = make_folder(folder), result, pictures
        self.part_size = part_size(len(pictures))
        self.n_parts = -(-len(pictures) // self.part_size)
        self._locks = _Locks(folder / LOCK)
        try:
            with self._locks.hold(ALL_PARTS_LOCK):
                self.threads = self._check_manifest(job)
                if self.count_done() < self.n_parts:
                    result.unlink(missing_ok=True)
        # also after Ctrl-C: a process that goes on would keep the locks
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Release all locks."""
        self._locks.close()

    def file(self, number: int) -> Path:
        """Return the file of a part, which exists only if the part is done."""
        return self.folder / f"part-{number:05d}.jsonl"

    def pictures_of(self, number: int) -> range:
        """Return the indices of a part's pictures."""
        return range(number * self.part_size, min((number + 1) * self.part_size, len(self.pictures)))

    def count_done(self) -> int:
        """Return the number of parts that are done."""
        return sum(_PART_NAME_PATTERN.fullmatch(name) is not None for name in os.listdir(self.folder))

    def claim_unfinished(self, rank: int, world_size: int) -> Iterator[int]:
        """Yield the number of each unfinished part; this process holds the part's lock until it requests the next.

        Process `rank` of `world_size` begins with its own share, and continues with unfinished parts of other
        processes, which may have been killed. The iteration ends when all parts are done, by any process.
        """
        first_part = rank * self.n_parts // world_size
        open_parts = [*range(first_part, self.n_parts), *range(first_part)]
        waiting_since = None
        while open_parts:
            locked_parts: list[int] = []
            for number in open_parts:
                if self.file(number).exists():
                    continue
                if not self._locks.take(number + 1):
                    locked_parts.append(number)
                    continue
                try:
                    if not self.file(number).exists():
                        waiting_since = None
                        yield number
                finally:
                    self._locks.release(number + 1)
            open_parts = locked_parts
            if locked_parts:
                waiting_since = waiting_since or time.monotonic()
                if time.monotonic() - waiting_since > PATIENCE_SECONDS and rank == 0:
                    waiting_since = math.inf  # prints the message only once
                    note(
                        f"still waiting for {', '.join(self.file(number).name for number in locked_parts[:3])} of "
                        "other processes; if one of them hangs, end it, and its part is computed again"
                    )
                time.sleep(POLL_SECONDS)

    @contextmanager
    def claim_result(self) -> Iterator[bool]:
        """Return a context in which only this process may write the result; its value: whether it must be written."""
        with self._locks.hold(ALL_PARTS_LOCK):
            if is_missing := not self.result.exists():
                remove_orphans(self.folder)
                for file in self.result.parent.glob(f".{self.result.name}.*.tmp"):
                    file.unlink(missing_ok=True)
            yield is_missing

    def _check_manifest(self, job: Mapping[str, Any]) -> int:
        """Compare the job with the manifest, or write the manifest; return the number of threads.

        Raises PellucidError if the manifest is missing, cannot be read, or differs.
        """
        versions = {"version of pellucid": __version__, "version of PyTorch": str(torch.__version__)}
        picture_list = {"number of pictures": len(self.pictures), "list of pictures": self.pictures.digest}
        job = json.loads(json.dumps({**job, **picture_list, **versions, "version of Pillow": pillow_version}))
        path = self.folder / MANIFEST
        advice = f"give another --out, or remove {self.folder}"
        if not path.exists():
            if self.count_done():
                raise PellucidError(f"{self.folder} has parts but no {MANIFEST}; {advice}")
            threads = torch.get_num_threads()
            write_atomically(path, (json.dumps({**job, "threads": threads}, indent=2) + "\n").encode())
            return threads
        try:
            manifest = json.loads(read_regular(path))
            threads = int(manifest.pop("threads"))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise PellucidError(f"{path} cannot be read ({error}); {advice}") from error
        if differing_names := sorted(name for name in {*job, *manifest} if job.get(name) != manifest.get(name)):
            raise PellucidError(f"{self.folder} was begun with another {', '.join(differing_names)}; {advice}")
        return threads


class _Locks:
    """Locks by number, one byte of a file each; they are released when the process that holds them ends in any way.

    These are POSIX locks, which also work on shared disks.
    """

    def __init__(self, path: Path) -> None:
        try:
            import fcntl
        except ImportError as error:  # Windows
            raise PellucidError(
                "results in parts need file locks (fcntl), which this system lacks; use Linux or macOS"
            ) from error
        self._fcntl, self._path = fcntl, path
        try:
            self._file = path.open("ab")
        except OSError as error:
            raise PellucidError(f"{path} cannot be opened ({error.strerror}); check the folder of --out") from error

    def take(self, number: int, lock_flags: int | None = None) -> bool:
        """Try to take a lock; return True on success, False if another process holds it."""
        lock_flags = self._fcntl.LOCK_EX | self._fcntl.LOCK_NB if lock_flags is None else lock_flags
        try:
            self._fcntl.lockf(self._file, lock_flags, 1, number)
        except (BlockingIOError, PermissionError):  # systems raise different errors for a lock that is held
            return False
        except OSError as error:
            reason = f"{self._path} cannot be locked ({error.strerror})"
            raise PellucidError(f"{reason}; give --out on a disk with file locks") from error
        return True

    def release(self, number: int) -> None:
        """Release a lock."""
        self._fcntl.lockf(self._file, self._fcntl.LOCK_UN, 1, number)

    def close(self) -> None:
        """Release all locks."""
        self._file.close()

    @contextmanager
    def hold(self, number: int) -> Iterator[None]:
        """Return a context that waits for a lock and holds it."""
        self.take(number, self._fcntl.LOCK_EX)
        try:
            yield
        finally:
            self.release(number)
