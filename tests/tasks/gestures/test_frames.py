"""Frames are read in order from GIFs, folders, videos and cameras (the newest frame); damage is reported."""

import io
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.data import load_image
from pellucid.data import video as frames
from pellucid.data.video import Frames, NewestFrame, VideoFrame, camera_frames, ppm_bytes, video_frames
from tests.tasks.gestures.colours import BLUE, GREEN, RED, animation, picture, tensor

with_opencv = pytest.mark.skipif(find_spec("cv2") is None, reason="OpenCV is not installed: pip install -e .[camera]")


def test_every_frame_of_a_gif_is_read_with_its_time(tmp_path: Path):
    frames = list(video_frames(animation(tmp_path / "a.gif", [RED, GREEN, BLUE], 250)))
    assert [frame.number for frame in frames] == [0, 1, 2]
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.25, 0.5])
    assert [tuple(frame.picture[:, 20, 20].tolist()) for frame in frames] == [RED, GREEN, BLUE]
    assert frames[0].picture.shape == (3, 30, 40)
    assert frames[0].picture.dtype == torch.uint8


def test_every_second_frame_can_be_read(tmp_path: Path):
    file = animation(tmp_path / "a.gif", [RED, GREEN, BLUE, RED, GREEN], 100)
    frames = list(video_frames(file, 2))
    assert [frame.number for frame in frames] == [0, 2, 4]
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.2, 0.4])


def test_a_gif_is_recognized_by_its_content_and_its_transparent_pixels_are_white(tmp_path: Path):
    image = Image.new("P", (4, 4), 0)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((0, 0), 1)
    image.save(tmp_path / "still.dat", "GIF", transparency=0)
    (frame,) = video_frames(tmp_path / "still.dat")
    assert frame.picture[:, 3, 3].tolist() == [255, 255, 255]
    assert frame.picture[:, 0, 0].tolist() == [200, 100, 50]


def test_frames_without_a_time_last_a_tenth_of_a_second(tmp_path: Path):
    file = animation(tmp_path / "a.gif", [RED, GREEN, BLUE], 0)
    assert [frame.seconds for frame in video_frames(file)] == pytest.approx([0, 0.1, 0.2])


def read_damaged_gif(data: bytes, path: Path) -> int | str:
    """Return the number of frames of a damaged GIF, or its error message."""
    path.write_bytes(data)
    try:
        return len(list(video_frames(path)))
    except PellucidError as error:
        return str(error)


@pytest.mark.slow
def test_a_gif_cut_anywhere_gives_whole_frames_or_one_clear_error(tmp_path: Path):
    data = animation(tmp_path / "a.gif", [RED, GREEN, BLUE]).read_bytes()
    results = [read_damaged_gif(data[:cut], tmp_path / "cut.gif") for cut in range(6, len(data))]
    assert all(outcome in (1, 2, 3) or "cut.gif is damaged at frame" in str(outcome) for outcome in results)
    assert all(isinstance(outcome, str) for outcome in results[:80])


def test_bits_that_flip_in_a_gif_give_frames_or_one_clear_error(tmp_path: Path):
    intact = animation(tmp_path / "a.gif", [RED, GREEN, BLUE]).read_bytes()
    rng, results = np.random.default_rng(0), list[int | str]()
    for _ in range(300):
        data = bytearray(intact)
        for position in rng.integers(6, len(data), 4):
            data[position] ^= 1 << int(rng.integers(8))
        results.append(read_damaged_gif(bytes(data), tmp_path / "odd.gif"))
    messages = [outcome for outcome in results if isinstance(outcome, str)]
    assert 0 < len(messages) < 300
    assert all("odd.gif" in outcome for outcome in messages)


def test_a_gif_that_declares_more_than_memory_holds_is_refused(tmp_path: Path):
    data = bytearray(animation(tmp_path / "a.gif", [RED, GREEN]).read_bytes())
    data[6:10] = b"\xff\xff\xff\xff"  # width and height of the screen: 65,535
    (tmp_path / "huge.gif").write_bytes(data)
    with pytest.raises(PellucidError, match=r"huge\.gif .*(65535x65535|bomb)"):
        list(video_frames(tmp_path / "huge.gif"))


