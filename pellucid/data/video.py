"""Frames of an animated GIF, a folder of pictures, a video file or a camera."""

import io
import math
import os
import re
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType, TracebackType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.limits import MAX_IMAGE_PIXELS
from pellucid.data.images import DAMAGE_ERRORS, load_image, pillow_warnings_as_errors, read_file, read_full_size
from pellucid.data.tree import open_tree

GIF_MAGIC = (b"GIF87a", b"GIF89a")
DEFAULT_DURATION = 0.1  # seconds for a frame of a GIF without a duration, as in browsers
MIN_FRAME_FRACTION = 0.9  # of the frames that a file declares; with fewer, it counts as cut off
FRAME_TIMEOUT = 10.0  # seconds for a frame of a camera; some need that long for the first one


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """A frame.

    number: its index in the source, from 0. seconds: since the first frame, None if the source has no times. picture:
    (3, H, W) uint8. dropped: the number of frames that were skipped since the previous one, because they arrived while
    it was processed or could not be read.
    """

    number: int
    seconds: float | None
    picture: Tensor
    dropped: int = 0


Frames = Generator[VideoFrame, None, None]  # close it to release a camera


def check_every(every: int) -> None:
    """Raise PellucidError unless `every` is 1 or more."""
    if every < 1:
        raise PellucidError(f"every must be 1 (each frame) or more, not {every}")


def ppm_bytes(picture: Tensor) -> bytes:
    """Return a picture (3, H, W) uint8 as the bytes of a PPM file, which is preprocessed like any picture file."""
    _, height, width = picture.shape
    return b"P6 %d %d 255\n" % (width, height) + picture.permute(1, 2, 0).contiguous().numpy().tobytes()


def video_frames(path: str | os.PathLike[str], every: int = 1) -> Frames:
    """Yield every `every`-th frame of an animated GIF, a folder of pictures sorted by number, or a video file.

    GIF files and folders need only Pillow, other files OpenCV. Raises PellucidError for a missing file and,
    when a damaged frame is reached, for a file that cannot be read.
    """
    check_every(every)
    path = Path(path)
    if path.is_dir():
        return _folder_frames(path, every)
    if not path.is_file():
        raise PellucidError(f"{path} is missing; give a video file, an animated GIF or a folder of frames")
    with path.open("rb") as file:
        magic = file.read(len(GIF_MAGIC[0]))
    if magic in GIF_MAGIC:
        return _gif_frames(path, every)

    return file_frames(path, every)


def _folder_frames(path: Path, every: int) -> Frames:
    with open_tree(path) as tree:
        names = sorted((name for name in tree.names if "/" not in name), key=_numeric_key)
        if not names:
            raise PellucidError(f"{path} has no frames; give a folder with picture files in it")
        n_dropped, is_yielded, fault = 0, False, None
        for number in range(0, len(names), every):
            try:
                name = tree.where(names[number])
                picture = load_image(read_full_size(tree.read(names[number]), name), name)
            except PellucidError as error:
                n_dropped, fault = n_dropped + 1, error
                continue
            yield VideoFrame(number, None, picture, n_dropped)
            n_dropped, is_yielded = 0, True
        if fault is not None and not is_yielded:
            raise fault


