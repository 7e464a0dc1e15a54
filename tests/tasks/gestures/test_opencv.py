"""A camera that is faster than the network: the newest frame counts, the rest are dropped and counted."""

import threading
import time
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.tasks.gestures import opencv
from pellucid.tasks.gestures.frame import Frame, Frames
from pellucid.tasks.gestures.opencv import Newest, camera_frames


def numbered(number: int) -> Tensor:
    return torch.full((3, 1, 1), number, dtype=torch.uint8)


class Shutter:
    """A camera whose frames come when the test says so; it ends with the last."""

    def __init__(self, last: int) -> None:
        self.last, self.released = last, 0
        self.asked = threading.Semaphore(0)  # how often the thread has come back for one more
        self.given = threading.Semaphore(0)
        self.number = -1

    def read(self) -> Tensor | None:
        self.asked.release()
        self.given.acquire()
        self.number += 1
        return numbered(self.number) if self.number <= self.last else None

    def release(self) -> None:
        self.released += 1

    def give(self, count: int) -> None:
        """Let `count` frames through, and wait until the thread has put each one down."""
        for _ in range(count):
            self.asked.acquire()
            self.given.release()
        assert self.asked.acquire(timeout=5)
        self.asked.release()


def test_the_newest_of_several_frames_is_taken():
    shutter = Shutter(last=5)
    with Newest(shutter.read, shutter.release) as newest:
        shutter.give(1)
        first = newest.take(5)
        shutter.give(4)
        second = newest.take(5)
        shutter.give(1)
        third = newest.take(5)
        shutter.given.release()  # the end
        assert newest.take(5) is None
    assert [None if it is None else it[0] for it in (first, second, third)] == [0, 4, 5]
    assert second is not None
    assert torch.equal(second[2], numbered(4))
    assert shutter.released == 1


def test_a_camera_that_hangs_is_not_waited_for_longer_than_patience():
    shutter = Shutter(last=5)
    with Newest(shutter.read, shutter.release) as newest:
        assert newest.take(0.01) is None
        shutter.given.release()


def test_a_fault_in_the_thread_reaches_whoever_waits():
    def broken() -> Tensor | None:
        raise PellucidError("camera 0 fails")

    with Newest(broken) as newest, pytest.raises(PellucidError, match="camera 0 fails"):
        newest.take(5)


class Fake:
    """What `cv2` offers for a camera, with frames of 2x2 whose blue is their number, five milliseconds apart."""

    error = RuntimeError

    def __init__(self, frames: int, opened: bool = True) -> None:
        self.left, self.number, self.opened, self.released = frames, 0, opened, False

    def VideoCapture(self, index: int) -> "Fake":  # noqa: N802 (OpenCV's name)
        return self

    def isOpened(self) -> bool:  # noqa: N802
        return self.opened

    def read(self) -> tuple[bool, np.ndarray | None]:
        time.sleep(0.005)
        if not self.left:
            return False, None
        self.left -= 1
        array = np.zeros((2, 2, 3), np.uint8)
        array[..., 0] = self.number
        self.number += 1
        return True, array

    def release(self) -> None:
        self.released = True


def use(fake: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opencv, "import_module", lambda name: fake)


def look_at(frames: Frames, seen: list[Frame], pause: float) -> None:
    """Be as slow as a network."""
    for frame in frames:
        seen.append(frame)
        time.sleep(pause)


@pytest.mark.parametrize("every", [1, 3])
def test_each_frame_of_a_camera_is_either_given_or_counted_as_dropped(every: int, monkeypatch: pytest.MonkeyPatch):
    fake = Fake(frames=40)
    use(fake, monkeypatch)
    frames = camera_frames(0, every)
    seen: list[Frame] = []
    with pytest.raises(PellucidError, match="gives no more frames"):  # the only end that a camera has of itself
        look_at(frames, seen, pause=0.02 * every)
    assert fake.released
    for before, after in pairwise(seen):
        assert after.number == before.number + every * (after.dropped + 1)
        assert after.seconds is not None
        assert before.seconds is not None
        assert after.seconds > before.seconds
    assert sum(frame.dropped for frame in seen) > 0
    assert all(frame.number % every == 0 for frame in seen)
    assert all(frame.picture[:, 0, 0].tolist() == [0, 0, frame.number] for frame in seen)


def test_closing_lets_the_camera_go(monkeypatch: pytest.MonkeyPatch):
    fake = Fake(frames=1000)
    use(fake, monkeypatch)
    frames = camera_frames(0)
    next(frames)
    frames.close()
    assert fake.released


def test_a_camera_that_does_not_open_is_told(monkeypatch: pytest.MonkeyPatch):
    fake = Fake(frames=0, opened=False)
    use(fake, monkeypatch)
    with pytest.raises(PellucidError, match="camera 2 cannot be opened; check that it is plugged in"):
        next(camera_frames(2))
    assert fake.released


def test_a_camera_of_other_pictures_is_told(monkeypatch: pytest.MonkeyPatch):
    grey = SimpleNamespace(
        isOpened=lambda: True, read=lambda: (True, np.zeros((2, 2), np.uint16)), release=lambda: None
    )
    use(SimpleNamespace(VideoCapture=lambda index: grey, error=RuntimeError), monkeypatch)
    with pytest.raises(PellucidError, match=r"camera 0 gives frames \(2, 2\) uint16"):
        next(camera_frames(0))


def test_an_error_of_opencvs_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch):
    def fail() -> None:
        raise RuntimeError("OpenCV(5)\nassertion failed")

    camera = SimpleNamespace(isOpened=lambda: True, read=fail, release=lambda: None)
    use(SimpleNamespace(VideoCapture=lambda index: camera, error=RuntimeError), monkeypatch)
    with pytest.raises(PellucidError, match=r"camera 0 fails \(OpenCV\(5\) assertion failed\)"):
        next(camera_frames(0))