def test_frames_of_a_folder_are_in_the_order_of_their_numbers(tmp_path: Path):
    for k, colour in ((1, RED), (2, GREEN), (10, BLUE)):
        picture(tmp_path / f"frame{k}.png", colour)
    (tmp_path / ".hidden").write_text("")
    frames = list(video_frames(tmp_path))
    assert [tuple(frame.picture[:, 0, 0].tolist()) for frame in frames] == [RED, GREEN, BLUE]
    assert [frame.seconds for frame in frames] == [None] * 3
    assert [frame.number for frame in video_frames(tmp_path, 2)] == [0, 2]


def test_frames_of_a_folder_that_cannot_be_read_count_as_dropped(tmp_path: Path):
    for name, colour in (("0.png", RED), ("3.png", GREEN)):
        picture(tmp_path / name, colour)
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes(b"no picture")
    assert [(frame.number, frame.dropped) for frame in video_frames(tmp_path)] == [(0, 0), (3, 2)]


def test_a_folder_without_a_readable_frame_is_refused_by_name(tmp_path: Path):
    (tmp_path / "1.png").write_bytes(b"no picture")
    with pytest.raises(PellucidError, match=r"1\.png"):
        list(video_frames(tmp_path))


def test_files_without_frames_are_refused(tmp_path: Path):
    with pytest.raises(PellucidError, match="is missing; give a video file"):
        video_frames(tmp_path / "none.mp4")
    with pytest.raises(PellucidError, match="has no frames"):
        next(video_frames(tmp_path))
    with pytest.raises(PellucidError, match="every must be 1"):
        video_frames(tmp_path, 0)


def test_a_frame_is_restored_from_its_file():
    x = torch.randint(0, 256, (3, 7, 5), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert torch.equal(load_image(ppm_bytes(x)), x)
    assert np.array_equal(np.array(Image.open(io.BytesIO(ppm_bytes(x)))), x.permute(1, 2, 0).numpy())


def test_without_opencv_the_error_names_the_package_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def missing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(frames, "import_module", missing)
    (tmp_path / "a.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    calls: list[Callable[[], object]] = [
        lambda: video_frames(tmp_path / "a.mp4"),
        lambda: frames.camera_frames(0),
    ]
    for call in calls:
        with pytest.raises(PellucidError, match=r'need OpenCV: pip install "pellucid\[camera\]"'):
            call()
    assert len(list(video_frames(animation(tmp_path / "a.gif", [RED, GREEN])))) == 2


def write_video(path: Path, colours: list[tuple[int, int, int]], code: str) -> Path:
    """Write a video of ten frames a second."""
    cv2 = frames.import_opencv()
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 10, (40, 30))
    assert writer.isOpened()
    for colour in colours:
        writer.write(np.ascontiguousarray(tensor(colour).permute(1, 2, 0).numpy()[..., ::-1]))
    writer.release()
    return path


@with_opencv
@pytest.mark.parametrize(("name", "code"), [("a.avi", "FFV1"), ("a.avi", "MJPG"), ("a.mp4", "mp4v")])
def test_every_third_frame_of_a_video_file_in_its_colours(tmp_path: Path, name: str, code: str):
    frames = list(video_frames(write_video(tmp_path / name, [RED] * 4 + [GREEN] * 3 + [BLUE] * 4, code), 3))
    assert [frame.number for frame in frames] == [0, 3, 6, 9]
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.3, 0.6, 0.9])
    for frame, colour in zip(frames, [RED, RED, GREEN, BLUE], strict=True):
        assert frame.picture.shape == (3, 30, 40)
        loss = 0 if code == "FFV1" else 12  # of 255: the other two codecs are lossy
        assert torch.allclose(frame.picture.float(), tensor(colour).float(), atol=loss)


