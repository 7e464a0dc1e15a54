"""Nearest neighbours and templates.

A classifier predicts the class of an input, such as the digit in an image. The training examples, whose classes are
known, are what it learns from. The nearest-neighbour classifier has no parameters to learn: it stores all training
examples, and predicts the most frequent class among the k nearest ones. A linear classifier stores one template for
each class instead. The digits are the 1,797 images of 8 x 8 pixels in scikit-learn.
"""

import numpy as np
from sklearn.datasets import make_blobs

from pellucid.data import load
from pellucid.data.dataset import Dataset
from pellucid.estimators import KNeighborsClassifier, SoftmaxRegression
from pellucid.lessons.guide import Exercise, FunctionExercise, Guess, Guide, Handles, Slider
from pellucid.lessons.lesson import LessonSettings, NumberRows, Result
from pellucid.report.figures.grids import matrix_panels
from pellucid.report.figures.pictures import sheet
from pellucid.report.figures.plane import crosses, decision_boundaries, regions, rings, scatter
from pellucid.report.figures.series import curves, plots_in_rows

METRICS = ("l1", "l2")
CENTRES = ((0, 0), (2.4, 0.4), (1, 2.2))  # of three classes
COLOURS = ("blue", "orange", "green")  # in which the classes are drawn
QUERY = ((1.5, 1.0),)
EDGE = (-3.0, 5.0)  # of the plot around it
# Grey values of two images of 4 x 4 pixels.
TEST_IMAGE = [[56, 32, 10, 18], [90, 23, 128, 133], [24, 26, 178, 200], [2, 0, 255, 220]]
TRAINING_IMAGE = [[10, 20, 24, 17], [8, 10, 89, 100], [12, 16, 178, 170], [4, 32, 233, 112]]


def distances(settings: LessonSettings, last_pixel: int = TEST_IMAGE[-1][-1]) -> Result:
    """The distance between two images.

    Two images of 4 x 4 grey values are compared pixel by pixel. The L1 distance is the sum of the absolute differences:
    456. The L2 distance is the root of the sum of their squares: a single large difference counts for more.
    """
    test, training = np.array(TEST_IMAGE, dtype=float), np.array(TRAINING_IMAGE, dtype=float)
    test[-1, -1] = last_pixel
    numbers = {}
    for metric in METRICS:
        classifier = KNeighborsClassifier(1, metric=metric).fit(training.reshape(1, -1), [0])
        distance, _ = classifier.kneighbors(test.reshape(1, -1))
        numbers[metric] = float(distance[0, 0])
    images = {"test image": test, "training image": training, "absolute difference": abs(test - training)}
    return Result(numbers, matrix_panels(images))


def voting(settings: LessonSettings, k: int = 5, query: NumberRows = QUERY) -> Result:
    """The neighbours of one point vote.

    60 points of three classes are known. A new point, the cross, gets the class of most of its k nearest neighbours,
    which are circled; distances are L2. The colour of the plane is the class that a new point would get there. Equal
    numbers of votes are decided for the class that comes first.
    """
    x, y = make_blobs(60, centers=CENTRES, cluster_std=0.7, random_state=settings.seed)[:2]
    classifier = KNeighborsClassifier(k, metric="l2").fit(x, y)
    distances, nearest_indices = classifier.kneighbors(np.array(query))
    votes = np.bincount(y[nearest_indices[0]], minlength=3).tolist()
    predicted = COLOURS[int(classifier.predict(np.array(query))[0])]
    figure, (plot,) = plots_in_rows([f"the new point becomes {predicted}"], 1, 3.8, square=True)
    regions(plot, classifier.predict, [*zip(EDGE, EDGE, strict=True)], 3)
    scatter(plot, x, y)
    rings(plot, x[nearest_indices[0]])
    crosses(plot, query)
    plot.set_xlim(EDGE)
    plot.set_ylim(EDGE)
    numbers = {
        "votes": dict(zip(COLOURS, votes, strict=True)),
        "distances of the neighbours": distances[0].tolist(),
        "predicted": predicted,
    }
    return Result(numbers, figure)


