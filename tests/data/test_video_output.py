"""Videos of the annotated frames of another video."""

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pellucid.data.video import video_frames
from pellucid.data.video_output import is_video, write_video

pytest.importorskip("cv2", reason="videos need OpenCV")
LEVELS = (40, 90, 140, 190, 240)


def test_a_video_has_the_frames_and_the_rate_of_its_source(tmp_path: Path) -> None:
    pictures = [Image.fromarray(np.full((48, 64, 3), level, np.uint8)) for level in LEVELS]
    source = tmp_path / "clip.gif"
    pictures[0].save(source, save_all=True, append_images=pictures[1:], duration=200)
    files = [tmp_path / f"clip-{k:06d}-overlay.png" for k in range(len(LEVELS))]
    for picture, file in zip(pictures, files, strict=True):
        picture.save(file)
    file = write_video(source, files)
    assert file == tmp_path / "clip-predicted.mp4"
    with closing(video_frames(file)) as frames:
        written = [*frames]
    assert [frame.seconds for frame in written] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    for frame, level in zip(written, LEVELS, strict=True):
        assert tuple(frame.picture.shape) == (3, 48, 64)
        assert frame.picture.double().mean() == pytest.approx(level, abs=4)  # the video is compressed with losses
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == []


def test_only_existing_video_files_and_gifs_are_videos(tmp_path: Path) -> None:
    for name in ("a.png", "a.gif", "a.mp4"):
        (tmp_path / name).write_bytes(b"")
    assert [is_video(tmp_path / name) for name in ("a.png", "a.gif", "a.mp4", "", "b.mp4")] == [
        *(False, True, True, False, False)
    ]