@with_opencv
def test_a_truncated_video_raises_an_error_after_its_last_frame(tmp_path: Path):
    data = write_video(tmp_path / "whole.avi", [RED] * 16, "MJPG").read_bytes()
    (tmp_path / "part.avi").write_bytes(data[: len(data) * 3 // 4])
    read_frames: list[VideoFrame] = []
    with pytest.raises(PellucidError, match=r"part\.avi ends after \d+ of 16 frames; it is cut off"):
        read_frames.extend(video_frames(tmp_path / "part.avi"))
    assert 0 < len(read_frames) < 14
    assert len(list(video_frames(tmp_path / "whole.avi"))) == 16


@with_opencv
def test_files_that_are_not_videos_are_refused_and_opencv_prints_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    intact = write_video(tmp_path / "a.mp4", [RED] * 5, "mp4v").read_bytes()
    for name, data in (("cut.mp4", intact[:400]), ("text.txt", b"http://127.0.0.1:9/a.mp4\n"), ("empty.avi", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(PellucidError, match=rf"{name} is not a video that OpenCV reads"):
            next(video_frames(tmp_path / name))
    assert capfd.readouterr().err == ""


@with_opencv
def test_a_file_name_with_a_pattern_or_a_number_names_one_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    cv2 = pytest.importorskip("cv2")
    for number in range(3):
        picture = cv2.imencode(".png", np.full((48, 64, 3), 60 * number + 20, np.uint8))[1]
        (tmp_path / f"n{number:03d}.mov").write_bytes(picture.tobytes())
    (tmp_path / "n%03d.mov").write_bytes(b"no video" * 100)
    with pytest.raises(PellucidError, match=r"n%03d\.mov is not a video"):
        list(video_frames(tmp_path / "n%03d.mov"))
    assert len(list(video_frames(tmp_path / "n000.mov"))) <= 1
    assert not capfd.readouterr().err


def test_opencv_prints_nothing_for_a_truncated_video(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "whole.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5, (64, 48))
    for shade in range(4):
        writer.write(np.full((48, 64, 3), 50 * shade, np.uint8))
    writer.release()
    assert len(list(video_frames(path))) == 4
    for size in (10, 500, 2500):
        (tmp_path / "cut.avi").write_bytes(path.read_bytes()[:size])
        with pytest.raises(PellucidError, match=r"cut\.avi"):
            list(video_frames(tmp_path / "cut.avi"))
    assert not capfd.readouterr().err


def test_a_missing_camera_is_reported():
    with pytest.raises(PellucidError, match="camera 63 cannot be opened"):
        next(frames.camera_frames(63))


def test_cameras_are_numbered_from_zero():
    with pytest.raises(PellucidError, match="the first camera is 0"):
        frames.camera_frames(-1)


def numbered_frame(number: int) -> Tensor:
    return torch.full((3, 1, 1), number, dtype=torch.uint8)


class ManualCamera:
    """A camera that delivers frames on request; it ends after frame `last_number`."""

    def __init__(self, last_number: int) -> None:
        self.last_number, self.released = last_number, 0
        self.requests = threading.Semaphore(0)  # released when the thread requests a frame
        self.permits = threading.Semaphore(0)
        self.number = -1

    def read(self) -> Tensor | None:
        self.requests.release()
        self.permits.acquire()
        self.number += 1
        return numbered_frame(self.number) if self.number <= self.last_number else None

    def release(self) -> None:
        self.released += 1

    def deliver(self, count: int) -> None:
        """Deliver `count` frames, and wait until the thread has stored each."""
        for _ in range(count):
            self.requests.acquire()
            self.permits.release()
        assert self.requests.acquire(timeout=5)
        self.requests.release()


def test_the_newest_of_several_frames_is_taken():
    camera = ManualCamera(last_number=5)
    with NewestFrame(camera.read, camera.release) as newest:
        camera.deliver(1)
        first = newest.take(5)
        camera.deliver(4)
        second = newest.take(5)
        camera.deliver(1)
        third = newest.take(5)
        camera.permits.release()  # the camera returns None
        assert newest.take(5) is None
    assert [None if taken is None else taken[0] for taken in (first, second, third)] == [0, 4, 5]
    assert second is not None
    assert torch.equal(second[2], numbered_frame(4))
    assert camera.released == 1


def test_a_camera_that_hangs_is_not_waited_for_longer_than_the_timeout():
    camera = ManualCamera(last_number=5)
    with NewestFrame(camera.read, camera.release) as newest:
        assert newest.take(0.01) is None
        camera.permits.release()


def test_an_error_in_the_camera_thread_is_raised_for_the_reader():
    def broken() -> Tensor | None:
        raise PellucidError("camera 0 fails")

    with NewestFrame(broken) as newest, pytest.raises(PellucidError, match="camera 0 fails"):
        newest.take(5)


class FakeOpenCV:
    """The functions of `cv2` for a camera, with 2 x 2 frames every 5 ms, whose blue values are their numbers."""

    error = RuntimeError

    def __init__(self, frames: int, opened: bool = True) -> None:
        self.n_left, self.number, self.opened, self.released = frames, 0, opened, False

    def VideoCapture(self, index: int) -> "FakeOpenCV":  # noqa: N802 (OpenCV's name)
        return self

    def isOpened(self) -> bool:  # noqa: N802
        return self.opened

    def read(self) -> tuple[bool, np.ndarray | None]:
        time.sleep(0.005)
        if not self.n_left:
            return False, None
        self.n_left -= 1
        array = np.zeros((2, 2, 3), np.uint8)
        array[..., 0] = self.number
        self.number += 1
        return True, array

    def release(self) -> None:
        self.released = True


def use_opencv(fake: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "import_opencv", lambda: fake)


def consume_slowly(frames: Frames, consumed: list[VideoFrame], pause: float) -> None:
    """Read all frames with a pause after each, like a network that needs this time for a frame."""
    for frame in frames:
        consumed.append(frame)
        time.sleep(pause)


@pytest.mark.parametrize("every", [1, 3])
def test_each_frame_of_a_camera_is_returned_or_counted_as_dropped(every: int, monkeypatch: pytest.MonkeyPatch):
    fake = FakeOpenCV(frames=40)
    use_opencv(fake, monkeypatch)
    frames = camera_frames(0, every)
    consumed: list[VideoFrame] = []
    with pytest.raises(PellucidError, match="sends no more frames"):  # a camera ends only by an error
        consume_slowly(frames, consumed, pause=0.02 * every)
    assert fake.released
    for before, after in pairwise(consumed):
        assert after.number == before.number + every * (after.dropped + 1)
        assert after.seconds is not None
        assert before.seconds is not None
        assert after.seconds > before.seconds
    assert sum(frame.dropped for frame in consumed) > 0
    assert all(frame.number % every == 0 for frame in consumed)
    assert all(frame.picture[:, 0, 0].tolist() == [0, 0, frame.number] for frame in consumed)


def test_closing_releases_the_camera(monkeypatch: pytest.MonkeyPatch):
    fake = FakeOpenCV(frames=1000)
    use_opencv(fake, monkeypatch)
    frames = camera_frames(0)
    next(frames)
    frames.close()
    assert fake.released


def test_a_camera_that_does_not_open_is_reported(monkeypatch: pytest.MonkeyPatch):
    fake = FakeOpenCV(frames=0, opened=False)
    use_opencv(fake, monkeypatch)
    with pytest.raises(PellucidError, match="camera 2 cannot be opened; check that it is plugged in"):
        next(camera_frames(2))
    assert fake.released


def test_a_camera_with_unsupported_frames_is_reported(monkeypatch: pytest.MonkeyPatch):
    grey = SimpleNamespace(
        isOpened=lambda: True, read=lambda: (True, np.zeros((2, 2), np.uint16)), release=lambda: None
    )
    use_opencv(SimpleNamespace(VideoCapture=lambda index: grey, error=RuntimeError), monkeypatch)
    with pytest.raises(PellucidError, match=r"camera 0 has frames \(2, 2\) uint16"):
        next(camera_frames(0))


def test_an_error_of_opencvs_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch):
    def fail() -> None:
        raise RuntimeError("OpenCV(5)\nassertion failed")

    camera = SimpleNamespace(isOpened=lambda: True, read=fail, release=lambda: None)
    use_opencv(SimpleNamespace(VideoCapture=lambda index: camera, error=RuntimeError), monkeypatch)
    with pytest.raises(PellucidError, match=r"camera 0 fails \(OpenCV\(5\) assertion failed\)"):
        next(camera_frames(0))
