"""The cost function.

The cost is the number that learning makes small: it compares the outputs with the targets, the outputs that are wanted.
The quadratic cost makes a neuron that is badly wrong learn slowly; the cross-entropy does not (Nielsen 2015, chapter
3). The first step explains this by the gradient of one neuron. The second shows it in a network for handwritten digits
whose initial outputs are wrong. The third compares the accuracies that both costs reach from usual initial weights,
drawn from N(0, 1 / n_in), where n_in is the number of a neuron's inputs.

The networks are trained on MNIST, 784-30-10 as in the book, with its learning rates: 3.0 for the quadratic cost and 0.5
for the cross-entropy. The small form, which the documentation shows, and any form without MNIST use the 8x8 digits of
scikit-learn.
"""

import numpy as np
import torch

from pellucid import Model
from pellucid.data import Splits
from pellucid.layers import Sigmoid
from pellucid.layers.base import Mode
from pellucid.lessons.digits import handwritten
from pellucid.lessons.guide import Exercise, FunctionExercise, Guess, Guide, Slider
from pellucid.lessons.lesson import LessonSettings, Result
from pellucid.losses import BinaryCrossEntropy, Quadratic
from pellucid.models import mlp
from pellucid.optim import SGD
from pellucid.report.figures.series import curves, histories
from pellucid.report.figures.style import INK


def slowdown(settings: LessonSettings, output: float = 0.98, wanted: float = 0.0) -> Result:
    """The gradient of a wrong neuron.

    A sigmoid neuron with the weighted input z outputs a = σ(z), between 0 and 1, and its target is 0. With the
    quadratic cost a²/2 the gradient with respect to its weighted input z is a · σ'(z) = a² (1 - a): it is largest,
    4/27, at a = 2/3, and vanishes when the neuron is most wrong, at a = 1. With the cross-entropy the derivative σ'(z)
    cancels, and the gradient is a: the more wrong, the faster the neuron learns.
    """
    a = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    z, target = a.logit(), torch.full_like(a, wanted)
    outputs, cache = Sigmoid().forward({}, z, Mode())
    _, dy = Quadratic("sum").compute(outputs, target)
    quadratic_dz, _ = Sigmoid().backward({}, cache, dy)
    _, cross_entropy_dz = BinaryCrossEntropy(reduction="sum").compute(z, target)
    largest_index = int(quadratic_dz.abs().argmax())
    index = round(1000 * output) - 1  # of the entry of a that is nearest to the output
    numbers = {
        "largest quadratic gradient": quadratic_dz[largest_index].item(),
        "at the output": a[largest_index].item(),
        f"quadratic gradient at {a[index]:g}": quadratic_dz[index].item(),
        f"cross-entropy gradient at {a[index]:g}": cross_entropy_dz[index].item(),
    }
    gradients = {"quadratic": quadratic_dz, "cross-entropy": cross_entropy_dz}
    figure = curves(gradients, f"output a, target {wanted:g}", "gradient with respect to z", a.tolist())
    figure.axes[0].axvline(a[index].item(), color=INK, linestyle="--", linewidth=1)
    return Result(numbers, figure)


def train(splits: Splits, seed: int, epochs: int, bias: float | None = None) -> dict[str, list[dict[str, float]]]:
    """Return the training history for each cost. bias: the initial bias of the outputs, drawn by default."""
    sizes, rows_by_cost = (splits.train.x[0].numel(), 30, 10), {}
    for name, output, loss, rate in (
        ("quadratic", "sigmoid", Quadratic(), 3.0),
        ("cross-entropy", "none", BinaryCrossEntropy(), 0.5),
    ):
        net = mlp(sizes, output=output, init_weight="scaled", init_bias="normal")
        model = Model(net, loss, SGD(rate), input_shape=splits.train.x.shape[1:], seed=seed)
        if bias is not None:
            model.params["head"]["scores"]["bias"].fill_(bias)
        rows_by_cost[name] = model.fit(
            splits.train, epochs=epochs, batch_size=10, validation=splits.test, verbose=False
        ).rows
    return rows_by_cost


def saturated(settings: LessonSettings, bias: float = 8.0) -> Result:
    """Ten outputs that start wrong.

    All biases of the output layer start at 8, so every output begins near 1 although nine in ten targets are 0. With
    the quadratic cost, the gradient is small until training has left the flat end of the sigmoid; with the
    cross-entropy, it is large from the first step. The network learns from the first 2,000 images for 20 epochs.
    """
    splits = handwritten(settings, 400 if settings.small else 2000)
    rows_by_cost = train(splits, settings.seed, 10 if settings.small else 20, bias)
    numbers = {"data": splits.train.name} | {
        f"{name}: test accuracy after epochs 1, 5 and the last": [rows[k]["val_accuracy"] for k in (0, 4, -1)]
        for name, rows in rows_by_cost.items()
    }
    return Result(numbers, histories(rows_by_cost, ("train_loss", "val_accuracy")))


def accuracies(settings: LessonSettings) -> Result:
    """Both costs from usual weights.

    From usual weights, both costs reach nearly the same accuracy. Nielsen starts from N(0, 1), which saturates many
    hidden neurons, and reports 95.42 % with the quadratic cost and 95.49 % with the cross-entropy after 30 epochs on
    50,000 images. In this step the weights start from N(0, 1/n_in), which saturates few neurons, so 10 epochs on the
    same images suffice for about the same accuracy. The two costs are in different units, so only the accuracies are
    comparable.
    """
    splits = handwritten(settings)
    rows_by_cost = train(splits, settings.seed, 10)
    numbers = {"data": splits.train.name, "training images": len(splits.train)} | {
        f"{name}: test accuracy": rows[-1]["val_accuracy"] for name, rows in rows_by_cost.items()
    }
    return Result(numbers, histories(rows_by_cost, ("train_loss", "val_accuracy")))


