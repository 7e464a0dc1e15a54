"""Video files and cameras through OpenCV, which is imported when one of them is needed."""

import math
import os
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.tasks.gestures.frame import Frame, Frames, check_every

QUIET = {"OPENCV_LOG_LEVEL": "SILENT", "OPENCV_FFMPEG_LOGLEVEL": "-8"}  # our errors tell what was wrong
ENOUGH = 0.9  # of the frames that a file promises
PATIENCE = 10.0  # seconds that a camera may take for a frame; some need that for the first


def file_frames(path: Path, every: int = 1) -> Frames:
    """Yield every `every`-th frame of a video file; PellucidError when none can be read."""
    check_every(every)
    return _file_frames(import_opencv(), path, every)


def camera_frames(index: int, every: int = 1) -> Frames:
    """Yield the newest frame of camera `index` each time one is requested, until the camera ends.

    Of the frames of the camera every `every`-th counts; those that arrive while the one before is worked on are
    dropped, and counted. Raises PellucidError for a camera that does not open, and one that stops giving frames.
    """
    check_every(every)
    if index < 0:
        raise PellucidError(f"cameras are numbered from 0, {index} is none; the first is 0")
    return _camera_frames(import_opencv(), index, every)


def _file_frames(cv2: ModuleType, path: Path, every: int) -> Frames:
    capture = cv2.VideoCapture(str(path.resolve()))  # a bare name may look like an address
    number = 0
    try:
        while capture.grab():
            if number % every == 0:
                good, array = capture.retrieve()
                if not good:
                    raise PellucidError(f"{path} is damaged at frame {number}; convert it to MP4 anew")
                milliseconds = capture.get(cv2.CAP_PROP_POS_MSEC)
                seconds = milliseconds / 1000 if math.isfinite(milliseconds) else None
                yield Frame(number, seconds, _picture(array, str(path)))
            number += 1
        promised = capture.get(cv2.CAP_PROP_FRAME_COUNT)  # which some files guess from their length in seconds
        if 0 < number < ENOUGH * promised - 1:
            raise PellucidError(f"{path} ends after {number:,} of {promised:,.0f} frames; it is cut off: copy it again")
        if not number:
            raise PellucidError(f"{path} is no video that OpenCV can read; convert it to MP4, or give a GIF or folder")
    except cv2.error as error:
        raise PellucidError(
            f"{path} is damaged at frame {number} ({_reason(error)}); convert it to MP4 anew"
        ) from error
    finally:
        capture.release()


def _camera_frames(cv2: ModuleType, index: int, every: int) -> Frames:
    capture = cv2.VideoCapture(index)
    if not capture.isOpened():
        capture.release()
        raise PellucidError(
            f"camera {index} cannot be opened; check that it is plugged in, free, and that you may use it, or give "
            "another number"
        )

    def read() -> Tensor | None:
        try:
            good, array = capture.read()
        except cv2.error as error:
            raise PellucidError(f"camera {index} fails ({_reason(error)}); plug it in again") from error
        return _picture(array, f"camera {index}") if good else None

    with Newest(read, capture.release, every) as newest:
        last = -every
        while (taken := newest.take(PATIENCE)) is not None:
            number, seconds, picture = taken
            yield Frame(number, seconds, picture, dropped=(number - last) // every - 1)
            last = number
    raise PellucidError(f"camera {index} gives no more frames; check that it is plugged in")


class Newest:
    """The newest picture of a source, which a thread of its own reads as fast as they come.

    read: returns the next picture, None at the end. release: called once, after the last read.
    """

    def __init__(
        self, read: Callable[[], Tensor | None], release: Callable[[], Any] = lambda: None, every: int = 1
    ) -> None:
        self._read, self._release, self._every = read, release, every
        self._change = threading.Condition()
        self._newest: tuple[int, float, Tensor] | None = None
        self._ended = False
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> "Newest":
        """Begin to read."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Stop reading; a source that hangs is left to the end of the process."""
        with self._change:
            self._ended = True
        self._thread.join(PATIENCE)

    def take(self, patience: float) -> tuple[int, float, Tensor] | None:
        """Wait for a picture newer than the last one taken: its number, its seconds since the first, itself.

        None at the end of the source, and after `patience` seconds without a picture.
        """
        with self._change:
            self._change.wait_for(lambda: self._newest is not None or self._ended, patience)
            if self._fault is not None:
                raise self._fault
            taken, self._newest = self._newest, None
            return taken

    def _work(self) -> None:
        number, start = 0, 0.0
        try:
            while not self._ended and (picture := self._read()) is not None:
                start = start or time.monotonic()
                if number % self._every == 0:
                    with self._change:
                        self._newest = (number, time.monotonic() - start, picture)
                        self._change.notify()
                number += 1
        except (PellucidError, MemoryError) as error:  # belongs to whoever waits for a picture
            self._fault = error
        finally:
            self._release()
            with self._change:
                self._ended = True
                self._change.notify()


def import_opencv() -> ModuleType:
    """Return OpenCV, silent on stderr unless the environment says else; PellucidError where it is not installed."""
    for name, level in QUIET.items():
        os.environ.setdefault(name, level)  # read when OpenCV is loaded
    try:
        return import_module("cv2")
    except ImportError as error:
        raise PellucidError(
            'video files and cameras need OpenCV: pip install "pellucid[camera]"; GIF files and folders do not'
        ) from error


def _picture(array: "np.ndarray[Any, np.dtype[Any]]", name: str) -> Tensor:
    """Return OpenCV's blue, green, red (H, W, 3) as red, green, blue (3, H, W)."""
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise PellucidError(
            f"{name} gives frames {array.shape} {array.dtype}, no colour pictures of 8 bits; convert it"
        )
    return torch.from_numpy(np.ascontiguousarray(array[..., ::-1].transpose(2, 0, 1)))


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
