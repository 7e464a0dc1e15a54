"""Scores of a trained detector that collapse; the whole diagnosis of a detector."""

import pytest

from pellucid import AdamW
from pellucid.errors import PellucidError
from pellucid.model import Model
from pellucid.tasks.detect.doctor import CHECKS, diagnose_detector, score_collapse
from tests.detectors.drawn import Rectangles, small_single_stage
from tests.doctor.detection.examined import case
from tests.doctor.detection.test_anchors import changed, specks


@pytest.fixture(scope="module")
def learned():
    """A detector that has learned to find rectangles, and its history."""
    model = Model(small_single_stage(), optimizer=AdamW(5e-3), input_shape=(3, None, None), metrics=())
    return model, model.fit(Rectangles(4), epochs=25, batch_size=2, verbose=False)


def test_a_detector_that_works_has_no_finding(learned):
    model, history = learned
    found = model.doctor(Rectangles(12), history=history)
    assert found.healthy
    assert set(found.checks) == {check.name for check in CHECKS}
    assert "nothing wrong was found by 7 checks" in str(found)


def test_equal_and_low_scores_are_a_symptom(learned):
    model, _ = learned
    it = case(trained=True)
    for path, value in model.weights.items():
        it.model.weights[path].copy_(value)
    assert score_collapse.look(it) == []
    low = case(trained=True)
    low.model.weights["head.layer.out.bias"][:2] -= 20  # sigmoid of -24
    (found,) = score_collapse.look(low)
    assert found.evidence["without_a_detection"] == found.evidence["images_with_objects"] == 9
    assert found.evidence["highest_score"] < 1e-6
    diagnosis = diagnose_detector(low)
    assert (diagnosis.names, diagnosis.kind(0)) == (("score-collapse",), "symptom")
    assert "score-collapse" in diagnose_detector(case()).left_out  # it has not learned yet


def test_what_follows_from_anchors_that_fit_nothing_is_a_consequence():
    it = case(changed(specks), trained=True)
    it.model.weights["head.layer.out.bias"][:2] -= 20
    diagnosis = diagnose_detector(it)
    assert diagnosis.causes == ("unfitting-anchors",)
    follows = {diagnosis.findings[index].check: cause for index, cause in diagnosis.follows.items()}
    assert follows == {"no-positives": "unfitting-anchors", "score-collapse": "unfitting-anchors"}


def test_other_data_are_refused(learned):
    with pytest.raises(PellucidError):
        learned[0].doctor([[1.0]])


def test_an_error_that_ended_the_training_is_told_and_nothing_is_tried() -> None:
    model = Model(small_single_stage(), input_shape=(3, None, None), metrics=())
    found = model.doctor(Rectangles(12), validation=Rectangles(8), epochs=2, stopped="step 3: dy is NaN")
    assert found.notes == ("The training ended early: step 3: dy is NaN",)
    assert found.effects == ()