def _numeric_key(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts frame2 before frame10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _gif_frames(path: Path, every: int) -> Frames:
    data, number, seconds = read_file(path), 0, 0.0
    try:
        with pillow_warnings_as_errors():
            animation = Image.open(io.BytesIO(data), formats=["GIF"])
        with animation:
            while True:
                with pillow_warnings_as_errors():  # not around the yield: the caller has its own filters
                    picture, duration = _gif_frame(animation, path)
                if number % every == 0:
                    yield VideoFrame(number, seconds, picture)
                number, seconds = number + 1, seconds + duration
                try:
                    with pillow_warnings_as_errors():
                        animation.seek(number)
                except EOFError:
                    return
    except DAMAGE_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PellucidError(f"{path} is damaged at frame {number} ({reason}); replace it") from error


def _gif_frame(animation: Image.Image, path: Path) -> tuple[Tensor, float]:
    """Return the current picture of an animation, on a white background, and its duration in seconds."""
    width, height = animation.size
    if width * height > MAX_IMAGE_PIXELS:
        raise PellucidError(f"{path} declares {width}x{height} pixels, above {MAX_IMAGE_PIXELS}; shrink it")
    picture = animation.convert("RGBA")
    background = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    array = np.array(Image.alpha_composite(background, picture).convert("RGB"))  # (H, W, 3)
    duration = animation.info.get("duration", 0) / 1000  # milliseconds
    return torch.from_numpy(array).permute(2, 0, 1).contiguous(), duration or DEFAULT_DURATION


def file_frames(path: Path, every: int = 1) -> Frames:
    """Yield every `every`-th frame of a video file; raise PellucidError if none can be read."""
    check_every(every)
    return _file_frames(import_opencv(), path, every)


def camera_frames(index: int, every: int = 1) -> Frames:
    """Yield the newest frame of camera `index` each time one is requested, until the camera ends.

    Only every `every`-th frame is used; frames that arrive while the previous one is processed are dropped and counted.
    Raises PellucidError for a camera that does not open, and for one that stops.
    """
    check_every(every)
    if index < 0:
        raise PellucidError(f"camera {index} does not exist; the first camera is 0")
    return _camera_frames(import_opencv(), index, every)


def _file_frames(cv2: ModuleType, path: Path, every: int) -> Frames:
    capture = _open_video(cv2, path)
    number = 0
    try:
        while capture.grab():
            if number % every == 0:
                is_decoded, array = capture.retrieve()
                if not is_decoded:
                    raise PellucidError(f"{path} is damaged at frame {number}; convert it to MP4 again")
                milliseconds = capture.get(cv2.CAP_PROP_POS_MSEC)
                seconds = milliseconds / 1000 if math.isfinite(milliseconds) else None
                yield VideoFrame(number, seconds, _to_rgb(array, str(path)))
            number += 1
        declared_count = capture.get(cv2.CAP_PROP_FRAME_COUNT)  # some files only estimate it from their duration
        if 0 < number < MIN_FRAME_FRACTION * declared_count - 1:
            raise PellucidError(
                f"{path} ends after {number:,} of {declared_count:,.0f} frames; it is cut off: copy it again"
            )
        if not number:
            raise PellucidError(f"{path} is not a video that OpenCV reads; convert it to MP4, or give a GIF or folder")
    except cv2.error as error:
        raise PellucidError(
            f"{path} is damaged at frame {number} ({_reason_of(error)}); convert it to MP4 again"
        ) from error
    finally:
        capture.release()


def _open_video(cv2: ModuleType, path: Path) -> Any:
    """Open a video file through a link, because OpenCV reads names with %03d or a number as image sequences.

    FFmpeg is preferred, because other backends print their own errors.
    """
    backends = cv2.videoio_registry.getBackends()
    backend = cv2.CAP_FFMPEG if cv2.CAP_FFMPEG in backends else cv2.CAP_ANY
    suffix = path.suffix if path.suffix[1:].isalnum() else ""
    with TemporaryDirectory() as folder:
        link = Path(folder, f"video{suffix}")
        link.symlink_to(path.resolve())
        return cv2.VideoCapture(str(link), backend)  # keeps the file open after the link is removed


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
            is_decoded, array = capture.read()
        except cv2.error as error:
            raise PellucidError(f"camera {index} fails ({_reason_of(error)}); plug it in again") from error
        return _to_rgb(array, f"camera {index}") if is_decoded else None

    with NewestFrame(read, capture.release, every) as newest:
        last_number = -every  # so that nothing counts as dropped before the first frame
        while (frame := newest.take(FRAME_TIMEOUT)) is not None:
            number, seconds, picture = frame
            yield VideoFrame(number, seconds, picture, dropped=(number - last_number) // every - 1)
            last_number = number
    raise PellucidError(f"camera {index} sends no more frames; check that it is plugged in")


class NewestFrame:
    """The newest picture of a source, which a background thread reads continuously.

    read: returns the next picture, None at the end. release: called once, after the last read.
    """

    def __init__(
        self, read: Callable[[], Tensor | None], release: Callable[[], Any] = lambda: None, every: int = 1
    ) -> None:
        self._read, self._release, self._every = read, release, every
        self._condition = threading.Condition()
        self._newest: tuple[int, float, Tensor] | None = None
        self._is_ended = False
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._read_continuously, daemon=True)

    def __enter__(self) -> "NewestFrame":
        """Start reading."""
        self._thread.start()
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop reading; if `read` blocks, the thread ends with the process."""
        with self._condition:
            self._is_ended = True
        self._thread.join(FRAME_TIMEOUT)

    def take(self, timeout: float) -> tuple[int, float, Tensor] | None:
        """Wait for a picture newer than the last one taken; return its number, seconds since the first one, and tensor.

        Returns None at the end of the source, and after `timeout` seconds without a picture.
        """
        with self._condition:
            self._condition.wait_for(lambda: self._newest is not None or self._is_ended, timeout)
            if self._fault is not None:
                raise self._fault
            frame, self._newest = self._newest, None
            return frame

    def _read_continuously(self) -> None:
        number, start_time = 0, 0.0
        try:
            while not self._is_ended and (picture := self._read()) is not None:
                start_time = start_time or time.monotonic()
                if number % self._every == 0:
                    with self._condition:
                        self._newest = (number, time.monotonic() - start_time, picture)
                        self._condition.notify()
                number += 1
        except (PellucidError, MemoryError) as error:  # raised by `take`
            self._fault = error
        finally:
            self._release()
            with self._condition:
                self._is_ended = True
                self._condition.notify()


def import_opencv() -> ModuleType:
    """Return the module cv2; raise PellucidError if it is not installed.

    Its log messages are disabled unless the user configures them, because PellucidError reports the faults of files.
    """
    try:
        cv2 = import_module("cv2")
    except ImportError as error:
        raise PellucidError(
            'video files and cameras need OpenCV: pip install "pellucid[camera]"; GIF files and folders do not'
        ) from error
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read when the first video is opened
    if "OPENCV_LOG_LEVEL" not in os.environ:
        # The variable itself has no effect if the user's code has already imported OpenCV.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2


def _to_rgb(array: "np.ndarray[Any, np.dtype[Any]]", name: str) -> Tensor:
    """Return OpenCV's image (H, W, 3), in BGR, as a tensor (3, H, W), in RGB."""
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise PellucidError(f"{name} has frames {array.shape} {array.dtype}, not 8-bit colour images; convert it")
    return torch.from_numpy(np.ascontiguousarray(array[..., ::-1].transpose(2, 0, 1)))


def _reason_of(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
