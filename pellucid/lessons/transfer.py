"""Transfer learning.

A network that has learned one task has learned features on the way: the values before its last layer. Transfer learning
uses them for another task with few examples. Here a network learns the digits 0 to 4, which lie anywhere on a dark
square, and what it has learned is used for the digits 5 to 9. Sometimes this helps a lot, and sometimes it harms.
"""

from copy import deepcopy
from functools import cache

import torch
from torch import Tensor

from pellucid import Adam, Model, SoftmaxCrossEntropy
from pellucid.combine import Sequential
from pellucid.data import Splits, load
from pellucid.layers import Conv2d, Dense, Flatten, MaxPool2d, ReLU
from pellucid.layers.base import Mode
from pellucid.lessons.guide import Exercise, FunctionExercise, Guess, Guide, Slider
from pellucid.lessons.lesson import LessonSettings, Result
from pellucid.report.figures.grids import bar_panels
from pellucid.report.figures.pictures import image_rows
from pellucid.report.figures.series import curves

SIDE = 16  # pixels of the square on which a digit of 8 x 8 pixels lies
FARTHEST = 4  # pixels from the middle: the digit touches the edge of the square
DRAWS = 8  # draws of the examples, over which accuracies are averaged
COUNTS = (1, 2, 5, 10, 20)  # examples of each digit
FEATURES = Sequential(
    Conv2d(16, 3, padding=1), ReLU(), MaxPool2d(2), Conv2d(32, 3, padding=1), ReLU(), MaxPool2d(8), Flatten()
)  # 32 features: the largest value of each map of the second convolution
SCORES = Dense(5)


def placed(images: Tensor, farthest: int, rng: torch.Generator) -> Tensor:
    """Return squares (N, 1, 16, 16) with images (N, 1, 8, 8) at most `farthest` pixels from the middle."""
    squares = torch.zeros(len(images), 1, SIDE, SIDE)
    corners = 4 + torch.randint(-farthest, farthest + 1, (len(images), 2), generator=rng)
    for square, image, (top, left) in zip(squares, images, corners.tolist(), strict=True):
        square[:, top : top + 8, left : left + 8] = image
    return squares


def network(seed: int) -> Model:
    """Return a network for five digits, with random weights."""
    net = Sequential(features=FEATURES, scores=SCORES)
    return Model(net, SoftmaxCrossEntropy(), Adam(0.01), seed=seed, input_shape=(1, SIDE, SIDE))


@cache
def digits() -> Splits:
    """Return the digits of scikit-learn."""
    return load("digits")


@cache
def trained(seed: int) -> Model:
    """Return a network that has learned the digits 0 to 4 at all places."""
    train = digits().train
    is_old = train.y < 5
    model = network(seed)
    squares = placed(train.x[is_old], FARTHEST, torch.Generator().manual_seed(seed))
    model.fit(squares, train.y[is_old], epochs=8, batch_size=32, verbose=False)
    return model


def features_of(model: Model, squares: Tensor) -> Tensor:
    """Return the features (N, 32) of squares (N, 1, 16, 16)."""
    features, _ = FEATURES.forward(model.params["features"], squares, Mode(keep=False))
    return features


def new_test(farthest: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return test squares (N, 1, 16, 16) with the digits 5 to 9, and the digits (N,)."""
    test = digits().test
    is_new = test.y >= 5
    return placed(test.x[is_new], farthest, torch.Generator().manual_seed(seed)), test.y[is_new]


def new_examples(count: int, farthest: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return `count` random training squares of each of the digits 5 to 9, and their digits."""
    train = digits().train
    rng = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(train.y), generator=rng)
    chosen_indices = torch.cat([order[train.y[order] == digit][:count] for digit in range(5, 10)])
    return placed(train.x[chosen_indices], farthest, rng), train.y[chosen_indices]


