"""Writing of a video file from pictures of the frames of another video."""

import os
from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from pellucid.base.errors import PellucidError
from pellucid.base.files import PICTURE_SUFFIXES
from pellucid.data.video import DEFAULT_DURATION, import_opencv, video_frames


def is_video(path: Path) -> bool:
    """Return whether a path is a file of frames: a GIF or a video, not a picture or a folder."""
    return path.is_file() and path.suffix.lower() not in PICTURE_SUFFIXES


def write_video(source: Path, frames: Sequence[Path]) -> Path:
    """Write the pictures `frames` as SOURCE-predicted.mp4 into their folder, at the frame rate of `source`.

    Returns the path of the file. The frame rate is computed from the times of the source's first two frames. Needs
    OpenCV; raises PellucidError without it, and if writing fails.
    """
    cv2 = import_opencv()
    output = frames[0].with_name(f"{source.stem}-predicted.mp4")
    with closing(video_frames(source)) as source_frames:
        times = [frame.seconds or 0.0 for frame in islice(source_frames, 2)]
    duration = times[-1] - times[0]
    height, width = cv2.imread(str(frames[0])).shape[:2]
    with TemporaryDirectory(prefix=".pellucid-", dir=output.parent) as folder:
        temporary = Path(folder) / output.name
        codec = cv2.VideoWriter_fourcc(*"mp4v")
        writer = cv2.VideoWriter(str(temporary), codec, 1 / (duration or DEFAULT_DURATION), (width, height))
        if not writer.isOpened():
            raise PellucidError(f"{output} cannot be written as a video of {width} x {height} pixels")
        for frame in frames:
            writer.write(cv2.imread(str(frame)))
        writer.release()
        os.replace(temporary, output)
    return output