def decisions(settings: LessonSettings, largest_k: int = 15, spread: float = 1.0) -> Result:
    """Decision boundaries.

    The data are 150 points of three overlapping classes. With k = 1, every training point is classified correctly, and
    each outlier has its own island: the boundary follows the noise. With larger k the boundary becomes smoother, and
    new points are classified better. For these data, L1 and L2 differ little.
    """
    x, y = make_blobs(1150, centers=CENTRES, cluster_std=spread, random_state=settings.seed)[:2]
    models = {
        f"{metric.upper()}, k = {k}": KNeighborsClassifier(k, metric=metric).fit(x[:150], y[:150])
        for metric in METRICS
        for k in (1, 3, 5, largest_k)
    }
    numbers = {
        name: {"training": model.score(x[:150], y[:150]), "1,000 new points": model.score(x[150:], y[150:])}
        for name, model in models.items()
    }
    steps = 60 if settings.small else 150
    figure = decision_boundaries({name: model.predict for name, model in models.items()}, x[:150], y[:150], steps)
    return Result({"accuracy": numbers}, figure)


def flat_images(data: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return the images as rows of pixels (n, pixels), and their classes (n,)."""
    return data.x.flatten(1).numpy(), data.y.numpy()


def choosing(settings: LessonSettings) -> Result:
    """Choosing k by validation.

    k and the distance are not learned: they are hyperparameters. A quarter of the training images is held out, and the
    distance and k with the best accuracy on these images are chosen. The test images are used once, at the end: if they
    were used for the choice, the accuracy on them would be too optimistic.
    """
    digits = load("digits")
    x, y = flat_images(digits.train)
    n_train, ks = 3 * len(x) // 4, list(range(1, 22, 2))
    accuracies = {
        metric: [
            KNeighborsClassifier(k, metric=metric).fit(x[:n_train], y[:n_train]).score(x[n_train:], y[n_train:])
            for k in ks
        ]
        for metric in METRICS
    }
    metric = max(METRICS, key=lambda name: max(accuracies[name]))
    k = ks[int(np.argmax(accuracies[metric]))]
    test_accuracy = KNeighborsClassifier(k, metric=metric).fit(x, y).score(*flat_images(digits.test))
    numbers = {"k": ks, **accuracies, "chosen": f"{metric}, k = {k}", "test accuracy": test_accuracy}
    percentages = {name.upper(): [100 * accuracy for accuracy in values] for name, values in accuracies.items()}
    return Result(numbers, curves(percentages, "k", "validation accuracy", ks, unit="%"))


def templates(settings: LessonSettings, strength: float = 0.1) -> Result:
    """Templates of a linear classifier.

    Softmax regression is a network of one layer with a softmax: ten scores, of which the largest one decides. It has
    ten rows of weights, one for each digit, that are as large as an image. A class's score is the dot product of its
    row with the pixels, so the row is a template: blue pixels increase the score of the digit, ochre ones decrease it.
    Ten templates replace 1,438 stored images, and a prediction takes ten dot products.
    """
    digits = load("digits")
    x, y = flat_images(digits.train)
    model = SoftmaxRegression(strength, tol=1e-6).fit(x, y)
    numbers = {
        "test accuracy": model.score(*flat_images(digits.test)),
        "weights": model.coef_.size,
        "stored pixels": x.size,
    }
    figure = sheet(model.coef_.reshape(10, 8, 8), "templates", [str(digit) for digit in range(10)], columns=5)
    return Result(numbers, figure)


STEPS = (distances, voting, decisions, choosing, templates)
GUIDE = Guide(
    question="Can one classify images by nothing but looking up the most similar one?",
    minutes=15,
    needs=(),
    guesses={
        "distances": Guess(
            "Image A differs from ours by 10 in each of two pixels, image B by 20 in one pixel. Which is nearer in L2?",
            ("A", "B", "both are equally near"),
            0,
            "A: the root of 100 + 100 is 14.1. B: the root of 400 is 20. In L1 both distances are 20.",
        ),
        "decisions": Guess(
            "With k = 1, how many of the training points themselves are classified wrongly?",
            ("about as many as of new points", "none", "those near the boundary"),
            1,
            "The nearest neighbour of a training point is the point itself. This says nothing about new points.",
        ),
        "choosing": Guess(
            "k = 1 makes no mistake on the training images. Is it therefore the best k?",
            ("yes", "no, larger values are always better", "that only held-out images can tell"),
            2,
            "On the training images, k = 1 is always right. For clean digits it may win, for noisy points it loses.",
        ),
    },
    sliders={
        "distances": (
            Slider(
                "last_pixel",
                "last pixel of the test image",
                (0, 112, 166, 220, 255),
                {
                    112: "The pixels agree. L1 falls by 108 from its start value; L2 by about a quarter.",
                    0: "112 below or 108 above: nearly the same distance, since the sign does not count.",
                },
            ),
        ),
        "voting": (
            Slider("k", "number of neighbours k", (1, 3, 5, 9, 15, 60), {60: "All points vote, and a tie is decided."}),
        ),
        "decisions": (
            Slider(
                "largest_k",
                "k of the last column",
                (15, 31, 75, 150),
                {
                    75: "Half of all points vote: the details are gone.",
                    150: "All points vote everywhere, so one class takes all: k is too large.",
                },
            ),
            Slider(
                "spread",
                "spread of each class",
                (0.3, 0.6, 1.0, 1.5),
                {0.3: "The classes hardly overlap: k = 1 is as good as k = 15."},
            ),
        ),
        "templates": (
            Slider(
                "strength",
                "weight of the data against the penalty, C",
                (0.001, 0.01, 0.1, 1.0),
                {
                    0.001: (
                        "A strong penalty: all weights are small, as the scale shows, and fewer digits are recognized."
                    ),
                    1.0: "A weak penalty: single pixels get large weights.",
                },
            ),
        ),
    },
    notices={
        "distances": (
            "The right matrix holds the differences. L1 is their sum; in L2 each is squared first, so that the bright "
            "cells, 108 and 82, contribute more than half of it.",
        ),
        "voting": (
            "Drag the cross slowly over a boundary: the prediction changes at the moment when one neighbour is "
            "exchanged for another, and the votes with it.",
            "With k = 1 drag it to a point that lies among those of another class: the plane has an island there. "
            "With k = 9 the island is gone.",
        ),
        "decisions": (
            "Go along a row: with k = 1 there are islands around single points; with k = 15 the boundaries are calm, "
            "and some points lie on the wrong side.",
            "Compare the two lines of numbers: from k = 1 to k = 15 the accuracy on training points falls while that "
            "on new points rises. Only the second one counts.",
        ),
        "choosing": (
            "The vertical axis spans only a few per cent. One held-out image in 360 is worth 0.28 %, so neighbouring "
            "values of k can swap places by chance; but on the whole the blue curve falls.",
            "L2 is above L1 for every k. The pair with the highest point of both curves is chosen.",
        ),
        "templates": (
            "Look at 0: the centre is brown, since ink in the centre speaks against a 0. In 1, the blue pixels form "
            "the upper part of a stroke.",
            "The templates are not pictures of digits: they show what tells one digit from the others.",
        ),
    },
    notice_plots={"distances": ((2,),), "decisions": ((0, 3, 4, 7), ())},
    exercises=(
        Exercise(
            "Two images differ by 3 in one pixel and by 4 in another. What is their L2 distance?",
            5,
            0.01,
            "The root of 9 + 16 = 25 is 5.",
            {7: "That is the L1 distance, the sum.", 25: "Take the root."},
        ),
        Exercise(
            "The classes of the neighbours are, from the nearest on, 2, 7, 7, 2, 2. Which class does k = 3 predict?",
            7,
            0.01,
            "Of the first three, 2, 7 and 7, two are 7. With k = 1 and with k = 5 it is 2.",
            {2: "That is the answer for k = 1 or k = 5. Count the first three."},
        ),
        Exercise(
            "How many weights do ten templates for images of 28 x 28 pixels have?",
            7840,
            0.5,
            "10 · 28 · 28 = 7,840.",
            {784: "That is a single template."},
        ),
    ),
    handles={"voting": Handles("query", "the cross, a new point,", "points", QUERY, *EDGE, 0.1)},
    functions={
        "predict": FunctionExercise(
            "predict(x, y, query, k): the most frequent of the classes y (N,) among the k rows of x (N, D) that are "
            "nearest to query (D,) in L2; the smallest class if there is a tie.",
            lambda x, y, query, k: int(np.bincount(y[np.argsort(((x - query) ** 2).sum(1))[:k]]).argmax()),
            lambda random: (
                random.normal(size=(30, 4)),
                random.integers(0, 3, 30),
                random.normal(size=4),
                int(random.integers(1, 9)),
            ),
            "def predict(x, y, query, k):\n"
            "    distances = np.linalg.norm(x - query, axis=1)\n"
            "    classes, counts = np.unique(y[np.argsort(distances)[:k]], return_counts=True)\n"
            "    return classes[np.argmax(counts)]",
        )
    },
    later=(
        "Networks learn features in which near images have the same class; the last layer is such a linear classifier."
    ),
)
