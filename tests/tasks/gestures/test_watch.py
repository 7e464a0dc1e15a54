"""Frames go the way of picture files, are smoothed, and their answers are counted."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from pellucid.calibration.confidence import Confidence
from pellucid.errors import PellucidError
from pellucid.layers import Conv2d
from pellucid.model import Model
from pellucid.models import mlp
from pellucid.tasks.gestures.frame import Frame
from pellucid.tasks.gestures.frames import video_frames
from pellucid.tasks.gestures.predict import predict
from pellucid.tasks.gestures.smooth import Smoothing
from pellucid.tasks.gestures.tally import Tally
from pellucid.tasks.gestures.watch import Seen, watch
from tests.tasks.gestures.colours import GREEN, GREY, PURE, RED, colour_model, tensor

Colour = tuple[int, int, int]


def shown(colours: list[Colour], smoothing: Smoothing, confidence: Confidence | None = None) -> list[Seen]:
    frames = [Frame(k, k / 10, tensor(colour), dropped=k % 2) for k, colour in enumerate(colours)]
    return list(watch(colour_model(confidence), frames, smoothing))


def test_each_change_of_the_answer_is_marked():
    seen = shown([RED, RED, GREY, GREEN, GREEN], Smoothing(memory=0.0, threshold=0.9))
    assert [one.answer for one in seen] == ["red", "red", None, "green", "green"]
    assert [one.changed for one in seen] == [True, False, True, True, False]
    assert [one.seconds for one in seen] == [0, 0.1, 0.2, 0.3, 0.4]
    assert seen[0].probability == pytest.approx(PURE, rel=1e-5)


def test_the_first_frame_counts_as_a_change_even_when_unsure():
    (only,) = shown([GREY], Smoothing(threshold=0.9))
    assert (only.answer, only.changed) == (None, True)


def test_frames_are_averaged():
    seen = shown([RED, GREEN], Smoothing(memory=0.5))
    other = (1 - PURE) / 2
    assert seen[1].probabilities == pytest.approx(
        {"red": (PURE / 2 + other) / 1.5, "green": (other / 2 + PURE) / 1.5, "blue": other}, rel=1e-4
    )


def test_the_probability_is_that_of_the_answer_also_while_another_class_is_likelier():
    seen = shown([RED, GREEN], Smoothing(memory=0.5, threshold=0.0, margin=0.5))
    assert (seen[1].answer, seen[1].label) == ("red", "green")
    assert seen[1].probability == seen[1].probabilities["red"]


def test_probabilities_are_calibrated_before_they_are_averaged():
    (only,) = shown([RED], Smoothing(), Confidence(3.0, 0.9))
    assert only.probability == pytest.approx(float(torch.softmax(torch.tensor([2.0, 0, 0]), 0)[0]), rel=1e-5)


def test_a_frame_gives_what_its_picture_file_gives(tmp_path: Path):
    model = Model(mlp((192, 3)), input_shape=(3, 8, 8))
    pixels = torch.randint(0, 256, (3, 37, 53), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / "1.png")
    (seen,) = watch(model, video_frames(tmp_path), Smoothing())
    (found,) = predict(model, [tmp_path / "1.png"])
    assert seen.probabilities == found.probabilities


def test_what_is_no_classifier_is_told():
    with pytest.raises(PellucidError, match="no classes; give a classifier"):
        next(watch(Model(Conv2d(2, 3), input_shape=(3, 8, 8)), [], Smoothing()))


def test_a_tally_by_hand():
    ticks = iter([10.0, 10.5, 11.0, 11.5, 12.0])
    tally = Tally(clock=lambda: next(ticks))
    for one in shown([RED, RED, GREY, GREEN, RED], Smoothing(memory=0.0, threshold=0.9)):
        tally.add(one)
    found = tally.to_json()
    assert (found["frames"], found["dropped"], found["unsure"]) == (5, 2, 1)
    assert found["answers"] == {"red": 3, "green": 1}
    assert (found["seconds"], found["fps"]) == (2.0, 2.0)  # four steps of half a second
    changes = [(change["frame"], change["answer"]) for change in found["changes"]]
    assert changes == [(0, "red"), (2, None), (3, "green"), (4, "red")]


def test_one_frame_has_no_rate():
    tally = Tally()
    assert (tally.fps, tally.frames) == (None, 0)
    for one in shown([RED], Smoothing()):
        tally.add(one)
    assert tally.fps is None
