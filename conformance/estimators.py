"""scikit-learn's checks of estimators (check_estimator), run on our estimators."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from conformance.case import Case, SkipCase
from pellucid import Adam
from pellucid.estimators import (
    ElasticNet,
    KNeighborsClassifier,
    Lasso,
    LinearRegression,
    LogisticRegression,
    NetworkClassifier,
    NetworkRegressor,
    Perceptron,
    Ridge,
    SoftmaxRegression,
)

# Each of our estimators with each of its solvers whose result does not depend on the order of the examples. The
# numbers of iterations are small, because the checks fit each estimator many times.
ESTIMATORS: tuple[Any, ...] = (
    LinearRegression(),
    LinearRegression("normal"),
    LinearRegression("batch", epochs=10),
    LinearRegression("minibatch", epochs=10, random_state=0),
    Ridge(),
    Ridge(solver="svd"),
    Ridge(solver="batch", epochs=10),
    Lasso(),
    Lasso(solver="batch", epochs=10),
    ElasticNet(),
    ElasticNet(solver="batch", epochs=10),
    LogisticRegression(max_iter=200),
    SoftmaxRegression(max_iter=200),
    Perceptron(max_iter=5),
    NetworkClassifier(optimizer=Adam(0.05), epochs=10),
    NetworkRegressor(optimizer=Adam(0.02), epochs=20),
    KNeighborsClassifier(),
    KNeighborsClassifier(metric="l1"),
)


def cases(estimators: Iterable[Any] = ESTIMATORS) -> Iterator[Case]:
    """Yield every check of `check_estimator` for every estimator; no check is marked as expected to fail."""
    import sklearn
    from sklearn.utils.estimator_checks import estimator_checks_generator

    for estimator in estimators:
        suite = f"sklearn check_estimator {type(estimator).__name__}"
        checks: Any = estimator_checks_generator(estimator)
        for instance, check in checks:
            run = partial(_check, check, instance)
            yield Case(suite, sklearn.__version__, _check_name(check), type(estimator), run, tolerance=0.0)


def _check(check: Callable[[Any], None], estimator: Any) -> float:
    """Run the check and return 0; raise what the check raises, and SkipCase where it is skipped."""
    from unittest import SkipTest

    try:
        check(estimator)
    except SkipTest as skip:
        raise SkipCase(" ".join(str(skip).split())) from skip
    return 0.0


def _check_name(check: Any) -> str:
    """Return the check's name with its options, which scikit-learn stores in nested partials."""
    options: dict[str, Any] = {}
    while isinstance(check, partial):
        options = {**check.keywords, **options}
        check = check.func
    return " ".join([check.__name__, *(f"{name}={value}" for name, value in options.items())])
