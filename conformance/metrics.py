"""Our metrics compared with scikit-learn's, on random data and on edge cases."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from conformance.case import Case, relative_error
from pellucid.metrics import accuracy, confusion_matrix, f1, macro, macro_f1, precision, recall, top_k

TOLERANCE = 1e-12


@dataclass(frozen=True)
class Data:
    """True classes `target` (n,) and `scores` (n, classes) in float64; of equal scores the first class is predicted."""

    target: Tensor
    scores: Tensor

    @property
    def classes(self) -> int:
        """The number of classes, including those without examples."""
        return self.scores.shape[1]

    @property
    def predicted(self) -> Tensor:
        """The predicted classes, (n,)."""
        return self.scores.argmax(1)


def cases() -> Iterator[Case]:
    """Yield every metric on every data set."""
    yield from _cases_of_all_data_sets("accuracy_score", accuracy, _accuracy)
    yield from _cases_of_all_data_sets("confusion_matrix", confusion_matrix, _confusion)
    for subject in (precision, recall, f1):
        yield from _cases_of_all_data_sets(f"{subject.__name__}_score", subject, partial(_per_class, subject))
    for subject in (precision, recall, f1):
        yield from _cases_of_all_data_sets(f"{subject.__name__}_score macro", macro, partial(_macro, subject))
    yield from _cases_of_all_data_sets("f1_score macro, classes that occur", macro_f1, _macro_f1)
    for name, data in data_sets().items():
        for k in range(1, data.classes + 1):
            if data.classes > 2:  # for two classes scikit-learn expects one score for each example
                yield _case("top_k_accuracy_score", f"{name}, k {k}", top_k, partial(_top_k, k, data))


def data_sets() -> dict[str, Data]:
    """Return data sets by name: many and few examples, classes without examples or predictions, and tied scores."""
    sets = {f"drawn {seed}": _random_data(seed, examples=40 * seed + 3, classes=seed + 2) for seed in range(6)}
    sets["a hundred classes"] = _random_data(6, examples=300, classes=100)
    base = _random_data(7, examples=50, classes=6)
    lowered_scores = base.scores.clone()
    lowered_scores[:, [0, 4]] -= 100
    sets["classes never predicted"] = Data(base.target, lowered_scores)
    sets["classes without examples"] = Data(base.target % 3 + 1, base.scores)
    sets["one class only"] = Data(torch.full_like(base.target, 2), base.scores)
    sets["all right"] = Data(base.predicted, base.scores)
    sets["all wrong"] = Data(base.scores.argmin(1), base.scores)
    sets["one example, right"] = Data(torch.tensor([1]), torch.tensor([[0.1, 0.7, 0.2]]).double())
    sets["one example, wrong"] = Data(torch.tensor([0]), torch.tensor([[0.1, 0.7, 0.2]]).double())
    sets["tied"] = Data(base.target, base.scores.round())
    sets["tied among many"] = Data(sets["a hundred classes"].target, sets["a hundred classes"].scores.round())
    sets["tied throughout"] = Data(base.target, torch.zeros_like(base.scores))
    sets["tied, of scikit-learn's test"] = Data(
        torch.arange(4), torch.tensor([[5, 5, 7, 0], [1, 5, 5, 5], [0, 0, 3, 3], [1, 1, 1, 1]]).double()
    )
    sets["huge scores"] = Data(base.target, 1e300 * base.scores)
    return sets


def _random_data(seed: int, examples: int, classes: int) -> Data:
    rng = torch.Generator().manual_seed(seed)
    target = torch.randint(0, classes, (examples,), generator=rng)
    scores = torch.randn((examples, classes), generator=rng, dtype=torch.float64)
    scores[torch.arange(examples), target] += 1.0
    return Data(target, scores)


def _cases_of_all_data_sets(name: str, subject: Any, check: Callable[[Data], float]) -> Iterator[Case]:
    for title, data in data_sets().items():
        yield _case(name, title, subject, partial(check, data))


def _case(name: str, title: str, subject: Any, check: Callable[[], float]) -> Case:
    import sklearn

    return Case(f"sklearn.metrics {name}", sklearn.__version__, title, subject, check, TOLERANCE)


def _sklearn_metric(name: str, data: Data, *scores: Any, **options: Any) -> Tensor:
    """Return the result of a scikit-learn metric as a tensor of the same dtype."""
    from sklearn import metrics

    return torch.as_tensor(getattr(metrics, name)(data.target.numpy(), *scores, **options))


def _accuracy(data: Data) -> float:
    expected = _sklearn_metric("accuracy_score", data, data.predicted.numpy())
    return relative_error(
        "accuracy", torch.tensor(accuracy(data.target, data.predicted), dtype=expected.dtype), expected
    )


def _top_k(k: int, data: Data) -> float:
    # scikit-learn ranks the last of equal scores first, we the first: it receives the classes in reverse order.
    mirrored = Data(data.classes - 1 - data.target, data.scores.flip(1))
    expected = _sklearn_metric(
        "top_k_accuracy_score", mirrored, mirrored.scores.numpy(), k=k, labels=range(data.classes)
    )
    return relative_error("top k", torch.tensor(top_k(data.target, data.scores, k), dtype=expected.dtype), expected)


def _our_confusion_matrix(data: Data) -> Tensor:
    return confusion_matrix(data.target, data.predicted, data.classes)


def _confusion(data: Data) -> float:
    return relative_error(
        "matrix",
        _our_confusion_matrix(data),
        _sklearn_metric("confusion_matrix", data, data.predicted.numpy(), labels=range(data.classes)),
    )


def _scores(metric: Any, data: Data, average: str | None) -> Tensor:
    options = {"labels": range(data.classes), "average": average, "zero_division": 0}
    return _sklearn_metric(f"{metric.__name__}_score", data, data.predicted.numpy(), **options)


def _per_class(metric: Any, data: Data) -> float:
    return relative_error(metric.__name__, metric(_our_confusion_matrix(data)), _scores(metric, data, None))


def _macro_f1(data: Data) -> float:
    expected = _sklearn_metric("f1_score", data, data.predicted.numpy(), average="macro")  # over the classes that occur
    return relative_error(
        "macro f1", torch.tensor(macro_f1(_our_confusion_matrix(data)), dtype=expected.dtype), expected
    )


def _macro(metric: Any, data: Data) -> float:
    expected = _scores(metric, data, "macro")
    return relative_error(
        "macro", torch.tensor(macro(metric(_our_confusion_matrix(data))), dtype=expected.dtype), expected
    )
