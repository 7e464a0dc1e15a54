"""Overfitting.

A network with more parameters than training examples can memorize the examples: its training cost keeps falling while
the test accuracy, the share of right answers on other images, stagnates and the test cost rises (Nielsen 2015, chapter
3). This lesson shows this on 1,000 images, and then four remedies: more data, L2 regularization, dropout and early
stopping.

The network is 784-30-10 with large initial weights, the cross-entropy, rate 0.5 and batches of 10 from MNIST, as in the
book. Without MNIST, and in the small form, which the documentation shows, the network is trained on scikit-learn's 8x8
digits; the small form uses fewer images. No choice depends on the test images: early stopping holds out some of the
training images.
"""

from collections.abc import Mapping
from typing import Any

from pellucid import Model
from pellucid.data import Splits
from pellucid.lessons.digits import handwritten
from pellucid.lessons.guide import Exercise, FunctionExercise, Guess, Guide, Slider
from pellucid.lessons.lesson import LessonSettings, Result
from pellucid.losses import BinaryCrossEntropy
from pellucid.models import mlp
from pellucid.optim import SGD
from pellucid.optim.regularizers import L2
from pellucid.report.figures.curves import loss_curves
from pellucid.report.figures.series import curves, histories
from pellucid.training.callbacks import EarlyStopping


def network(splits: Splits, seed: int, hidden: int = 30, dropout: float = 0.0, **options: Any) -> Model:
    """Return the untrained network of this lesson; options: additional arguments of Model."""
    sizes = (splits.train.x[0].numel(), hidden, 10)
    net = mlp(sizes, dropout=dropout, init_weight="normal", init_bias="normal")
    return Model(net, BinaryCrossEntropy(), SGD(0.5), input_shape=splits.train.x.shape[1:], seed=seed, **options)


def train(model: Model, splits: Splits, epochs: int) -> list[dict[str, Any]]:
    """Train on all training images and return the history; its validation data are the test images."""
    return model.fit(splits.train, epochs=epochs, batch_size=10, validation=splits.test, verbose=False).rows


def overfitting_summary(rows: list[dict[str, Any]]) -> Mapping[str, Any]:
    """Return the accuracies and costs in a training history that show overfitting."""
    best_row = min(rows, key=lambda row: row["val_loss"])
    return {
        "training accuracy": rows[-1]["train_accuracy"],
        "test accuracy": rows[-1]["val_accuracy"],
        "lowest test cost": best_row["val_loss"],
        "in epoch": best_row["epoch"],
        "last test cost": rows[-1]["val_loss"],
    }


def memorised(settings: LessonSettings, hidden: int = 30) -> Result:
    """A thousand memorized images.

    The network has 23,860 parameters and is trained on 1,000 images (2,290 and 100 in the small form). After 200 epochs
    it classifies all of them correctly, and its training cost still falls. The test cost is lowest in the first quarter
    of the epochs and then rises: what the network learns after that applies only to these images. Nielsen trains for
    400 epochs and reports a test accuracy of 82.27 %.
    """
    splits = handwritten(settings, 100 if settings.small else 1000)
    rows = train(network(splits, settings.seed, hidden), splits, 200)
    numbers = {"data": splits.train.name, **overfitting_summary(rows)}
    columns = ("train_loss", "val_loss", "val_accuracy")
    return Result(numbers, histories({f"{len(splits.train):,} images": rows}, columns, log=["train_loss"]))


