"""Overfitting.

A network with more parameters than training examples can memorize the examples: its training cost keeps falling while
the test accuracy stagnates and the test cost rises (Nielsen 2015, chapter 3). This lesson shows this on 1,000 images,
and then four remedies: more data, L2 regularization, dropout and early stopping.

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
from pellucid.lessons.lesson import Result, Setting
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


def memorised(setting: Setting) -> Result:
    """A thousand memorized images.

    The network has 23,860 parameters and is trained on 1,000 images (2,290 and 100 in the small form). After 200 epochs
    it classifies all of them correctly, and its training cost still falls. The test cost is lowest in the first quarter
    of the epochs and then rises: what the network learns after that applies only to these images. Nielsen trains for
    400 epochs and reports a test accuracy of 82.27 %.
    """
    splits = handwritten(setting, 100 if setting.small else 1000)
    rows = train(network(splits, setting.seed), splits, 200)
    numbers = {"data": splits.train.name, **overfitting_summary(rows)}
    columns = ("train_loss", "val_loss", "val_accuracy")
    return Result(numbers, histories({f"{len(splits.train):,} images": rows}, columns, log=["train_loss"]))


def more_data(setting: Setting) -> Result:
    """More data.

    The same network learns from 200, 1,000, 5,000 and 50,000 images, for 10,000 steps each: 500 epochs of 200 images, 2
    epochs of 50,000. The gap between training and test accuracy closes. If more data are available, they are the best
    remedy for overfitting.
    """
    counts, steps = ((50, 200, 1438), 1000) if setting.small else ((200, 1000, 5000, 50_000), 10_000)
    accuracies: dict[str, list[float]] = {"training": [], "test": []}
    splits = handwritten(setting)
    for count in counts:
        model, images = network(splits, setting.seed), splits.train.subset(range(min(count, len(splits.train))))
        model.fit(images, epochs=max(1, steps * 10 // len(images)), batch_size=10, verbose=False)
        accuracies["training"].append(model.evaluate(images)["accuracy"])
        accuracies["test"].append(model.evaluate(splits.test)["accuracy"])
    figure = curves(accuracies, "training images", "accuracy", counts, log_x=True)
    return Result({"data": splits.train.name, "training images": list(counts), **accuracies}, figure)


def regularized(setting: Setting) -> Result:
    """L2 regularization and dropout.

    L2 regularization adds λ/2n Σ w² to the cost, where n is the number of images: it penalizes large weights. Dropout
    sets each hidden neuron to 0 with probability one half in every step, so no neuron can depend on a single other one;
    the network with dropout has 100 hidden neurons. All networks learn from 1,000 images for 100 epochs (300 images for
    60 epochs in the small form). λ is 0.1 as in the book, which reports a test accuracy of 87.1 % after 400 epochs.
    With L2 regularization the test cost hardly rises.
    """
    splits = handwritten(setting, 300 if setting.small else 1000)
    models = {
        "neither": network(splits, setting.seed),
        "L2, λ = 0.1": network(splits, setting.seed, regularizer=L2(0.1)),
        "dropout 0.5, 100 neurons": network(splits, setting.seed, hidden=100, dropout=0.5),
    }
    rows_by_method = {name: train(model, splits, 60 if setting.small else 100) for name, model in models.items()}
    squares = {
        name: model.params["features"]["dense1"]["weight"].square().mean().item() for name, model in models.items()
    }
    numbers = {"data": splits.train.name, "mean squared weight of the first layer": squares}
    return Result(
        numbers | {name: overfitting_summary(rows) for name, rows in rows_by_method.items()},
        histories(rows_by_method, ("val_loss", "val_accuracy")),
    )


def stopped(setting: Setting) -> Result:
    """Early stopping.

    A tenth of the 1,000 images (500 in the small form) is held out for validation. When the validation cost has not
    improved for 10 epochs, training stops, and the weights of the best epoch are restored. The test images, which had
    no influence on the training, then measure the result.
    """
    splits = handwritten(setting, 500 if setting.small else 1000)
    model = network(splits, setting.seed)
    stopping = EarlyStopping(10, monitor="val_loss")
    rows = model.fit(splits.train, epochs=200, batch_size=10, validation=0.1, callbacks=[stopping], verbose=False).rows
    test_results = model.evaluate(splits.test)
    numbers = {"data": splits.train.name, "stopped after epoch": rows[-1]["epoch"], "best epoch": stopping.best_epoch}
    return Result(
        numbers | {"test accuracy": test_results["accuracy"], "test cost": test_results["loss"]}, loss_curves(rows)
    )


STEPS = (memorised, more_data, regularized, stopped)
