"""scikit-learn's MLPClassifier: one hidden layer of sigmoids, softmax output, plain gradient descent."""

import warnings
from collections.abc import Callable

import numpy as np
from sklearn.neural_network import MLPClassifier

from benchmarks.jobs import Job


def make(job: Job) -> Callable[[int], None]:
    rng = np.random.default_rng(0)
    net = MLPClassifier(
        (30,),
        activation="logistic",
        solver="sgd",
        batch_size=job.batch,
        learning_rate_init=0.01,
        momentum=0.0,
        alpha=0.0,
    )
    warnings.simplefilter("ignore")
    classes = np.arange(job.classes)
    x = rng.random((job.batch * job.steps, *job.shape), dtype=np.float32)
    target = np.arange(len(x)) % job.classes
    net.partial_fit(x, target, classes=classes)

    def run(steps: int) -> None:
        net.partial_fit(x[: steps * job.batch], target[: steps * job.batch])

    return run