def more_data(settings: LessonSettings) -> Result:
    """More data.

    The same network learns from 200, 1,000, 5,000 and 50,000 images, for 10,000 steps each: 500 epochs of 200 images, 2
    epochs of 50,000. The gap between training and test accuracy closes. If more data are available, they are the best
    remedy for overfitting.
    """
    counts, steps = ((50, 200, 1438), 1000) if settings.small else ((200, 1000, 5000, 50_000), 10_000)
    accuracies: dict[str, list[float]] = {"training": [], "test": []}
    splits = handwritten(settings)
    for count in counts:
        model, images = network(splits, settings.seed), splits.train.subset(range(min(count, len(splits.train))))
        model.fit(images, epochs=max(1, steps * 10 // len(images)), batch_size=10, verbose=False)
        accuracies["training"].append(model.evaluate(images)["accuracy"])
        accuracies["test"].append(model.evaluate(splits.test)["accuracy"])
    figure = curves(accuracies, "training images", "accuracy", counts, log_x=True)
    return Result({"data": splits.train.name, "training images": list(counts), **accuracies}, figure)


def regularized(settings: LessonSettings, strength: float = 0.1) -> Result:
    """L2 regularization and dropout.

    L2 regularization adds λ/2n Σ w² to the cost, where n is the number of images: it penalizes large weights. Dropout
    sets each hidden neuron to 0 with probability one half in every step, so no neuron can depend on a single other one;
    the network with dropout has 100 hidden neurons. All networks learn from 1,000 images for 100 epochs (300 images for
    60 epochs in the small form). λ is 0.1 as in the book, which reports a test accuracy of 87.1 % after 400 epochs.
    With L2 regularization the test cost hardly rises.
    """
    splits = handwritten(settings, 300 if settings.small else 1000)
    models = {
        "neither": network(splits, settings.seed),
        f"L2, λ = {strength:g}": network(splits, settings.seed, regularizer=L2(strength)),
        "dropout 0.5, 100 neurons": network(splits, settings.seed, hidden=100, dropout=0.5),
    }
    rows_by_method = {name: train(model, splits, 60 if settings.small else 100) for name, model in models.items()}
    squares = {
        name: model.params["features"]["dense1"]["weight"].square().mean().item() for name, model in models.items()
    }
    numbers = {"data": splits.train.name, "mean squared weight of the first layer": squares}
    return Result(
        numbers | {name: overfitting_summary(rows) for name, rows in rows_by_method.items()},
        histories(rows_by_method, ("val_loss", "val_accuracy")),
    )


def stopped(settings: LessonSettings, patience: int = 10) -> Result:
    """Early stopping.

    A tenth of the 1,000 images (500 in the small form) is held out for validation. When the validation cost has not
    improved for 10 epochs, training stops, and the weights of the best epoch are restored. The test images, which had
    no influence on the training, then measure the result.
    """
    splits = handwritten(settings, 500 if settings.small else 1000)
    model = network(splits, settings.seed)
    stopping = EarlyStopping(patience, monitor="val_loss")
    rows = model.fit(splits.train, epochs=200, batch_size=10, validation=0.1, callbacks=[stopping], verbose=False).rows
    test_results = model.evaluate(splits.test)
    numbers = {"data": splits.train.name, "stopped after epoch": rows[-1]["epoch"], "best epoch": stopping.best_epoch}
    return Result(
        numbers | {"test accuracy": test_results["accuracy"], "test cost": test_results["loss"]}, loss_curves(rows)
    )


STEPS = (memorised, more_data, regularized, stopped)
GUIDE = Guide(
    question="A network answers every question that it has practised. What has it understood?",
    minutes=15,
    needs=("regression", "cost"),
    guesses={
        "memorised": Guess(
            "The network answers all training images correctly, and training goes on. What does the cost on other "
            "images do?",
            ("it falls to 0, too", "it stays where it is", "it rises again"),
            2,
            "The network becomes ever more certain, also in its wrong answers, and these get expensive.",
        ),
        "more_data": Guess(
            "With more training images and equally many steps, what happens to the accuracy on the training images?",
            ("it falls a little", "it rises", "it stays at 100 %"),
            0,
            "More images are harder to memorize. What is lost there is won on other images: the gap closes.",
        ),
        "stopped": Guess(
            "Why is the epoch to stop at not chosen by the test images?",
            (
                "the test images are too difficult",
                "the test accuracy would then be too optimistic",
                "it takes too long",
            ),
            1,
            "What was chosen because it did well on certain images is no fair measure on the same images.",
        ),
    },
    sliders={
        "memorised": (
            Slider(
                "hidden",
                "hidden neurons",
                (3, 10, 30, 100),
                {
                    3: "Too few to memorize 100 images, and also too few for other images: it underfits.",
                    100: "More room to memorize: the test cost turns earlier and rises further.",
                },
            ),
        ),
        "regularized": (
            Slider(
                "strength",
                "strength of the L2 penalty, λ",
                (0.1, 0.5, 2.0, 10.0),
                {
                    0.5: "The weights are far smaller, and the accuracy is about the same.",
                    10.0: "Too much: the weights are kept so small that even the training images are not learned.",
                },
            ),
        ),
        "stopped": (
            Slider(
                "patience",
                "epochs without improvement until it stops",
                (1, 3, 10),
                {1: "A single bad epoch ends the training, often by chance, and too early."},
            ),
        ),
    },
    notices={
        "memorised": (
            "Compare the first two plots: the training cost falls to the end (on a logarithmic scale), the test cost "
            "turns after its minimum and rises slowly.",
            "In the third plot the accuracy hardly moves after the first quarter. Accuracy alone would not show that "
            "something goes wrong; the cost does, since it counts how certain wrong answers are.",
        ),
        "more_data": (
            "Look at the distance between the two curves: it is what the network has only memorized. It shrinks from "
            "left to right, from both sides.",
        ),
        "regularized": (
            "Look at the right end of the plot of test costs, with λ = 0.1: the curve of the network without a remedy "
            "(blue) is highest. The differences are small in this figure; the numbers show them.",
            "In the numbers, L2 has the smaller weights. Dropout leaves them large and works in another way: the green "
            "curve is ragged, because other neurons are missing in every step.",
        ),
        "stopped": (
            "The circle marks the lowest validation loss. The curve to the right of it is the patience: the training "
            "waits whether it gets better again.",
            "With the patience 1, the training ends much sooner, and the test accuracy in the numbers is lower.",
        ),
    },
    notice_plots={"memorised": ((0, 1), (2,)), "regularized": ((0,), ())},
    exercises=(
        Exercise(
            "How many parameters (weights and biases) does a network 784-100-10 have?",
            79510,
            0.5,
            "784 · 100 + 100 for the hidden layer and 100 · 10 + 10 for the outputs.",
            {79400: "The biases are missing: 100 + 10."},
        ),
        Exercise(
            "The validation costs of the epochs are 5, 4, 3, 3.5, 3.2, 2.9, 3 and 3.1. After which epoch does early "
            "stopping with the patience 2 end the training?",
            5,
            0.1,
            "Epoch 3 is the best so far, and epochs 4 and 5 are no better. The 2.9 of epoch 6 is never seen.",
            {
                3: "That is the best epoch, whose weights are restored. To know it, two more epochs are needed.",
                8: "With the patience 3 it would reach 2.9 and go on. Here the two epochs after the third end it.",
            },
        ),
    ),
    functions={
        "step": FunctionExercise(
            "step(w, gradient, rate, strength, n): the weights after a step of gradient descent on the cost plus "
            "strength / (2 n) times the sum of w²; gradient is that of the cost alone.",
            lambda w, gradient, rate, strength, n: (1 - rate * strength / n) * w - rate * gradient,
            lambda random: (random.normal(size=5), random.normal(size=5), 0.5, 0.1, 1000),
            "def step(w, gradient, rate, strength, n):\n    return w - rate * (gradient + strength / n * w)",
        )
    },
    later="Every training of this library can hold out validation images, and reports the gap between the two curves.",
    studio="#play?problem=moons&noise=0.7&count=50&hidden=8~8&optimizer=adam&rate=0.03",
)
