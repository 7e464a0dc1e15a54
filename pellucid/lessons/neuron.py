"""One sigmoid neuron.

A sigmoid neuron has a weight w and a bias b. For an input x it outputs the activation a = σ(z), where z = w x + b is
its weighted input and σ(z) = 1 / (1 + exp(-z)) is the sigmoid: a smooth step that is 1/2 at z = 0, nearly 0 for very
negative z and nearly 1 for large z. A cost, or loss, measures how far the output is from the target y, the output that
is wanted. Learning changes w and b in small steps that lower the cost; the learning rate η is the length of a step in
relation to the slope of the cost. In this lesson, the target for the input 1 is 0. How fast the neuron learns this
depends on the cost (Nielsen 2015, chapter 3).
"""

from typing import Any

import numpy as np
import torch

from pellucid import SGD, BinaryCrossEntropy, Dense, Layer, Loss, Mode, Model, Quadratic, Sequential, Sigmoid
from pellucid.data.source import Batch
from pellucid.lessons.guide import Exercise, FunctionExercise, Guess, Guide, Slider
from pellucid.lessons.lesson import LessonSettings, Result
from pellucid.report.figures.series import colours, legend_above, name_axes, plots_in_rows

X, TARGET = torch.tensor([[1.0]]), torch.tensor([[0.0]])
INITIAL_PARAMS = ((0.6, 0.9), (2.0, 2.0))  # weight and bias
RATE, EPOCHS = 0.15, 300
COSTS: dict[str, tuple[Layer, Loss]] = {
    "quadratic": (Sequential(dense=Dense(1), sigmoid=Sigmoid()), Quadratic()),
    "cross-entropy": (Sequential(dense=Dense(1)), BinaryCrossEntropy()),  # this loss contains the sigmoid
}


def neuron(cost: str, weight: float, bias: float, rate: float = RATE) -> Model:
    """Return the neuron with this weight and bias, as a network of one layer with a cost of COSTS."""
    model = Model(*COSTS[cost], SGD(rate), metrics="mae", input_shape=(1,))
    model["dense"].params["weight"].fill_(weight)
    model["dense"].params["bias"].fill_(bias)
    return model


def learning(settings: LessonSettings, weight: float = 2.0, rate: float = RATE) -> Result:
    """Learning from a good start and from a bad one.

    The neuron is trained from two starts: with w = 0.6 and b = 0.9 it outputs 0.82, and with w = 2 and b = 2 it outputs
    0.98, almost the largest possible error. It is trained for 300 epochs with a learning rate of 0.15. With the
    quadratic cost, half the squared error, the neuron with the larger error hardly learns for the first 150 epochs,
    because it is saturated: its z lies where the sigmoid is flat. With the cross-entropy, the cost of the next step, it
    learns faster at the beginning than the other neuron.

    The target is 0, so the mean absolute error is the output itself.
    """
    numbers: dict[str, Any] = {}
    starts = (INITIAL_PARAMS[0], (weight, INITIAL_PARAMS[1][1]))
    figure, plots = plots_in_rows(list(COSTS), 2, 3.0)
    for plot, cost in zip(plots, COSTS, strict=True):
        for start, colour in zip(starts, colours(len(starts)), strict=True):
            model = neuron(cost, *start, rate)
            first_output = float(model.predict(X))
            history = model.fit(X, TARGET, epochs=EPOCHS, verbose=False)
            outputs = [first_output, *history["train_mae"]]
            name = f"w = {start[0]:g}, b = {start[1]:g}"
            plot.plot(outputs, color=colour, linewidth=1.7, label=name)
            last_weight, last_bias = (float(value) for value in model["dense"].params.values())
            results = {"first": first_output, "after 150 epochs": outputs[150], "last": outputs[-1]}
            numbers[f"{cost}, {name}"] = {**results, "weight": last_weight, "bias": last_bias}
        plot.set_ylim(0, 1)
        name_axes(plot, "epoch", "output")
    legend_above(plots[0])
    return Result(numbers, figure)


def derivative(cost: str, weight: float, bias: float, x: float, target: float) -> float:
    """Return ∂C/∂w, the slope of the cost along w, by one forward and one backward pass."""
    model = neuron(cost, weight, bias)
    _, gradients = model.supervised.gradients(
        model.params, Batch(torch.tensor([[x]]), torch.tensor([[target]])), Mode()
    )
    return float(gradients["dense"]["weight"])


