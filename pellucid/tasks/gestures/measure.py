"""The evaluation of a classifier on held-out images."""

import statistics
import time
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.calibration.confidence import negative_log_likelihood
from pellucid.data import Dataset
from pellucid.metrics import class_scores, confusion_matrix, f1, macro_f1, precision, recall, reliability
from pellucid.model import Model

N_BINS = 15  # bins of the calibration error, as in Guo et al. 2017
N_WARM_UP, N_REPEATS = 5, 60  # forward passes before and during the measurement of the latency
MAX_SECONDS = 3.0  # total time of the forward passes in the measurement of the latency


def measure(model: Model, images: Dataset, repeats: int = N_REPEATS) -> dict[str, Any]:
    """Return the results of a classifier on held-out images as JSON values.

    repeats: the number of timed forward passes. The keys are accuracy; loss, the mean negative log-likelihood, for any
    training loss; macro_f1, over the classes that have images or were predicted; ece, the expected calibration error;
    n, the number of images; misread, the number of misclassified ones; classes, the precision, recall and F1 of each;
    confusion, the counts by true and predicted class, and confusion_normalised, the same as fractions of each true
    class; reliability, in bins of the probability of the predicted class; and those of `measure_latency`. Raises
    PellucidError for a model with another number of classes than `images`.
    """
    probabilities = class_scores(model.predict(images).cpu())
    n_classes = len(images.classes)
    if probabilities.ndim != 2 or probabilities.shape[1] != n_classes:
        raise PellucidError(
            f"the model outputs {tuple(probabilities.shape[1:])} values for an image, but {images.name} has "
            f"{n_classes} classes; give data of the model's own classes"
        )
    confusion = confusion_matrix(images.y, probabilities.argmax(1), n_classes)
    n_true, n_right = confusion.sum(1), int(confusion.diagonal().sum())
    columns = (images.classes, precision(confusion).tolist(), recall(confusion).tolist(), f1(confusion).tolist())
    class_keys = ("class", "precision", "recall", "f1", "n")
    bins = reliability(images.y, probabilities, N_BINS)
    return {
        "accuracy": n_right / len(images),
        "loss": negative_log_likelihood(probabilities, images.y),
        "macro_f1": macro_f1(confusion),
        "ece": bins.error,
        **measure_latency(model, images.x, repeats),
        "n": len(images),
        "misread": len(images) - n_right,
        "classes": [dict(zip(class_keys, row, strict=True)) for row in zip(*columns, n_true.tolist(), strict=True)],
        "confusion": confusion.tolist(),
        "confusion_normalised": (confusion.double() / n_true.clamp_min(1)[:, None]).tolist(),
        "reliability": {
            "count": bins.count.tolist(),
            "confidence": bins.confidence.tolist(),
            "accuracy": bins.accuracy.tolist(),
        },
    }


def measure_latency(model: Model, x: Tensor, repeats: int = N_REPEATS) -> dict[str, Any]:
    """Return the median time of forward passes for single images of x (N, C, H, W), after a few warm-up passes.

    The keys are latency_ms, and latency_threads, the number of CPU threads. Raises PellucidError without images or
    repeats.
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
    return {"latency_ms": 1000 * statistics.median(seconds), "latency_threads": torch.get_num_threads()}
