"""Several kinds of classifiers on one data set: their accuracy, time and size."""

import os
import pickle
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.metrics import accuracy_score, f1_score
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from pellucid.base.errors import PellucidError
from pellucid.base.text import percent
from pellucid.combine import Sequential
from pellucid.data.catalogue import load
from pellucid.data.dataset import Dataset, float_images, split_by_class
from pellucid.estimators import KNeighborsClassifier, NetworkClassifier
from pellucid.estimators.base import Array
from pellucid.layers import AdaptiveAvgPool2d, Conv2d, Dense, Flatten, MaxPool2d, ReLU
from pellucid.layers.base import Layer
from pellucid.metrics.bootstrap import weighted_mean
from pellucid.optim import Adam
from pellucid.tasks.comparison import (
    ComparedColumn,
    ComparedRow,
    Comparison,
    ComparisonProgress,
    measure_candidates,
    select,
)

VALIDATION_FRACTION = 1 / 6  # fraction of the training images used for validation: 10,000 of MNIST's 60,000
MAX_VALIDATION = 2_000  # validation images of nearest neighbours: each is compared with all training images
MAX_TRAIN = 10_000  # training images of classifiers whose time grows faster than their number


class ClassifierCandidate(NamedTuple):
    """A kind of classifier.

    title: in tables. build: returns an estimator with scikit-learn's interface; its arguments are a seed and one of
    `choices` as keyword arguments. choices: candidate hyperparameters, of which those with the highest validation
    accuracy are used. limit: the maximum number of training images. validation: the maximum number of validation
    images. takes_images: whether the estimator receives images (N, C, H, W) or rows of pixels (N, C * H * W).
    """

    title: str
    build: Callable[..., Any]
    choices: Sequence[Mapping[str, Any]]
    limit: int | None = None
    validation: int | None = None
    takes_images: bool = False


def _build_softmax(seed: int, lr: float) -> NetworkClassifier:
    return NetworkClassifier(softmax_net, optimizer=Adam(lr), epochs=100, patience=10, batch_size=64, random_state=seed)


def _build_mlp(seed: int, units: int) -> NetworkClassifier:
    return NetworkClassifier(partial(mlp_net, units=units), epochs=100, patience=10, batch_size=64, random_state=seed)


def _build_conv(seed: int, filters: int) -> NetworkClassifier:
    return NetworkClassifier(
        partial(conv_net, filters=filters), epochs=100, patience=5, batch_size=64, random_state=seed
    )


def softmax_net(features: int, classes: int) -> Layer:
    """Return softmax regression as a network."""
    return Sequential(scores=Dense(classes))


def mlp_net(features: int, classes: int, units: int) -> Layer:
    """Return a network with one hidden layer."""
    return Sequential(dense=Dense(units), relu=ReLU(), scores=Dense(classes))


def conv_net(channels: int, classes: int, filters: int) -> Layer:
    """Return a network of two convolutions, with pooling after each."""
    return Sequential(
        conv1=Conv2d(filters, 3, padding=1),
        relu1=ReLU(),
        pool1=MaxPool2d(2),
        conv2=Conv2d(2 * filters, 3, padding=1),
        relu2=ReLU(),
        pool2=AdaptiveAvgPool2d(4),
        flatten=Flatten(),
        scores=Dense(classes),
    )


def _neighbors_builder(metric: str) -> Callable[..., Any]:
    return lambda seed, k: KNeighborsClassifier(k, metric=metric)


NEIGHBOR_CHOICES = ({"k": 1}, {"k": 3}, {"k": 5})
CANDIDATES = {
    "nearest-l1": ClassifierCandidate(
        "nearest neighbours, L1", _neighbors_builder("l1"), NEIGHBOR_CHOICES, limit=MAX_TRAIN, validation=MAX_VALIDATION
    ),
    "nearest-l2": ClassifierCandidate(
        "nearest neighbours, L2", _neighbors_builder("l2"), NEIGHBOR_CHOICES, validation=MAX_VALIDATION
    ),
    "softmax": ClassifierCandidate("softmax regression", _build_softmax, ({"lr": 0.01}, {"lr": 0.001})),
    "svm": ClassifierCandidate(
        "SVM, Gaussian kernel", lambda seed, cost: SVC(C=cost), ({"cost": 1}, {"cost": 10}), limit=MAX_TRAIN
    ),
    "tree": ClassifierCandidate(
        "decision tree",
        lambda seed, depth: DecisionTreeClassifier(max_depth=depth, random_state=seed),
        ({"depth": 10}, {"depth": 20}),
    ),
    "forest": ClassifierCandidate(
        "random forest",
        lambda seed, leaf: RandomForestClassifier(100, min_samples_leaf=leaf, n_jobs=-1, random_state=seed),
        ({"leaf": 1}, {"leaf": 3}),
    ),
    "boosting": ClassifierCandidate(
        "gradient boosting",
        lambda seed, rate: HistGradientBoostingClassifier(learning_rate=rate, max_iter=60, random_state=seed),
        ({"rate": 0.1}, {"rate": 0.2}),
        limit=MAX_TRAIN,
    ),
    "mlp": ClassifierCandidate("MLP", _build_mlp, ({"units": 100}, {"units": 300})),
    "conv": ClassifierCandidate("conv net", _build_conv, ({"filters": 16},), takes_images=True),
}