def derivatives(settings: LessonSettings, x: float = 1.0, target: float = 0.0) -> Result:
    """Why the saturated neuron learns slowly.

    ∂C/∂w is the slope of the cost C when only the weight w changes; a step changes w by -η ∂C/∂w. σ'(z) is the slope of
    the sigmoid. The derivative of the quadratic cost C = ½ (a - y)² is

    ∂C/∂w = (a - y) σ'(z) x,  with σ'(z) = a (1 - a)

    If a is near 1, the factor σ'(z) is near 0, and the step is small although the error a - y is large. For the
    cross-entropy C = -y ln a - (1 - y) ln(1 - a), this factor cancels:

    ∂C/∂w = (a - y) x

    The derivatives below are computed by the network's backward pass. The figure shows them as functions of z.
    """
    numbers: dict[str, Any] = {}
    figure, (plot,) = plots_in_rows([f"derivative with respect to the weight, input {x:g}, target {target:g}"], 1, 3.0)
    biases = torch.linspace(-6, 6, 61).tolist()  # of a neuron with weight 0, so z = b
    for cost, colour in zip(COSTS, colours(len(COSTS)), strict=True):
        for weight, bias in INITIAL_PARAMS:
            numbers[f"{cost}, w = {weight:g}, b = {bias:g}"] = derivative(cost, weight, bias, x, target)
        slopes = [derivative(cost, 0.0, bias, x, target) for bias in biases]
        plot.plot(biases, slopes, color=colour, linewidth=1.7, label=cost)
    legend_above(plot)
    name_axes(plot, "weighted input z", "∂C/∂w")
    return Result(numbers, figure)


STEPS = (learning, derivatives)
GUIDE = Guide(
    question="Does a neuron learn fastest when it is most wrong, as people often do?",
    minutes=12,
    needs=("perceptron",),
    guesses={
        "learning": Guess(
            "Two neurons should output 0. One outputs 0.82, the other 0.98. With the quadratic cost, which one "
            "improves faster at first?",
            ("the one at 0.98, since its error is larger", "the one at 0.82", "both improve equally fast"),
            1,
            "At 0.98 the sigmoid is so flat that a change of the weight hardly changes the output, nor the cost.",
        ),
        "derivatives": Guess(
            "A neuron has z = 6 and outputs 0.9975; the target is 0 and the input 1. How large is the derivative of "
            "the quadratic cost?",
            ("about 1, like the error", "about 0.5, half the squared error", "about 0.0025"),
            2,
            "The error of nearly 1 is multiplied by the slope of the sigmoid, 0.9975 · 0.0025.",
        ),
    },
    sliders={
        "learning": (
            Slider(
                "weight",
                "initial weight of the second neuron (its bias is 2)",
                (0.0, 1.0, 2.0, 4.0),
                {4.0: "It begins at 0.9975. With the quadratic cost, 300 epochs change next to nothing."},
            ),
            Slider(
                "rate",
                "learning rate η",
                (0.05, 0.15, 0.5, 2.0),
                {2.0: "Large steps help both, but the flat beginning of the quadratic cost remains."},
            ),
        ),
        "derivatives": (
            Slider(
                "x",
                "input x",
                (0.0, 0.5, 1.0, 2.0),
                {0.0: "An input of 0 makes the weight irrelevant: it does not learn, with any cost."},
            ),
            Slider(
                "target",
                "target y",
                (0.0, 0.5, 1.0),
                {
                    0.5: "Both curves are 0 at z = 0, where the output is 1/2.",
                    1.0: "Now the weight has to rise: the slope is negative, and flat where z is very negative.",
                },
            ),
        ),
    },
    notices={
        "learning": (
            "On the left, the orange curve is flat for about 150 epochs before it falls: the worst output learns last. "
            "On the right, the same neuron falls at once and steeper than the other.",
            "All curves become flat near 0 too. There this does no harm, since the output is nearly right.",
        ),
        "derivatives": (
            "Go to the right, where the output approaches 1 and the error grows. The orange curve of the cross-entropy "
            "rises with the error. The blue one of the quadratic cost has its peak near z = 0.7 and falls back to 0.",
            "The two curves have the same sign everywhere: both costs agree on the direction, and differ in the speed.",
        ),
    },
    exercises=(
        Exercise(
            "How large is the slope of the sigmoid, a (1 - a), at its largest, where a = 1/2?",
            0.25,
            0.001,
            "1/2 · (1 - 1/2) = 1/4. So a sigmoid passes on at most a quarter of a slope.",
            {0.5: "That is the output a itself. The slope is a times 1 - a."},
        ),
        Exercise(
            "A neuron with w = 2, b = 2, x = 1 outputs 0.982; its target is 0 and η = 0.15. What is w after one step "
            "with the cross-entropy? (three decimals)",
            1.853,
            0.001,
            "∂C/∂w = (a - y) x = 0.982, so w = 2 - 0.15 · 0.982 = 1.853.",
            {
                1.9974: "That is the step with the quadratic cost, which contains the slope 0.0177.",
                2.147: "A step goes against the slope: subtract it.",
            },
        ),
    ),
    functions={
        "derivative": FunctionExercise(
            "derivative(w, b, x, y): ∂C/∂w of the quadratic cost C = ½ (a - y)² of a sigmoid neuron, for numbers w, b, "
            "x and y.",
            lambda w, b, x, y: (1 / (1 + np.exp(-w * x - b)) - y) * x / (2 + np.exp(w * x + b) + np.exp(-w * x - b)),
            lambda random: tuple(random.normal(size=4).tolist()),
            "def derivative(w, b, x, y):\n    a = 1 / (1 + np.exp(-(w * x + b)))\n    return (a - y) * a * (1 - a) * x",
        )
    },
    later="Classifiers end with the cross-entropy for this reason. In hidden layers, flat sigmoids remain a problem.",
    studio="#play?problem=clusters&hidden=~&loss=binary_cross_entropy",
)
