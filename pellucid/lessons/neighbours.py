"""Nearest neighbours and templates.

The nearest-neighbour classifier has no parameters to learn: it stores all training examples, and predicts the most
frequent class among the k nearest neighbours. A linear classifier stores one template for each class instead. The
digits are the 1,797 images of 8 x 8 pixels in scikit-learn.
"""

import numpy as np
from sklearn.datasets import make_blobs

from pellucid.data import load
from pellucid.data.dataset import Dataset
from pellucid.estimators import KNeighborsClassifier, SoftmaxRegression
from pellucid.lessons.lesson import Result, Setting
from pellucid.report.figures.grids import matrix_panels
from pellucid.report.figures.pictures import sheet
from pellucid.report.figures.plane import decision_boundaries
from pellucid.report.figures.series import curves

METRICS = ("l1", "l2")
# Grey values of two images of 4 x 4 pixels.
TEST_IMAGE = [[56, 32, 10, 18], [90, 23, 128, 133], [24, 26, 178, 200], [2, 0, 255, 220]]
TRAINING_IMAGE = [[10, 20, 24, 17], [8, 10, 89, 100], [12, 16, 178, 170], [4, 32, 233, 112]]


def distances(setting: Setting) -> Result:
    """The distance between two images.

    Two images of 4 x 4 grey values are compared pixel by pixel. The L1 distance is the sum of the absolute differences:
    456. The L2 distance is the root of the sum of their squares: a single large difference counts for more.
    """
    test, training = np.array(TEST_IMAGE, dtype=float), np.array(TRAINING_IMAGE, dtype=float)
    numbers = {}
    for metric in METRICS:
        classifier = KNeighborsClassifier(1, metric=metric).fit(training.reshape(1, -1), [0])
        distance, _ = classifier.kneighbors(test.reshape(1, -1))
        numbers[metric] = float(distance[0, 0])
    images = {"test image": test, "training image": training, "absolute difference": abs(test - training)}
    return Result(numbers, matrix_panels(images))


def decisions(setting: Setting) -> Result:
    """Decision boundaries.

    The data are 150 points of three overlapping classes. With k = 1, every training point is classified correctly, and
    each outlier has its own island: the boundary follows the noise. With larger k the boundary becomes smoother, and
    new points are classified better. For these data, L1 and L2 differ little.
    """
    x, y = make_blobs(1150, centers=[(0, 0), (2.4, 0.4), (1, 2.2)], random_state=setting.seed)[:2]
    models = {
        f"{metric.upper()}, k = {k}": KNeighborsClassifier(k, metric=metric).fit(x[:150], y[:150])
        for metric in METRICS
        for k in (1, 3, 5, 15)
    }
    numbers = {
        name: {"training": model.score(x[:150], y[:150]), "1,000 new points": model.score(x[150:], y[150:])}
        for name, model in models.items()
    }
    steps = 60 if setting.small else 150
    figure = decision_boundaries({name: model.predict for name, model in models.items()}, x[:150], y[:150], steps)
    return Result({"accuracy": numbers}, figure)


def flat_images(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return the images as rows of pixels (n, pixels), and their classes (n,)."""
    return data.x.flatten(1).numpy(), data.y.numpy()


def choosing(setting: Setting) -> Result:
    """Choosing k by validation.

    k and the distance are not learned: they are hyperparameters. A quarter of the training images is held out, and the
    distance and k with the best accuracy on these images are chosen. The test images are used once, at the end: if they
    were used for the choice, the accuracy on them would be too optimistic.
    """
    digits = load("digits")
    x, y = flat_images(digits.train)
    split, ks = 3 * len(x) // 4, list(range(1, 22, 2))
    accuracies = {
        metric: [
            KNeighborsClassifier(k, metric=metric).fit(x[:split], y[:split]).score(x[split:], y[split:]) for k in ks
        ]
        for metric in METRICS
    }
    metric = max(METRICS, key=lambda name: max(accuracies[name]))
    k = ks[int(np.argmax(accuracies[metric]))]
    test_accuracy = KNeighborsClassifier(k, metric=metric).fit(x, y).score(*flat_images(digits.test))
    numbers = {"k": ks, **accuracies, "chosen": f"{metric}, k = {k}", "test accuracy": test_accuracy}
    percentages = {name.upper(): [100 * accuracy for accuracy in values] for name, values in accuracies.items()}
    return Result(numbers, curves(percentages, "k", "validation accuracy", ks, unit="%"))


def templates(setting: Setting) -> Result:
    """Templates of a linear classifier.

    Softmax regression has ten rows of weights, one for each digit, that are as large as an image. A class's score is
    the dot product of its row with the pixels, so the row is a template: blue pixels increase the score of the digit,
    ochre ones decrease it. Ten templates replace 1,438 stored images, and a prediction takes ten dot products.
    """
    digits = load("digits")
    x, y = flat_images(digits.train)
    model = SoftmaxRegression(0.1, tol=1e-6).fit(x, y)
    numbers = {
        "test accuracy": model.score(*flat_images(digits.test)),
        "weights": model.coef_.size,
        "stored pixels": x.size,
    }
    figure = sheet(model.coef_.reshape(10, 8, 8), "templates", [str(digit) for digit in range(10)], columns=5)
    return Result(numbers, figure)


STEPS = (distances, decisions, choosing, templates)
