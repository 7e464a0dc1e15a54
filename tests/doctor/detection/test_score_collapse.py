"""Collapsed scores of trained detectors, and complete diagnoses of detectors."""

import pytest

from pellucid import AdamW
from pellucid.base.errors import PellucidError
from pellucid.model import Model
from pellucid.tasks.detect.doctor import CHECKS, diagnose_detector, score_collapse
from tests.detectors.drawn import Rectangles, small_single_stage
from tests.doctor.detection.small_cases import make_case, with_changed_objects
from tests.doctor.detection.test_anchors import corner_pixels


@pytest.fixture(scope="module")
def trained_detector():
    """Return a detector that has learned to find rectangles, and its history."""
    model = Model(small_single_stage(), optimizer=AdamW(5e-3), input_shape=(3, None, None), metrics=())
    return model, model.fit(Rectangles(4), epochs=25, batch_size=2, verbose=False)


def test_a_detector_that_works_has_no_finding(trained_detector):
    model, history = trained_detector
    diagnosis = model.doctor(Rectangles(12), history=history)
    assert diagnosis.healthy
    assert set(diagnosis.checks) == {check.name for check in CHECKS}
    assert "nothing wrong was found by 7 checks" in str(diagnosis)


def test_equal_and_low_scores_are_a_symptom(trained_detector):
    model, _ = trained_detector
    case = make_case(trained=True)
    for path, value in model.weights.items():
        case.model.weights[path].copy_(value)
    assert score_collapse.find(case) == []
    case_of_low_scores = make_case(trained=True)
    case_of_low_scores.model.weights["head.layer.out.bias"][:2] -= 20  # scores of sigmoid(-24)
    (finding,) = score_collapse.find(case_of_low_scores)
    assert finding.evidence["without_a_detection"] == finding.evidence["images_with_objects"] == 9
    assert finding.evidence["highest_score"] < 1e-6
    diagnosis = diagnose_detector(case_of_low_scores)
    assert (diagnosis.names, diagnosis.kind(0)) == (("score-collapse",), "symptom")
    assert "score-collapse" in diagnose_detector(make_case()).left_out  # not trained


def test_score_collapse_follows_from_unfitting_anchors():
    case = make_case(with_changed_objects(corner_pixels), trained=True)
    case.model.weights["head.layer.out.bias"][:2] -= 20
    diagnosis = diagnose_detector(case)
    assert diagnosis.causes == ("unfitting-anchors",)
    cause_by_check = {diagnosis.findings[index].check: cause for index, cause in diagnosis.cause_by_consequence.items()}
    assert cause_by_check == {"no-positives": "unfitting-anchors", "score-collapse": "unfitting-anchors"}


def test_data_without_objects_are_refused(trained_detector):
    with pytest.raises(PellucidError):
        trained_detector[0].doctor([[1.0]])


def test_an_error_that_ended_the_training_is_a_note_and_nothing_is_tried() -> None:
    model = Model(small_single_stage(), input_shape=(3, None, None), metrics=())
    diagnosis = model.doctor(Rectangles(12), validation=Rectangles(8), epochs=2, stopped="step 3: dy is NaN")
    assert diagnosis.notes == ("The training ended early: step 3: dy is NaN",)
    assert diagnosis.intervention_effects == ()
