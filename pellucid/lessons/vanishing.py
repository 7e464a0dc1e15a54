"""Vanishing gradients.

A deep network has several hidden layers. The gradient, which says how each weight and bias should change, is computed
from the last layer back to the first, in the backward pass. In a deep network of sigmoid neurons it shrinks from layer
to layer, so the first layers hardly learn; with large weights it can explode instead. It is a product of one factor per
layer, and such products are unstable (Nielsen 2015, chapter 5).

The networks are trained on MNIST. The small form, which the documentation shows, and any form without MNIST use the 8x8
digits of scikit-learn.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from pellucid import Model
from pellucid.data import Batch, Splits
from pellucid.data.dataset import float_images
from pellucid.layers.base import Mode
from pellucid.lessons.digits import handwritten
from pellucid.lessons.guide import Exercise, FunctionExercise, Guess, Guide, Slider
from pellucid.lessons.lesson import LessonSettings, Result
from pellucid.losses import BinaryCrossEntropy
from pellucid.models import mlp
from pellucid.nested import flatten
from pellucid.optim import SGD
from pellucid.optim.regularizers import L2
from pellucid.report.figures.series import curves, histories
from pellucid.sweep import backward
from pellucid.training.callbacks import Callback, Training
from pellucid.training.learner import Learner


def bias_gradients(gradients: Any) -> list[torch.Tensor]:
    """Return the gradients with respect to the biases of the hidden layers, first layer first."""
    layers = gradients["features"]
    return [layers[f"dense{k + 1}"]["bias"] for k in range(sum(name.startswith("dense") for name in layers))]


def chain(settings: LessonSettings, weight: float = 100.0, layers: int = 10) -> Result:
    """A chain of neurons.

    Each of ten layers has one sigmoid neuron with the weight w. σ'(z_k) is the slope of the sigmoid in layer k.
    The derivative of the last output with respect to the bias of layer k is σ'(z_k) · w σ'(z_k+1) · ... · w σ'(z_10).
    Since σ' is at most 1/4, the factors w σ' with |w| < 4 are below 1, and the product vanishes. In this step the
    biases keep every z at 0, where σ' = 1/4: with w = 1 each factor is 1/4; with w = 100 it is 25, and the gradient
    explodes.
    """
    factors: dict[str, list[float]] = {}
    for w in (1.0, weight):
        net = mlp((1,) * (layers + 2), output="none")  # one more layer, which copies the output of the last neuron
        params, _ = net.init((1,), torch.Generator())
        for path, tensor in flatten(params).items():
            tensor.fill_(w if path.endswith("weight") else -w / 2)
        params["head"]["scores"]["weight"].fill_(1.0)
        _, cache = net.forward(params, torch.full((1, 1), 0.5), Mode())
        _, gradients = backward(net, params, cache, torch.ones(1, 1))
        factors[f"w = {w:g}"] = [bias.item() for bias in bias_gradients(gradients)]
    numbers = {f"{name}: gradients of the first and the last bias": [row[0], row[-1]] for name, row in factors.items()}
    return Result(numbers, curves(factors, "layer", "gradient of the bias", log=True))


def network(splits: Splits, layers: int, seed: int, activation: str = "sigmoid", rate: float = 0.1) -> Model:
    """Return an untrained network with hidden layers of 30 neurons; λ is 5 for 50,000 images, and proportional to n."""
    init = "scaled" if activation == "sigmoid" else "he"
    net = mlp((splits.train.x[0].numel(), *[30] * layers, 10), activation, init_weight=init, init_bias="normal")
    penalty, shape = L2(5.0 * len(splits.train) / 50_000), splits.train.x.shape[1:]
    return Model(net, BinaryCrossEntropy(), SGD(rate), regularizer=penalty, input_shape=shape, seed=seed)


def layer_speeds(model: Learner, splits: Splits) -> list[float]:
    """Return the speed of each hidden layer: the norm of the gradient with respect to its biases, over 1,000 images."""
    batch = Batch(float_images(splits.train.x[:1000]), splits.train.y[:1000])
    _, gradients = model.objective.gradients(model.params, batch, Mode())
    return [bias.norm().item() for bias in bias_gradients(gradients)]


def depths(settings: LessonSettings, activation: str = "sigmoid") -> Result:
    """The gradient at the start.

    The speed of a layer is the norm of the gradient with respect to its biases, computed from 1,000 images before any
    training. In the book the two hidden layers of 784-30-30-10 have the speeds 0.07 and 0.31, three layers 0.012, 0.060
    and 0.283, and four layers 0.003, 0.017, 0.070 and 0.285. The speeds depend on the initial weights, so each number
    of this step is the median of ten draws.
    """
    splits = handwritten(settings, 1000)
    speeds_by_depth: dict[str, list[float]] = {}
    for layers in (2, 3, 4):
        draws = torch.tensor(
            [layer_speeds(network(splits, layers, settings.seed + k, activation), splits) for k in range(10)]
        )
        speeds_by_depth[f"{layers} hidden layers"] = draws.median(0).values.tolist()
    max_layers = len(speeds_by_depth["4 hidden layers"])
    padded_speeds = {name: [*[float("nan")] * (max_layers - len(row)), *row] for name, row in speeds_by_depth.items()}
    figure = curves(padded_speeds, "layers before the last hidden one", "speed", range(1 - max_layers, 1), log=True)
    return Result({"data": splits.train.name, **speeds_by_depth}, figure)


class SpeedRecorder(Callback):
    """A callback that records the speed of each hidden layer after each epoch."""

    def __init__(self, splits: Splits) -> None:
        self.splits = splits
        self.rows: list[list[float]] = []

    def on_epoch_end(self, training: Training, row: Any) -> None:
        """Record the speeds."""
        self.rows.append(layer_speeds(training.model, self.splits))


def plateau(settings: LessonSettings) -> Result:
    """The gradient during training.

    A network of four hidden layers learns from 1,000 images, for 60 epochs, in the small form for 30, with the learning
    rate 0.5. At the start,
    the speed of the first layer is a hundredth of the speed of the last one. As long as the first layer is slow, the
    network outputs the frequencies f of the classes for every image, and its cost stays at the value for these outputs,
    Σ -f ln f - (1 - f) ln(1 - f). When all layers have reached the same speed, the cost begins to fall.
    """
    splits = handwritten(settings, 1000)
    model, recorder = network(splits, 4, settings.seed, rate=0.5), SpeedRecorder(splits)
    epochs = 30 if settings.small else 60
    rows = model.fit(splits.train, epochs=epochs, batch_size=10, callbacks=[recorder], verbose=False).rows
    class_fractions = torch.bincount(splits.train.y).double() / len(splits.train)
    frequency_cost = (
        -(class_fractions * class_fractions.log() + (1 - class_fractions) * (1 - class_fractions).log()).sum().item()
    )
    costs = [row["train_loss"] for row in rows]
    numbers = {
        "data": splits.train.name,
        "last layer's speed over the first's, first and last epoch": [
            row[-1] / row[0] for row in recorder.rows[:: epochs - 1]
        ],
        "cost of the frequencies": frequency_cost,
        "epochs until the cost is 5 % below that": sum(cost > 0.95 * frequency_cost for cost in costs),
        "last cost": costs[-1],
    }
    speeds_by_layer = {f"hidden layer {k + 1}": list(row) for k, row in enumerate(zip(*recorder.rows, strict=True))}
    return Result(numbers, curves(speeds_by_layer | {"training cost": costs}, "epoch", "speed; cost", log=True))


def accuracies(settings: LessonSettings) -> Result:
    """Accuracies with depth, and ReLUs.

    More layers of sigmoids do not help: after 30 epochs the book reports 96.48, 96.90, 96.57 and 96.53 % with one to
    four hidden layers. This step trains networks of one and of four sigmoid layers, and a network of four ReLU layers
    with weights from N(0, 2/n_in), on 10,000 images for 10 epochs; in the small form, on the 1,437 digits for 4 epochs.
    The derivative of a ReLU is 1 wherever it is active.
    """
    splits = handwritten(settings, 10_000)
    architectures: Sequence[tuple[str, int, str]] = (
        ("1 sigmoid layer", 1, "sigmoid"), ("4 sigmoid layers", 4, "sigmoid"), ("4 ReLU layers", 4, "relu"),
    )  # fmt: skip
    rows_by_architecture, epochs = {}, 4 if settings.small else 10
    for name, layers, activation in architectures:
        model = network(splits, layers, settings.seed, activation)
        rows_by_architecture[name] = model.fit(
            splits.train, epochs=epochs, batch_size=10, validation=splits.test, verbose=False
        ).rows
    numbers = {
        f"{name}: test accuracy after the first and the last epoch": [rows[0]["val_accuracy"], rows[-1]["val_accuracy"]]
        for name, rows in rows_by_architecture.items()
    }
    return Result(
        {"data": splits.train.name, **numbers}, histories(rows_by_architecture, ("train_loss", "val_accuracy"))
    )


STEPS = (chain, depths, plateau, accuracies)
GUIDE = Guide(
    question="More layers can compute more. Why do they learn less?",
    minutes=15,
    needs=("backprop", "initialisation"),
    guesses={
        "chain": Guess(
            "On its way back through a layer, the gradient is multiplied by 1/4. How much of it is left after nine "
            "layers?",
            ("about a 36th", "about a 500th", "about a 260,000th"),
            2,
            "1/4 to the power of 9 is 1 / 262,144.",
        ),
        "depths": Guess(
            "In which hidden layer of a network of sigmoids do the biases have the largest gradients at the start?",
            ("in the first, near the input", "in the last, near the output", "about equal in all"),
            1,
            "The gradient begins at the output and loses a factor in every layer that it passes.",
        ),
        "accuracies": Guess(
            "After the same few epochs, which network of sigmoids is better?",
            ("that of four hidden layers, since it can compute more", "that of one hidden layer", "both are equal"),
            1,
            "The first layers of the deep network have hardly learned yet; what follows them has little to work with.",
        ),
    },
    sliders={
        "chain": (
            Slider(
                "weight",
                "weight w of the second chain",
                (2.0, 4.0, 8.0, 100.0),
                {
                    4.0: "The factor is 4 · 1/4 = 1: the gradient passes unchanged.",
                    8.0: "The factor is 2: the gradient doubles in every layer.",
                },
            ),
            Slider("layers", "layers", (2, 5, 10, 20)),
        ),
        "depths": (
            Slider(
                "activation",
                "activation of the hidden layers",
                ("sigmoid", "relu"),
                {"relu": "The slope of an active ReLU is 1: the lines are nearly flat."},
            ),
        ),
    },
    notices={
        "chain": (
            "The vertical axis is logarithmic: a straight line is one factor per layer. Read it from right to left, "
            "as the gradient goes. With w = 1 it falls to about a millionth, with w = 100 it grows beyond all use.",
            "Only w = 4 keeps it, and only because every z is 0 here: where a sigmoid is flatter, 4 is not enough.",
        ),
        "depths": (
            "The three lines lie on one another: how fast a layer learns depends on its distance from the output, and "
            "not on the depth of the network.",
            'A step to the left divides the speed by about five. With "relu" it hardly changes.',
        ),
        "plateau": (
            "Follow the curves from the left: the first hidden layer is at the bottom, each further one higher. The "
            "cost at the top is flat all the while.",
            "When the four curves have come together, after about 20 epochs in the small form, the cost begins to "
            "sink. What looked like the end of the training was its beginning.",
        ),
        "accuracies": (
            "In the right plot, four sigmoid layers stay at 10 %, the accuracy of guessing. Four ReLU layers are "
            "ahead of one sigmoid layer: the depth was not to blame, the sigmoids were.",
        ),
    },
    notice_plots={"accuracies": ((1,),)},
    exercises=(
        Exercise(
            "A chain of five neurons has w = 1 and every z = 0. What is the derivative of the last output with "
            "respect to the first bias, in thousandths? (two decimals)",
            0.98,
            0.01,
            "Five factors of 1/4: 1/1024 = 0.00098.",
            {3.91: "That is 1/4 to the power of 4. The derivative of the first neuron itself counts, too."},
        ),
        Exercise(
            "A sigmoid neuron outputs a = 0.9. How large must its weight be so that the factor w a (1 - a) is 1? "
            "(one decimal)",
            11.1,
            0.05,
            "a (1 - a) = 0.09, and 1 / 0.09 = 11.1. But a large weight also makes z large, and the slope smaller.",
            {4: "That is right for a = 0.5, where the slope is 1/4."},
        ),
    ),
    functions={
        "chain": FunctionExercise(
            "chain(z, w): the derivative of the last output with respect to the first bias, in a chain of sigmoid "
            "neurons with the weighted inputs z (L,); w (L - 1,) are the weights from each neuron to the next.",
            lambda z, w: np.prod(w) / np.prod(2 + np.exp(z) + np.exp(-z)),
            lambda random: (random.normal(size=4), random.normal(size=3)),
            "def chain(z, w):\n"
            "    a = 1 / (1 + np.exp(-z))\n"
            "    derivative = a[0] * (1 - a[0])\n"
            "    for k in range(len(w)):\n"
            "        derivative = derivative * w[k] * a[k + 1] * (1 - a[k + 1])\n"
            "    return derivative",
        )
    },
    later="ReLUs, initial weights, normalization and shortcuts around layers are there to keep this product near 1.",
    studio="#play?hidden=8~8~8~8~8~8&activation=sigmoid",
)
