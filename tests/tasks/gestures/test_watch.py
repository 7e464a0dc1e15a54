"""Frames are classified like picture files, predictions are smoothed, and answers are counted."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.base.errors import PellucidError
from pellucid.calibration.confidence import Confidence
from pellucid.data.video import VideoFrame, video_frames
from pellucid.layers import Conv2d
from pellucid.model import Model
from pellucid.models import mlp
from pellucid.tasks.classify.predictor import predict
from pellucid.tasks.gestures.watch import AnswerSmoothing, FrameCounts, SmoothedPrediction, SmoothingState, watch
from tests.tasks.gestures.colours import GREEN, GREY, PURE, RED, colour_model, tensor

Colour = tuple[int, int, int]


def watch_colours(
    colours: list[Colour], smoothing: AnswerSmoothing, confidence: Confidence | None = None
) -> list[SmoothedPrediction]:
    frames = [VideoFrame(k, k / 10, tensor(colour), dropped=k % 2) for k, colour in enumerate(colours)]
    return list(watch(colour_model(confidence), frames, smoothing))


def test_each_change_of_the_answer_is_marked():
    predictions = watch_colours([RED, RED, GREY, GREEN, GREEN], AnswerSmoothing(memory=0.0, threshold=0.9))
    assert [prediction.answer for prediction in predictions] == ["red", "red", None, "green", "green"]
    assert [prediction.changed for prediction in predictions] == [True, False, True, True, False]
    assert [prediction.seconds for prediction in predictions] == [0, 0.1, 0.2, 0.3, 0.4]
    assert predictions[0].probability == pytest.approx(PURE, rel=1e-5)


def test_the_first_frame_counts_as_a_change_even_when_unsure():
    (only,) = watch_colours([GREY], AnswerSmoothing(threshold=0.9))
    assert (only.answer, only.changed) == (None, True)


def test_frames_are_averaged():
    predictions = watch_colours([RED, GREEN], AnswerSmoothing(memory=0.5))
    other = (1 - PURE) / 2
    assert predictions[1].probabilities == pytest.approx(
        {"red": (PURE / 2 + other) / 1.5, "green": (other / 2 + PURE) / 1.5, "blue": other}, rel=1e-4
    )


def test_the_probability_is_that_of_the_answer_also_while_another_class_is_likelier():
    predictions = watch_colours([RED, GREEN], AnswerSmoothing(memory=0.5, threshold=0.0, margin=0.5))
    assert (predictions[1].answer, predictions[1].label) == ("red", "green")
    assert predictions[1].probability == predictions[1].probabilities["red"]


def test_probabilities_are_calibrated_before_they_are_averaged():
    (only,) = watch_colours([RED], AnswerSmoothing(), Confidence(3.0, 0.9))
    assert only.probability == pytest.approx(float(torch.softmax(torch.tensor([2.0, 0, 0]), 0)[0]), rel=1e-5)


def test_a_frame_is_classified_like_its_picture_file(tmp_path: Path):
    model = Model(mlp((192, 3)), input_shape=(3, 8, 8))
    pixels = torch.randint(0, 256, (3, 37, 53), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / "1.png")
    (predictions,) = watch(model, video_frames(tmp_path), AnswerSmoothing())
    result = predict(model, tmp_path / "1.png")
    assert predictions.probabilities == pytest.approx(result.outputs, rel=1e-5)  # `watch` uses the faster engine


def test_models_that_are_not_classifiers_are_refused():
    with pytest.raises(PellucidError, match="a class for each pixel"):
        next(watch(Model(Conv2d(2, 3), input_shape=(3, 8, 8)), [], AnswerSmoothing()))


def test_counts_and_frame_rate_are_as_computed_by_hand():
    ticks = iter([10.0, 10.5, 11.0, 11.5, 12.0])
    tally = FrameCounts(clock=lambda: next(ticks))
    for prediction in watch_colours([RED, RED, GREY, GREEN, RED], AnswerSmoothing(memory=0.0, threshold=0.9)):
        tally.add(prediction)
    values = tally.to_json()
    assert (values["frames"], values["dropped"], values["unsure"]) == (5, 2, 1)
    assert values["answers"] == {"red": 3, "green": 1}
    assert (values["seconds"], values["fps"]) == (2.0, 2.0)  # four steps of half a second
    changes = [(change["frame"], change["answer"]) for change in values["changes"]]
    assert changes == [(0, "red"), (2, None), (3, "green"), (4, "red")]


def test_a_single_frame_has_no_frame_rate():
    tally = FrameCounts()
    assert (tally.fps, tally.frames) == (None, 0)
    for prediction in watch_colours([RED], AnswerSmoothing()):
        tally.add(prediction)
    assert tally.fps is None


def smooth(smoothing: AnswerSmoothing, rows: list[list[float]]) -> list[SmoothingState]:
    """Return the state after each frame."""
    states: list[SmoothingState] = []
    for row in rows:
        states.append(smoothing.step(states[-1] if states else None, torch.tensor(row, dtype=torch.float64)))
    return states


def test_the_smoothed_probability_by_hand():
    states = smooth(AnswerSmoothing(memory=0.5), [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    # The weights of the frames are 1; 1/2, 1; 1/4, 1/2, 1.
    assert [float(state.probabilities[0]) for state in states] == pytest.approx([1, 1 / 3, 1 / 7])


def test_the_mean_is_numpys_weighted_average():
    rows = np.random.default_rng(0).dirichlet(np.ones(4), 30)
    last_state = smooth(AnswerSmoothing(memory=0.8), rows.tolist())[-1]
    expected = np.average(rows, axis=0, weights=0.8 ** np.arange(29, -1, -1))
    np.testing.assert_allclose(last_state.probabilities.numpy(), expected, rtol=1e-12)


def test_without_smoothing_each_frame_is_used_alone():
    states = smooth(AnswerSmoothing(memory=0.0), [[0.9, 0.1], [0.2, 0.8]])
    assert states[-1].probabilities.tolist() == pytest.approx([0.2, 0.8])


def test_the_answer_appears_at_the_threshold_and_disappears_a_margin_below_it():
    smoothing = AnswerSmoothing(memory=0.0, threshold=0.8, margin=0.1)
    rows = [[p, 1 - p] for p in (0.79, 0.8, 0.75, 0.71, 0.69, 0.75, 0.81)]
    assert [state.current_class for state in smooth(smoothing, rows)] == [None, 0, 0, 0, None, None, 0]


def test_an_answer_near_the_threshold_does_not_flicker():
    rows = [[0.78 + 0.04 * (k % 2), 0.22 - 0.04 * (k % 2)] for k in range(20)]
    steady = [state.current_class for state in smooth(AnswerSmoothing(0.0, threshold=0.8, margin=0.1), rows)]
    flickering = [state.current_class for state in smooth(AnswerSmoothing(0.0, threshold=0.8, margin=0.0), rows)]
    assert steady == [None] + [0] * 19
    assert flickering == [None, 0] * 10


def test_another_class_becomes_the_answer_when_it_leads_by_the_margin():
    smoothing = AnswerSmoothing(memory=0.0, threshold=0.4, margin=0.1)
    rows = [[0.52, 0.48], [0.48, 0.52], [0.46, 0.54], [0.44, 0.56], [0.48, 0.52]]
    assert [state.current_class for state in smooth(smoothing, rows)] == [0, 0, 0, 1, 1]


def test_a_clear_change_is_reported_without_an_unsure_frame():
    smoothing = AnswerSmoothing(memory=0.0, threshold=0.9)
    assert [state.current_class for state in smooth(smoothing, [[0.99, 0.01], [0.01, 0.99]])] == [0, 1]


def test_one_contrary_frame_does_not_change_the_answer():
    usual_frame, contrary_frame = [0.98, 0.02], [0.02, 0.98]
    rows = [usual_frame] * 10 + [contrary_frame] + [usual_frame] * 3
    # The contrary frame has a weight of 1 in about 5: the mean falls to 0.98 - 0.96 / 5 = 0.79.
    assert [state.current_class for state in smooth(AnswerSmoothing(threshold=0.9), rows)] == [0] * 14
    # With a memory of 0.7, its weight falls from 1 to 0.7 and 0.49 of about 3.3: the means are 0.69, 0.78 and 0.84.
    result = smooth(AnswerSmoothing(memory=0.7, threshold=0.8, margin=0.1), rows)
    assert [state.current_class for state in result] == [0] * 10 + [None, None, 0, 0]


def test_with_threshold_zero_there_is_always_an_answer():
    rows = np.random.default_rng(1).dirichlet(np.ones(6), 50).tolist()
    assert all(state.current_class is not None for state in smooth(AnswerSmoothing(0.3, threshold=0.0), rows))


def test_a_class_without_probability_is_not_kept_among_fifty():
    first, later = [0.0] * 50, [0.81 / 49] * 50
    first[0], later[0], later[1] = 1.0, 0.0, 0.19 + 0.81 / 49
    assert [state.current_class for state in smooth(AnswerSmoothing(memory=0.0), [first, later])] == [0, 1]
    # Within the margin, the answer is kept if it is more than half as probable as the best class.
    assert [
        state.current_class for state in smooth(AnswerSmoothing(memory=0.0), [[0.2] * 5, [0.12, 0.22] + [0.22] * 3])
    ] == [
        0,
        0,
    ]


def test_a_step_returns_a_new_state_and_starts_from_none():
    smoothing = AnswerSmoothing(0.5)
    first = smoothing.step(None, torch.tensor([1.0, 0.0]))
    before = first.probabilities.clone()
    smoothing.step(first, torch.tensor([0.0, 1.0]))
    assert torch.equal(first.probabilities, before)
    assert smoothing.step(None, torch.tensor([0.0, 1.0])).probabilities.tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"memory": 1.0}, "smoothing must be from 0"),
        ({"memory": -0.1}, "smoothing must be from 0"),
        ({"memory": float("nan")}, "smoothing must be from 0"),
        ({"threshold": 1.5}, "threshold must be"),
        ({"margin": -1.0}, "margin must be"),
    ],
)
def test_invalid_settings_are_refused(values: dict[str, float], message: str):
    with pytest.raises(PellucidError, match=message):
        AnswerSmoothing(**values)
