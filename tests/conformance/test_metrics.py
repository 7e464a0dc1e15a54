"""The comparisons with scikit-learn: wrong metrics and wrong estimators fail."""

from typing import Any

import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.naive_bayes import GaussianNB
from torch import Tensor

from conformance import estimators, metrics
from conformance.metrics import data_sets
from conformance.tally import run_cases
from pellucid import metrics as ours

pytestmark = pytest.mark.slow


def test_the_data_sets_have_the_properties_in_their_names() -> None:
    sets = data_sets()
    assert len(sets["one class only"].target.unique()) == 1
    assert set(sets["classes without examples"].target.tolist()) == {1, 2, 3}
    assert not set(sets["classes never predicted"].predicted.tolist()) & {0, 4}
    assert bool((sets["all right"].target == sets["all right"].predicted).all())
    assert not bool((sets["all wrong"].target == sets["all wrong"].predicted).any())
    ties = sets["tied"].scores
    assert sum(len(row.unique()) < len(row) for row in ties) > 20


def transposed_confusion_matrix(target: Tensor, predicted: Tensor, classes: int) -> Tensor:
    return ours.confusion_matrix(predicted, target, classes)


def top_k_with_last_of_ties(target: Tensor, scores: Tensor, k: int) -> float:
    predicted = scores.shape[1] - 1 - scores.flip(1).argsort(dim=1, descending=True, stable=True)[:, :k]
    return (predicted == target.unsqueeze(1)).any(1).double().mean().item()


@pytest.mark.parametrize(
    ("name", "wrong_metric", "suites"),
    [
        ("accuracy", lambda target, predicted: 0.5, {"accuracy_score"}),
        ("top_k", top_k_with_last_of_ties, {"top_k_accuracy_score"}),
        ("macro", lambda by_class: by_class[by_class > 0].mean().item(), {"precision_score macro"}),
        ("confusion_matrix", transposed_confusion_matrix, {"confusion_matrix", "precision_score", "recall_score"}),
    ],
)
def test_a_wrong_metric_fails(monkeypatch: pytest.MonkeyPatch, name: str, wrong_metric: Any, suites: set[str]) -> None:
    monkeypatch.setattr(metrics, name, wrong_metric)
    rows = [row for row in run_cases(metrics.cases()) if row.failed]
    assert suites <= {row.suite.removeprefix("sklearn.metrics ") for row in rows}
    assert all("Mismatch" in failure for row in rows for failure in row.failures)


class ConstantClassifier(ClassifierMixin, BaseEstimator):
    """A classifier that accepts any input and always predicts 0."""

    def fit(self, X: Any, y: Any) -> "ConstantClassifier":  # noqa: N803 - scikit-learn's names
        self.classes_ = [0]
        return self

    def predict(self, X: Any) -> Any:  # noqa: N803
        return torch.zeros(len(X)).numpy()


def test_a_good_estimator_passes_all_checks_and_a_careless_one_does_not() -> None:
    good, constant = run_cases(estimators.cases((GaussianNB(), ConstantClassifier())))
    assert good.suite == "sklearn check_estimator GaussianNB"
    assert good.failures == []
    assert good.passed > 40
    assert good.passed + good.skipped == good.cases
    assert all("not" in reason for reason in good.skips)  # a package or an environment variable is missing
    assert constant.suite == "sklearn check_estimator ConstantClassifier"
    assert any(failure.startswith("check_estimators_nan_inf:") for failure in constant.failures)
    assert constant.failed >= 10


def test_the_cases_are_as_many_as_check_estimator_runs() -> None:
    from sklearn.utils.estimator_checks import check_estimator

    results = check_estimator(GaussianNB(), on_skip=None, on_fail=None)
    assert len(list(estimators.cases((GaussianNB(),)))) == len(results)


def test_every_public_estimator_is_checked() -> None:
    import pellucid.estimators

    assert {type(estimator).__name__ for estimator in estimators.ESTIMATORS} == set(pellucid.estimators.__all__)
