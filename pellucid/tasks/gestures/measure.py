"""The evaluation of a classifier on held-out images."""

import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.calibration.confidence import negative_log_likelihood
from pellucid.data import Dataset
from pellucid.metrics import (
    Reliability,
    accuracy,
    class_scores,
    confusion_matrix,
    f1,
    macro_f1,
    precision,
    recall,
    reliability,
)
from pellucid.model import Model
from pellucid.tasks.classify.report import Mistakes, select_mistakes

N_BINS = 15  # bins of the calibration error, as in Guo et al. 2017
MAX_MISTAKES = 60  # number of misclassified images in the results
N_WARM_UP, N_REPEATS = 5, 60  # forward passes before and during the measurement of the latency
MAX_SECONDS = 3.0  # total time of the forward passes in the measurement of the latency


@dataclass(frozen=True)
class Latency:
    """The median time of a forward pass for one image on `threads` threads of the CPU, over `repeats` passes."""

    milliseconds: float
    threads: int
    repeats: int


@dataclass(frozen=True, eq=False)
class ClassifierEvaluation:
    """The results of one model on held-out images.

    n: the number of images. loss: the mean negative log-likelihood, for any training loss. precision, recall, f1: of
    each class (K,), float64. confusion: counts (K, K), true class by predicted class. reliability: in bins of the
    probability of the predicted class. mistakes: the misclassified images, by descending probability; None if the data
    are not pictures.
    """

    n: int
    classes: tuple[str, ...]
    accuracy: float
    loss: float
    precision: Tensor
    recall: Tensor
    f1: Tensor
    confusion: Tensor
    reliability: Reliability
    mistakes: Mistakes | None
    latency: Latency

    @property
    def macro_f1(self) -> float:
        """The unweighted mean of F1 over the classes that have images or were predicted."""
        return macro_f1(self.confusion)

    @property
    def ece(self) -> float:
        """The expected calibration error."""
        return self.reliability.error

    @property
    def confusion_fractions(self) -> Tensor:
        """The confusion matrix as fractions of each true class (K, K), float64; rows without images are 0."""
        return self.confusion.double() / self.confusion.sum(1, keepdim=True).clamp_min(1)

    def to_json(self) -> dict[str, Any]:
        """Return all but the pictures as JSON values."""
        rows = zip(self.classes, self.precision, self.recall, self.f1, self.confusion.sum(1), strict=True)
        return {
            "accuracy": self.accuracy,
            "loss": self.loss,
            "macro_f1": self.macro_f1,
            "ece": self.ece,
            "latency_ms": self.latency.milliseconds,
            "latency_threads": self.latency.threads,
            "n": self.n,
            "misread": self.n - int(self.confusion.diagonal().sum()),
            "classes": [
                {"class": name, "precision": float(p), "recall": float(r), "f1": float(f), "n": int(n)}
                for name, p, r, f, n in rows
            ],
            "confusion": self.confusion.tolist(),
            "confusion_normalised": self.confusion_fractions.tolist(),
            "reliability": {
                "count": self.reliability.count.tolist(),
                "confidence": self.reliability.confidence.tolist(),
                "accuracy": self.reliability.accuracy.tolist(),
            },
        }


def measure(model: Model, images: Dataset, repeats: int = N_REPEATS) -> ClassifierEvaluation:
    """Evaluate a classifier on held-out images; repeats: the number of timed forward passes.

    Raises PellucidError for a model with another number of classes than `images`.
    """
    probabilities = class_scores(model.predict(images).cpu())
    n_classes = len(images.classes)
    if probabilities.ndim != 2 or probabilities.shape[1] != n_classes:
        raise PellucidError(
            f"the model outputs {tuple(probabilities.shape[1:])} values for an image, but {images.name} has "
            f"{n_classes} classes; give data of the model's own classes"
        )
    predicted = probabilities.argmax(1)
    confusion = confusion_matrix(images.y, predicted, n_classes)
    return ClassifierEvaluation(
        n=len(images),
        classes=images.classes,
        accuracy=accuracy(images.y, predicted),
        loss=negative_log_likelihood(probabilities, images.y),
        precision=precision(confusion),
        recall=recall(confusion),
        f1=f1(confusion),
        confusion=confusion,
        reliability=reliability(images.y, probabilities, N_BINS),
        mistakes=select_mistakes(probabilities, images.y, images, MAX_MISTAKES),
        latency=measure_latency(model, images.x, repeats),
    )


def measure_latency(model: Model, x: Tensor, repeats: int = N_REPEATS) -> Latency:
    """Measure the time of forward passes for single images of x (N, C, H, W), after a few warm-up passes.

    Raises PellucidError without images or repeats.
    """
    if repeats < 1 or not len(x):
        raise PellucidError(f"latency: {repeats} repeats over {len(x)} images; give at least one of each")
    predict = model.predictor()  # as for camera frames, the network is converted once
    for k in range(N_WARM_UP):
        predict(x[k % len(x)][None])
    seconds: list[float] = []
    while len(seconds) < repeats and sum(seconds) < MAX_SECONDS:
        image = x[len(seconds) % len(x)][None]
        start = time.perf_counter()
        predict(image)
        seconds.append(time.perf_counter() - start)
    return Latency(1000 * statistics.median(seconds), torch.get_num_threads(), len(seconds))
