"""Our metrics beside scikit-learn's, on drawn data and on data at the edges."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from conformance.case import Case, gap
from pellucid.metrics import accuracy, confusion_matrix, f1, macro, macro_f1, precision, recall, top_k

TOLERANCE = 1e-12


@dataclass(frozen=True)
class Data:
    """Classes (n,), and scores (n, classes) in float64; what is predicted is the first of the best."""

    target: Tensor
    scores: Tensor

    @property
    def classes(self) -> int:
        """How many classes there are, with examples or without."""
        return self.scores.shape[1]

    @property
    def predicted(self) -> Tensor:
        """The predicted classes."""
        return self.scores.argmax(1)


def cases() -> Iterator[Case]:
    """Yield every metric on every data set."""
    yield from _rows("accuracy_score", accuracy, _accuracy)
    yield from _rows("confusion_matrix", confusion_matrix, _confusion)
    for subject in (precision, recall, f1):
        yield from _rows(f"{subject.__name__}_score", subject, partial(_by_class, subject))
    for subject in (precision, recall, f1):
        yield from _rows(f"{subject.__name__}_score macro", macro, partial(_macro, subject))
    yield from _rows("f1_score macro, classes that occur", macro_f1, _macro_f1)
    for name, data in data_sets().items():
        for k in range(1, data.classes + 1):
            if data.classes > 2:  # scikit-learn takes one score, not two, where there are two classes
                yield _case("top_k_accuracy_score", f"{name}, k {k}", top_k, partial(_top_k, k, data))


def data_sets() -> dict[str, Data]:
    """Return targets with scores: many and few examples, classes never met, never predicted, and tied."""
    sets = {f"drawn {seed}": _drawn(seed, examples=40 * seed + 3, classes=seed + 2) for seed in range(6)}
    sets["a hundred classes"] = _drawn(6, examples=300, classes=100)
    some = _drawn(7, examples=50, classes=6)
    never = some.scores.clone()
    never[:, [0, 4]] -= 100
    sets["classes never predicted"] = Data(some.target, never)
    sets["classes without examples"] = Data(some.target % 3 + 1, some.scores)
    sets["one class only"] = Data(torch.full_like(some.target, 2), some.scores)
    sets["all right"] = Data(some.predicted, some.scores)
    sets["all wrong"] = Data(some.scores.argmin(1), some.scores)
    sets["one example, right"] = Data(torch.tensor([1]), torch.tensor([[0.1, 0.7, 0.2]]).double())
    sets["one example, wrong"] = Data(torch.tensor([0]), torch.tensor([[0.1, 0.7, 0.2]]).double())
    sets["tied"] = Data(some.target, some.scores.round())
    sets["tied among many"] = Data(sets["a hundred classes"].target, sets["a hundred classes"].scores.round())
    sets["tied throughout"] = Data(some.target, torch.zeros_like(some.scores))
    sets["tied, of scikit-learn's test"] = Data(
        torch.arange(4), torch.tensor([[5, 5, 7, 0], [1, 5, 5, 5], [0, 0, 3, 3], [1, 1, 1, 1]]).double()
    )
    sets["huge scores"] = Data(some.target, 1e300 * some.scores)
    return sets


def _drawn(seed: int, examples: int, classes: int) -> Data:
    draw = torch.Generator().manual_seed(seed)
    target = torch.randint(0, classes, (examples,), generator=draw)
    scores = torch.randn((examples, classes), generator=draw, dtype=torch.float64)
    scores[torch.arange(examples), target] += 1.0
    return Data(target, scores)


def _rows(name: str, subject: Any, check: Callable[[Data], float]) -> Iterator[Case]:
    for title, data in data_sets().items():
        yield _case(name, title, subject, partial(check, data))


def _case(name: str, title: str, subject: Any, check: Callable[[], float]) -> Case:
    import sklearn

    return Case(f"sklearn.metrics {name}", sklearn.__version__, title, subject, check, TOLERANCE)


def _theirs(name: str, data: Data, *scores: Any, **options: Any) -> Tensor:
    """Return what scikit-learn's metric says, in the type that it says it in."""
    from sklearn import metrics

    return torch.as_tensor(getattr(metrics, name)(data.target.numpy(), *scores, **options))


def _accuracy(data: Data) -> float:
    expected = _theirs("accuracy_score", data, data.predicted.numpy())
    return gap("accuracy", torch.tensor(accuracy(data.target, data.predicted), dtype=expected.dtype), expected)


def _top_k(k: int, data: Data) -> float:
    # Of equal scores scikit-learn takes the last class and we the first: it gets the classes in reverse.
    mirrored = Data(data.classes - 1 - data.target, data.scores.flip(1))
    expected = _theirs("top_k_accuracy_score", mirrored, mirrored.scores.numpy(), k=k, labels=range(data.classes))
    return gap("top k", torch.tensor(top_k(data.target, data.scores, k), dtype=expected.dtype), expected)


def _matrix(data: Data) -> Tensor:
    return confusion_matrix(data.target, data.predicted, data.classes)


def _confusion(data: Data) -> float:
    return gap(
        "matrix", _matrix(data), _theirs("confusion_matrix", data, data.predicted.numpy(), labels=range(data.classes))
    )


def _scores(metric: Any, data: Data, average: str | None) -> Tensor:
    options = {"labels": range(data.classes), "average": average, "zero_division": 0}
    return _theirs(f"{metric.__name__}_score", data, data.predicted.numpy(), **options)


def _by_class(metric: Any, data: Data) -> float:
    return gap(metric.__name__, metric(_matrix(data)), _scores(metric, data, None))


def _macro_f1(data: Data) -> float:
    expected = _theirs("f1_score", data, data.predicted.numpy(), average="macro")  # over the classes that occur
    return gap("macro f1", torch.tensor(macro_f1(_matrix(data)), dtype=expected.dtype), expected)


def _macro(metric: Any, data: Data) -> float:
    expected = _scores(metric, data, "macro")
    return gap("macro", torch.tensor(macro(metric(_matrix(data))), dtype=expected.dtype), expected)
