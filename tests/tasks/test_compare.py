"""Classifiers compared on one data set: each is chosen on validation images and measured once on the test images."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from pellucid.base.errors import PellucidError
from pellucid.data.catalogue import load
from pellucid.tasks.compare import CANDIDATES, ClassifierCandidate, compare


def digits(part: str) -> tuple[np.ndarray, np.ndarray]:
    data = getattr(load("digits"), part)
    return data.x.numpy().reshape(len(data), -1).astype(np.float64), data.y.numpy()


PREDICTION_COUNTS: list[int] = []  # the number of images of each prediction


class RecordingTree(DecisionTreeClassifier):
    def predict(self, X, check_input=True):  # noqa: N803 (scikit-learn's name)
        PREDICTION_COUNTS.append(len(X))
        return super().predict(X, check_input)


def recording_tree(seed: int, depth: int) -> RecordingTree:
    return RecordingTree(max_depth=depth, random_state=seed)


def test_nearest_neighbours_are_those_of_scikit_learn() -> None:
    (row,) = compare("digits", only=["nearest-l2"]).rows
    reference = KNeighborsClassifier(row.values["chosen"]["k"]).fit(*digits("train"))
    assert row.values["accuracy"] == pytest.approx(
        reference.score(*digits("test")), abs=2 / 359
    )  # ties are broken differently
    assert row.values["trained_on"] == len(digits("train")[1])


def test_the_choice_is_made_on_validation_images_and_the_test_images_are_used_once(monkeypatch) -> None:
    PREDICTION_COUNTS.clear()
    monkeypatch.setitem(
        CANDIDATES, "tree", ClassifierCandidate("tree", recording_tree, ({"depth": 1}, {"depth": 12}, {"depth": 2}))
    )
    comparison = compare("digits", only=["tree"])
    assert comparison.rows[0].values["chosen"] == {"depth": 12}
    n_validation = round(comparison.facts["train"] / 6)
    assert PREDICTION_COUNTS[-1] == comparison.facts["test"]
    assert all(abs(n - n_validation) <= 10 for n in PREDICTION_COUNTS[:-1])  # rounded for each class
    assert len(PREDICTION_COUNTS) == 4


def test_a_limit_of_training_images_is_applied_and_reported(monkeypatch) -> None:
    monkeypatch.setitem(CANDIDATES, "svm", CANDIDATES["svm"]._replace(limit=200, choices=({"cost": 1},)))
    comparison = compare("digits", only=["svm"])
    assert comparison.rows[0].values["trained_on"] == 200
    assert " 200 " in str(comparison)
    assert "Trained on 200 images only: SVM, Gaussian kernel." in comparison.notes
    assert 0.8 < comparison.rows[0].values["accuracy"] < SVC(C=1).fit(*digits("train")).score(*digits("test"))


def test_unknown_classifiers_and_data_sets_are_refused() -> None:
    with pytest.raises(PellucidError, match="no classifier 'forrest'; did you mean 'forest'"):
        compare("digits", only=["forrest"])
    with pytest.raises(PellucidError, match="unknown data set 'xor'"):
        compare("xor")