COLUMNS = (
    ComparedColumn("accuracy", "accuracy", percent, ranking_title="Accuracy, higher is better", in_percent=True),
    ComparedColumn("f1", "macro F1", percent, "the mean over the classes"),
    ComparedColumn(
        "chosen", "chosen", lambda choice: ", ".join(f"{key} {value}" for key, value in choice.items()) or "-"
    ),
    ComparedColumn("trained_on", "images", "{:,}".format, "the training images"),
    ComparedColumn("fit_seconds", "fit", "{:.1f} s".format, ranking_title="Time to fit, in seconds"),
    ComparedColumn("predict_seconds", "predict", "{:.2f} s".format, "all test images", "Time to predict, in seconds"),
    ComparedColumn("bytes", "size", lambda count: f"{count / 1e6:.2f} MB", "of the pickled estimator"),
)


def notes(rows: Sequence[ComparedRow], n_train: int) -> list[str]:
    """Return notes: the images on which hyperparameters were chosen, and classifiers trained on fewer images.

    n_train: the number of training images.
    """
    titles_by_note: dict[str, list[str]] = {}
    for row in rows:
        candidate = CANDIDATES[row.name]
        if len(candidate.choices) == 1:
            note = "Hyperparameters not chosen but fixed"
        elif candidate.validation is not None and candidate.validation < VALIDATION_FRACTION * n_train:
            note = f"Hyperparameters chosen on {candidate.validation:,} training images held out"
        else:
            note = "Hyperparameters chosen on a sixth of the training images"
        titles_by_note.setdefault(note, []).append(row.title)
        if row.values["trained_on"] < n_train:
            note = f"Trained on {row.values['trained_on']:,} images only"
            titles_by_note.setdefault(note, []).append(row.title)
    return [f"{note}: {'; '.join(titles)}." for note, titles in titles_by_note.items()]


def compare(
    name: str,
    root: str | os.PathLike[str] | None = None,
    seed: int = 0,
    only: Collection[str] = (),
    progress: ComparisonProgress = lambda title, number, total: None,
) -> Comparison:
    """Train every classifier of CANDIDATES on one split of a data set and measure it once on the test images.

    name, root: as for `pellucid.data.catalogue.load`. only: names of CANDIDATES, () for all. progress: called with each
    title, its number (from 1) and the number of candidates.

    Hyperparameters are chosen on validation images held out of the training images. The classifier is then trained with
    them on all training images, at most `ClassifierCandidate.limit`. Raises PellucidError for an unknown name, for data
    without classes, and for images of different sizes.
    """
    candidates = select(CANDIDATES, only, "there is no classifier {!r}")
    data = load(name, root)
    if not isinstance(data.train, Dataset) or not data.train.classes or data.train.y.dim() != 1:
        raise PellucidError(f"{name} has no class for each image; give a data set such as digits or mnist")
    rows = measure_candidates(candidates, _measurer(data.train, data.test, seed), progress)
    facts = {"data": data.train.name, "train": len(data.train), "test": len(data.test), "seed": seed}
    return Comparison(
        title=f"Classifiers on {data.train.name}",
        noun="classifier",
        facts=facts,
        columns=COLUMNS,
        rows=rows,
        examples=len(data.test),
        notes=[
            f"{data.train.name}: {len(data.train):,} training and {len(data.test):,} test images.",
            *notes(rows, len(data.train)),
        ],
    )


def _measurer(train: Dataset, test: Dataset, seed: int) -> Callable[[str, ClassifierCandidate], Iterable[ComparedRow]]:
    """Return the function that chooses the hyperparameters of one candidate, trains it and tests it."""
    x, y = float_images(train.x).numpy(), train.y.numpy()
    x_test, y_test = float_images(test.x).numpy(), test.y.numpy()
    train_indices, validation_indices = (
        part.numpy() for part in split_by_class(train.y, VALIDATION_FRACTION, seed, train.name)
    )
    rng = np.random.default_rng(seed)
    train_indices, validation_indices, all_indices = (
        rng.permutation(train_indices),
        rng.permutation(validation_indices),
        rng.permutation(len(y)),
    )

    def measure(name: str, candidate: ClassifierCandidate) -> Iterator[ComparedRow]:
        def as_inputs(images: Array) -> Array:
            return images if candidate.takes_images else images.reshape(len(images), -1)

        def fit(choice: Mapping[str, Any], indices: Array) -> Any:
            return candidate.build(seed, **choice).fit(as_inputs(x[indices]), y[indices])

        def validation_accuracy(choice: Mapping[str, Any]) -> float:
            predicted = fit(choice, train_indices[: candidate.limit]).predict(as_inputs(x[validation_subset]))
            return float(accuracy_score(y[validation_subset], predicted))

        validation_subset, train_subset = validation_indices[: candidate.validation], all_indices[: candidate.limit]
        has_choices = len(candidate.choices) > 1
        choice, choose_seconds = _timed(
            lambda: max(candidate.choices, key=validation_accuracy) if has_choices else candidate.choices[0]
        )
        estimator, fit_seconds = _timed(lambda: fit(choice, train_subset))
        predicted, predict_seconds = _timed(lambda: estimator.predict(as_inputs(x_test)))
        values = {
            "chosen": choice,
            "trained_on": len(train_subset),
            "accuracy": float(accuracy_score(y_test, predicted)),
            "f1": float(f1_score(y_test, predicted, average="macro")),
            "choose_seconds": choose_seconds,  # of all fits that choose the hyperparameters
            "fit_seconds": fit_seconds,
            "predict_seconds": predict_seconds,
            "bytes": len(pickle.dumps(estimator)),
        }
        is_right = torch.from_numpy(predicted == y_test)
        yield ComparedRow(name, candidate.title, values, weighted_value=weighted_mean(is_right))

    return measure


def _timed(compute: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = compute()
    return result, time.perf_counter() - start
