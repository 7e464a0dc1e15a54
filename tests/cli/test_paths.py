"""Two workflows of the documentation: from a user's boxes to a video, and from a user's classes to other programs."""

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from pellucid.data.video import video_frames
from pellucid.model import Model
from tests.cli.conftest import Cli
from tests.cli.test_train_own import draw_objects, write_labelme
from tests.recipe.pictures import write_colour_folder
from tests.studio.serve.test_serve import RunningServer

pytestmark = pytest.mark.long


def test_forty_pictures_with_boxes_become_a_detector_for_a_video(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "things").mkdir()
    write_labelme(tmp_path / "things", 40)
    result = cli("train", "detect", str(tmp_path / "things"), "data.size=160", "train.epochs=25", "--json")
    assert result.json["ap50"] > 0.9  # on 8 held-out pictures
    pictures = [draw_objects(seed) for seed in range(100, 106)]  # not in the training data
    frames = [picture for picture, _ in pictures]
    frames[0].save(tmp_path / "video.gif", save_all=True, append_images=frames[1:], duration=200)
    output = cli("detect", result.json["run"], str(tmp_path / "video.gif"), "--out", str(tmp_path / "found"), "--json")
    frames_found = output.json["pictures"]
    assert len(frames_found) == 6
    with closing(video_frames(output.json["video"])) as frames_in_video:
        written = [*frames_in_video]
    assert [frame.number for frame in written] == [*range(6)]
    assert written[1].seconds == pytest.approx(0.2)
    for frame, (_, objects) in zip(frames_found, pictures, strict=True):
        best_boxes = {detection["class"]: detection["box"] for detection in reversed(frame["detections"])}
        for name, box in objects:
            assert np.abs(np.array(best_boxes[name]) - np.array(box)).max() < 8, (frame, objects)


def test_three_classes_are_served_and_run_in_onnxruntime(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "colours").mkdir()
    write_colour_folder(tmp_path / "colours")
    result = cli("train", "classify", str(tmp_path / "colours"), "data.size=32", "train.precision=float32", "--json")
    assert result.json["accuracy"] > 0.9
    run, picture = result.json["run"], tmp_path / "colours" / "red" / "0.png"
    server = RunningServer(run)
    try:
        status, answer = server.predict(picture.read_bytes())
    finally:
        server.close()
    assert (status, answer["label"]) == (200, "red")
    assert cli("export", run, "--to", "onnx", "--whole", "--out", str(tmp_path / "colours.onnx")).code == 0
    session = onnxruntime.InferenceSession(tmp_path / "colours.onnx")
    image = Image.open(picture).convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)
    probabilities: Any
    (probabilities,) = session.run(None, {"images": np.array(image)[None]})
    assert (Model.load(run).classes or ())[int(probabilities[0].argmax())] == "red"