def nearest(settings: LessonSettings, farthest: int = FARTHEST) -> Result:
    """What a network finds similar.

    The first row shows test images of digits that the network has never learned. Below each is the most similar of 50
    examples, ten of each digit: first by the distance of the 256 pixels, then by the distance of the 32 features. The
    numbers say which digits these are.
    """
    model = trained(settings.seed)
    x, y = new_test(farthest, settings.seed)
    known_x, known_y = new_examples(10, farthest, settings.seed)
    nearest_by_pixels = torch.cdist(x.flatten(1), known_x.flatten(1)).argmin(1)
    nearest_by_features = torch.cdist(features_of(model, x), features_of(model, known_x)).argmin(1)
    numbers = {
        "test images": y[:10].tolist(),
        "nearest by pixels": known_y[nearest_by_pixels[:10]].tolist(),
        "nearest by features": known_y[nearest_by_features[:10]].tolist(),
    }
    rows = {"test images": x, "by pixels": known_x[nearest_by_pixels], "by features": known_x[nearest_by_features]}
    return Result(numbers, image_rows(rows))


def few(settings: LessonSettings, farthest: int = FARTHEST) -> Result:
    """Few examples.

    Each test image gets the digit of its nearest example, by pixels or by features; this is the nearest-neighbour
    classifier. The curves show the accuracy for 1 to 20 examples of each new digit, as the mean of eight draws of the
    examples. As a control, the features of a network that has learned nothing, with random weights, are measured too.
    Guessing is right for 20 %.
    """
    x, y = new_test(farthest, settings.seed)
    representations = {
        "pixels": lambda squares: squares.flatten(1),
        "untrained": lambda squares: features_of(network(settings.seed + 1), squares),
        "learned": lambda squares: features_of(trained(settings.seed), squares),
    }
    accuracies = {name: [0.0] * len(COUNTS) for name in representations}
    ranks = torch.arange(5 * COUNTS[-1]) % COUNTS[-1]  # of each example among those of its digit
    for draw in range(DRAWS):
        known_x, known_y = new_examples(COUNTS[-1], farthest, draw)
        for name, represent in representations.items():
            distances = torch.cdist(represent(x), represent(known_x))  # (test images, examples)
            for k, count in enumerate(COUNTS):
                predicted = known_y[ranks < count][distances[:, ranks < count].argmin(1)]
                accuracies[name][k] += 100 * float((predicted == y).float().mean()) / DRAWS
    figure = curves(accuracies, "examples of each digit", "test accuracy", COUNTS, log_x=True, unit="%")
    return Result({"examples of each digit": list(COUNTS), **accuracies}, figure)


def tuned(settings: LessonSettings, count: int = 5, rate: float = 0.01) -> Result:
    """Frozen, or fine-tuned.

    Instead of comparing features, the network can be trained further: its last layer is replaced by a new one for the
    digits 5 to 9. Either all other weights are frozen, or they are trained too, which is called fine-tuning. A network
    from random weights is trained for comparison, all for 40 epochs. The second column puts the old last layer back on
    the features, and measures what the network still knows of the digits 0 to 4.
    """
    source_model = trained(settings.seed)
    x, y = new_test(FARTHEST, settings.seed)
    known_x, known_y = new_examples(count, FARTHEST, settings.seed)
    test = digits().test
    is_old = test.y < 5
    old_x = placed(test.x[is_old], FARTHEST, torch.Generator().manual_seed(settings.seed))
    accuracies = {}
    for name in ("from scratch", "frozen", "fine-tuned"):
        model = network(settings.seed + 1) if name == "from scratch" else deepcopy(source_model)
        model.replace_head(5)
        model.compile(Adam(rate), SoftmaxCrossEntropy())
        if name == "frozen":
            model.freeze("features.*")
        model.fit(known_x, known_y - 5, epochs=40, batch_size=16, verbose=False)
        old_scores, _ = SCORES.forward(source_model.params["scores"], features_of(model, old_x), Mode())
        is_right = (model(x).argmax(1) == y - 5).float()
        is_still_right = (old_scores.argmax(1) == test.y[is_old]).float()
        accuracies[name] = [100 * float(is_right.mean()), 100 * float(is_still_right.mean())]
    titles = ["digits 5 to 9 (%)", "digits 0 to 4 (%)"]
    numbers = {name: dict(zip(titles, values, strict=True)) for name, values in accuracies.items()}
    return Result(numbers, bar_panels(accuracies, titles, (1, 1)))


