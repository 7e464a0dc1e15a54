"""Compatibility with scikit-learn: every check of `check_estimator`, pickles, clones, pipelines and searches."""

import pickle
from contextlib import suppress

import joblib
import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from conformance import estimators
from conformance.case import SkipCase
from pellucid.estimators import KNeighborsClassifier, NetworkClassifier, SoftmaxRegression
from tests.cases import mostly_heavy

X, Y = load_iris(return_X_y=True)
CLASS_NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]


@pytest.mark.real  # takes minutes; the scorecard runs the same checks
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("estimator", mostly_heavy(estimators.ESTIMATORS, 3), ids=repr)
def test_every_check_of_an_estimator_passes(estimator) -> None:
    for case in estimators.cases((estimator,)):
        with suppress(SkipCase):  # raised by checks whose requirements are not installed or not set
            case.check()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("estimator", estimators.ESTIMATORS, ids=repr)
def test_a_pickled_estimator_predicts_the_same(estimator, tmp_path) -> None:
    fitted = clone(estimator).fit(X, CLASS_NAMES if is_classifier(estimator) else Y)
    joblib.dump(fitted, tmp_path / "fitted.joblib")
    for copy in (pickle.loads(pickle.dumps(fitted)), joblib.load(tmp_path / "fitted.joblib")):
        np.testing.assert_array_equal(copy.predict(X), fitted.predict(X))


@pytest.mark.parametrize(
    ("estimator", "grid"),
    [
        (SoftmaxRegression(max_iter=5000), {"C": [0.001, 1.0]}),
        (NetworkClassifier(epochs=40, batch_size=20, random_state=0), {"optimizer": ["sgd", "adam"]}),
        (KNeighborsClassifier(), {"n_neighbors": [1, 15], "metric": ["l1", "l2"]}),
    ],
    ids=repr,
)
def test_a_search_over_a_pipeline_chooses_the_best_parameters(estimator, grid: dict) -> None:
    name = type(estimator).__name__.lower()
    pipeline = make_pipeline(StandardScaler(), estimator)
    search = GridSearchCV(pipeline, {f"{name}__{key}": values for key, values in grid.items()}, cv=2)
    search.fit(X, CLASS_NAMES)
    assert search.best_score_ > 0.9
    assert search.best_score_ == max(search.cv_results_["mean_test_score"])
    assert search.predict(X[:1]).tolist() == ["setosa"]