STEPS = (slowdown, saturated, accuracies)
GUIDE = Guide(
    question="Errors can be measured in different ways. Does the choice change how fast a network learns?",
    minutes=12,
    needs=("neuron", "backprop"),
    guesses={
        "slowdown": Guess(
            "The target is 0. At which output does the quadratic cost push a neuron hardest?",
            ("near 1, where the error is largest", "at 2/3", "at 1/2, where the sigmoid is steepest"),
            1,
            "The push is error times slope, a · a (1 - a). The error grows with a, the slope falls to 0; between "
            "them, at 2/3, the product is largest.",
        ),
        "saturated": Guess(
            "All ten outputs begin near 1. After five epochs, how do the two networks compare?",
            (
                "both have recovered",
                "that with the cross-entropy is far ahead",
                "that with the quadratic cost is ahead, since its rate is six times as high",
            ),
            1,
            "With the quadratic cost, the flat sigmoids pass on almost no gradient, and a high rate cannot make up "
            "for it.",
        ),
        "accuracies": Guess(
            "The initial weights are now usual ones. Which cost gives the higher accuracy after ten epochs?",
            ("the cross-entropy, by far", "they are about equal", "the quadratic cost, by far"),
            1,
            "The cost decides how fast a saturated output learns; with usual weights, few outputs are saturated.",
        ),
    },
    sliders={
        "slowdown": (
            Slider(
                "output",
                "output a at the dashed line",
                (0.02, 0.3, 0.667, 0.9, 0.98),
                {
                    0.667: (
                        "The quadratic cost pushes hardest here, with 4/27, and still far less than the cross-entropy."
                    ),
                    0.02: "Nearly right: both gradients are small, as they should be.",
                },
            ),
            Slider("wanted", "target", (0.0, 0.5, 1.0), {1.0: "The mirror image: now outputs near 0 are badly wrong."}),
        ),
        "saturated": (
            Slider(
                "bias",
                "initial bias of the outputs",
                (0.0, 2.0, 4.0, 8.0),
                {
                    0.0: "The outputs begin near 1/2: the two networks come equally far.",
                    8.0: "The outputs begin at about 0.9997, where the slope of the sigmoid is 0.0003.",
                },
            ),
        ),
    },
    notices={
        "slowdown": (
            "At the right end the two curves are farthest apart: the cross-entropy is at 1, the quadratic cost at 0. "
            "This is where a wrong neuron has to learn.",
            "At the left end both are near 0. The quadratic cost is even flatter there: it forgives small errors "
            "sooner.",
        ),
        "saturated": (
            "In the right plot, the orange curve climbs after a few epochs while the blue one stays at 10 %, the "
            "accuracy of guessing, for several more.",
            "In the left plot both costs fall from the beginning. The blue one falls because outputs leave 1 for all "
            "classes alike, which says nothing about the digit yet. The two heights cannot be compared.",
        ),
        "accuracies": (
            "In the right plot the curves lie close together after the second epoch. The cross-entropy has its "
            "advantage in the first one.",
        ),
    },
    notice_plots={"saturated": ((1,), (0,)), "accuracies": ((1,),)},
    exercises=(
        Exercise(
            "An output is 0.9, its target 0. How large is the gradient of the quadratic cost a²/2 with respect to z?",
            0.081,
            0.0005,
            "a² (1 - a) = 0.81 · 0.1 = 0.081.",
            {0.9: "That is the gradient of the cross-entropy.", 0.09: "That is the slope a (1 - a); multiply by a."},
        ),
        Exercise(
            "The target is 1 and the output 0.5. How large is the cross-entropy -ln a? (three decimals)",
            0.693,
            0.001,
            "-ln 0.5 = ln 2 = 0.693.",
            {0.125: "That is the quadratic cost.", 0.301: "That is the logarithm with base 10; ln has the base e."},
        ),
    ),
    functions={
        "cross_entropy": FunctionExercise(
            "cross_entropy(z, y): the mean over the rows of the sum of -y ln a - (1 - y) ln(1 - a), where a are the "
            "sigmoids of z (N, C) and y (N, C) the targets.",
            lambda z, y: (np.logaddexp(0, z) - y * z).sum(1).mean(),
            lambda random: (random.normal(size=(5, 3)), random.integers(0, 2, (5, 3)).astype(float)),
            "def cross_entropy(z, y):\n"
            "    a = 1 / (1 + np.exp(-z))\n"
            "    return np.mean(np.sum(-y * np.log(a) - (1 - y) * np.log(1 - a), axis=1))",
        ),
        "gradient": FunctionExercise(
            "gradient(z, y): the derivatives (C,) of the quadratic cost, half the sum of (a - y)², with respect to z "
            "(C,), where a are the sigmoids of z and y (C,) the targets.",
            lambda z, y: ((np.tanh(z / 2) + 1) / 2 - y) / (4 * np.cosh(z / 2) ** 2),
            lambda random: (random.normal(size=4), random.random(4)),
            "def gradient(z, y):\n    a = 1 / (1 + np.exp(-z))\n    return (a - y) * a * (1 - a)",
        ),
    },
    later="The softmax has a cost that fits it in the same way: slope and cost cancel, and the error remains.",
    studio="#play?problem=xor&activation=sigmoid&loss=quadratic&init=normal",
)