STEPS = (nearest, few, tuned)
GUIDE = Guide(
    question="A network has learned some digits. Does that help it with digits that it has never seen?",
    minutes=15,
    needs=("neighbours", "convolution"),
    guesses={
        "few": Guess(
            "All digits lie in the middle, and you have one example of each. What recognizes new digits better?",
            ("the pixels", "the features of the network", "both are equal"),
            0,
            "69 % against 52 %: the features do not say where a stroke is, which is useful here. With digits at random "
            "places it is 21 % against 51 %.",
        ),
        "tuned": Guess(
            "The network is fine-tuned on the digits 5 to 9. What happens to what it knew of the digits 0 to 4?",
            ("nothing, they are other digits", "it is partly forgotten", "it improves"),
            1,
            "The features change so that they suit the new digits. Nothing in the cost keeps what the old ones need.",
        ),
    },
    sliders={
        "nearest": (
            Slider(
                "farthest",
                "farthest distance from the middle in pixels",
                (0, 1, 2, 4),
                {0: "All digits lie in the middle: similar pixels mean similar digits."},
            ),
        ),
        "few": (
            Slider(
                "farthest",
                "farthest distance from the middle in pixels",
                (0, 1, 2, 4),
                {
                    0: "The pixels win: transfer harms.",
                    1: "One pixel is enough: with few examples the features are better.",
                    4: "The pixels are hardly better than guessing.",
                },
            ),
        ),
        "tuned": (
            Slider("count", "examples of each new digit", (2, 5, 20), {20: "From scratch is now as good."}),
            Slider(
                "rate",
                "learning rate",
                (0.002, 0.01, 0.05),
                {
                    0.002: "The frozen network has not finished learning after 40 epochs.",
                    0.05: "Too large for the features: fine-tuning destroys them.",
                },
            ),
        ),
    },
    notices={
        "nearest": (
            "By pixels, the examples found lie at the same place as the test image, whatever digit they show.",
            "By features, they lie at other places, but mostly show the same digit.",
            "Set the distance to 0, and count again: now most of the pixels' examples are right.",
        ),
        "few": (
            "At the start the learned features are far above the pixels. More than half of this needs no training: "
            "with random weights, too, the largest value of a map does not depend on the place.",
            "Set the distance to 0. The order turns round: what the network has learned to ignore was useful here.",
            "The learned features always stay above the untrained ones.",
        ),
        "tuned": (
            "In four repetitions with 5 examples, the means were 78 % fine-tuned, 74 % from scratch and 60 % frozen; "
            "with 20 examples, fine-tuned and from scratch were equal, at 92 %. Single runs differ by several percent.",
            "The frozen network keeps all that it knew. The fine-tuned one loses a part, and at the largest rate "
            "nearly everything.",
        ),
    },
    exercises=(
        Exercise(
            "The network has 16 and then 32 convolutions of 3 x 3, and a last layer from 32 features to 5 scores, all "
            "with biases. How many numbers are trained if all but the last layer are frozen?",
            165,
            0.5,
            "5 · 32 weights and 5 biases; the 4,800 numbers of the convolutions stay as they are.",
            {160: "Each score has a bias too.", 4965: "That is the whole network."},
        ),
        Exercise(
            "A digit has the features (1, 0, 2). The examples are a 5 with (0, 0, 2), a 7 with (1, 2, 2) and a 9 with "
            "(3, 0, 0). Which digit is predicted?",
            5,
            0.1,
            "The distances are 1, 2 and √8: the 5 is nearest.",
            {9: "That is the farthest example."},
        ),
    ),
    functions={
        "nearest_digit": FunctionExercise(
            "nearest_digit(x, known_x, known_y): for each of x (N, D) the digit (N,) of the nearest of the examples "
            "known_x (M, D), whose digits are known_y (M,).",
            lambda x, known_x, known_y: known_y[((x[:, None] - known_x[None]) ** 2).sum(2).argmin(1)],
            lambda random: (random.normal(size=(6, 3)), random.normal(size=(8, 3)), random.integers(0, 10, 8)),
            "def nearest_digit(x, known_x, known_y):\n"
            "    distances = [np.linalg.norm(known_x - one, axis=1) for one in x]\n"
            "    return known_y[np.argmin(distances, axis=1)]",
        )
    },
    later="Most networks for photos start from trained weights: `load_weights`, `replace_head` and `freeze` do this.",
)
