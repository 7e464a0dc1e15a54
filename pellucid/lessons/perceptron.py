"""The perceptron.

A perceptron has a weight for each input and one further number, its bias. It multiplies each input x by its weight w,
adds the products and the bias b, and outputs 1 if this weighted sum is positive, and 0 otherwise. It is an early model
of a neuron (Rosenblatt 1958), and equals a `Dense` layer with one output, followed by a threshold.

A logic gate computes one bit, 0 or 1, from others. AND is 1 if both inputs are 1, OR if at least one is, NAND ("not
AND") unless both are, and XOR ("exclusive or") if exactly one is.
"""

from itertools import product
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid import SGD, Dense, Mode, Model, Quadratic, mlp
from pellucid.lessons.guide import Exercise, FunctionExercise, Guess, Guide, Handles, Slider
from pellucid.lessons.lesson import LessonSettings, NumberRows, Result
from pellucid.report.figures.circuit import circuit
from pellucid.report.figures.plane import half_planes, labelled_points
from pellucid.report.figures.series import colours, name_axes, plots_in_rows
from pellucid.report.figures.style import PALE, SMALL, set_log_scale

INPUTS = torch.tensor(list(product((0.0, 1.0), repeat=2)))  # (4, 2): 00, 01, 10, 11
GATES = {
    "AND": torch.tensor([0.0, 0, 0, 1]),
    "OR": torch.tensor([0.0, 1, 1, 1]),
    "NAND": torch.tensor([1.0, 1, 1, 0]),
}
XOR = torch.tensor([0.0, 1, 1, 0])
CORNERS = ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0))
PLOT_LIMITS = (-0.4, 1.4, -0.4, 1.4)


def weighted_sum(x: Tensor, weights: Tensor, bias: float) -> Tensor:
    """Return w x + b: (N,) for inputs (N, D)."""
    params = {"weight": weights[None], "bias": torch.tensor([bias])}
    z, _ = Dense(1).forward(params, x, Mode())
    return z[:, 0]


def perceptron(x: Tensor, weights: Tensor, bias: float) -> Tensor:
    """Return 1 where w x + b > 0, else 0: (N,) for inputs (N, D)."""
    return (weighted_sum(x, weights, bias) > 0).float()


def train_perceptron(x: Tensor, target: Tensor, epochs: int) -> tuple[Tensor, float, list[int]]:
    """Train with the perceptron rule, from weights of 0; return weights, bias and the mistakes in each epoch."""
    weights, bias, mistakes = torch.zeros(x.shape[1]), 0.0, []
    for _ in range(epochs):
        mistakes.append(0)
        for example, label in zip(x, target, strict=True):
            error = float(label - perceptron(example[None], weights, bias)[0])  # 1, 0 or -1
            weights = weights + error * example
            bias = bias + error
            mistakes[-1] += error != 0
        if mistakes[-1] == 0:
            break
    return weights, bias, mistakes


def gates(settings: LessonSettings, epochs: int = 6) -> Result:
    """AND, OR and NAND are learned.

    The perceptron rule uses one example at a time. If the output is right, nothing changes. If it is 0 instead of 1,
    the inputs are added to the weights and 1 to the bias; if it is 1 instead of 0, they are subtracted. All weights and
    the bias begin at 0. An epoch uses each of the four examples once, in the order 00, 01, 10, 11, and the rule stops
    after an epoch without mistakes. If a straight line separates the two classes, the rule finds such a line after a
    finite number of mistakes (Novikoff 1962).

    The rule is written out because it is the subject of this step; `Model.fit` trains the network of the last step.
    """
    numbers: dict[str, Any] = {}
    figure, plots = plots_in_rows(list(GATES))
    for plot, (name, target) in zip(plots, GATES.items(), strict=True):
        weights, bias, mistakes = train_perceptron(INPUTS, target, epochs)
        outputs = perceptron(INPUTS, weights, bias)
        numbers[name] = {
            "weights": weights.tolist(), "bias": bias, "mistakes by epoch": mistakes, "outputs": outputs.int().tolist()
        }  # fmt: skip
        half_planes(
            plot, lambda x, w=weights, b=bias: weighted_sum(torch.tensor(x, dtype=torch.float32), w, b), PLOT_LIMITS
        )
        labelled_points(plot, INPUTS, target)
        name_axes(plot, "first input", "second input")
    return Result(numbers, figure)


def nand(x: Tensor) -> Tensor:
    """Return NAND of two bits, by the perceptron with weights -2, -2 and bias 3."""
    return perceptron(x, torch.tensor([-2.0, -2.0]), 3.0)


def adder(settings: LessonSettings) -> Result:
    """Two bits added by NAND gates.

    The perceptron with weights -2, -2 and bias 3 computes NAND: its sum is 3, 1, 1 and -1 for the inputs 00, 01, 10
    and 11. Since every circuit can be built of NAND gates, perceptrons can compute every function that a circuit can
    compute. Five of them add two bits (Nielsen 2015, chapter 1). The figure shows the value of each wire for the four
    pairs of bits, 00, 01, 10 and 11:
    """
    a, b = INPUTS[:, 0], INPUTS[:, 1]
    middle = nand(INPUTS)
    left = nand(torch.stack([a, middle], 1))
    right = nand(torch.stack([middle, b], 1))
    sum_bit = nand(torch.stack([left, right], 1))  # a + b modulo 2
    carry_bit = nand(torch.stack([middle, middle], 1))
    values = {"a": a, "b": b, "middle": middle, "left": left, "right": right, "sum": sum_bit, "carry": carry_bit}
    positions = {
        "a": (0, 0), "b": (0, 2), "middle": (1, 1), "left": (2, 0), "right": (2, 2), "sum": (3, 1), "carry": (2, 3)
    }  # fmt: skip
    wires = [
        ("a", "middle"), ("b", "middle"), ("a", "left"), ("middle", "left"), ("middle", "right"), ("b", "right"),
        ("left", "sum"), ("right", "sum"), ("middle", "carry"),
    ]  # fmt: skip
    labels = {
        "a": "a",
        "b": "b",
        "middle": "NAND",
        "left": "NAND",
        "right": "NAND",
        "carry": "NAND: carry",
        "sum": "NAND: sum",
    }
    bit_strings = {name: " ".join(str(int(bit)) for bit in bits) for name, bits in values.items()}
    numbers = {"nand": middle.int().tolist(), "sum": sum_bit.int().tolist(), "carry": carry_bit.int().tolist()}
    return Result(numbers, circuit(positions, labels, bit_strings, wires))


def one_line_fails(
    settings: LessonSettings,
    w1: float = -2.0,
    w2: float = 1.0,
    bias: float = 0.0,
    inputs: NumberRows = CORNERS,
) -> Result:
    """Why one perceptron cannot learn XOR.

    The weighted sum is 0 on a straight line, which separates the inputs with output 1 from those with output 0. XOR
    would need b ≤ 0 for 00, w₁ + b > 0 for 10, w₂ + b > 0 for 01, and w₁ + w₂ + b ≤ 0 for 11. The sum of the second and
    the third is w₁ + w₂ + 2b > 0, the sum of the first and the last is w₁ + w₂ + 2b ≤ 0: a contradiction (Minsky and
    Papert 1969). A line can classify at most three of the four inputs correctly: "best line" is the largest number that
    any of 4,913 lines reaches. The perceptron rule makes mistakes in every epoch. It learns from the four points in the
    right plot; they are the inputs of XOR until they are moved.
    """
    x = torch.tensor(inputs, dtype=torch.float32)
    _, _, mistakes = train_perceptron(x, XOR, epochs=100)
    grid = torch.linspace(-2, 2, 17)
    lines = torch.cartesian_prod(grid, grid, grid)  # (4913, 3): w1, w2, b
    n_correct = ((lines[:, :2] @ x.T + lines[:, 2:] > 0).float() == XOR).sum(1)  # (4913,)
    weights = torch.tensor([w1, w2])
    n_right = int((perceptron(x, weights, bias) == XOR).sum())
    figure, (mistake_plot, line_plot) = plots_in_rows(
        ["the perceptron rule", f"your line: {n_right} of 4 are right"], 2, 3.0
    )
    targets_by_gate = {**GATES, "XOR": XOR}
    for (name, target), colour in zip(targets_by_gate.items(), colours(len(targets_by_gate)), strict=True):
        mistake_counts = train_perceptron(x if name == "XOR" else INPUTS, target, epochs=12)[2]
        mistake_plot.plot(
            range(1, len(mistake_counts) + 1), mistake_counts, "o-", color=colour, markersize=3, label=name
        )
    mistake_plot.legend(frameon=False, fontsize=SMALL)
    name_axes(mistake_plot, "epoch", "mistakes")
    half_planes(
        line_plot,
        lambda x: weighted_sum(torch.tensor(x, dtype=torch.float32), weights, bias),
        PLOT_LIMITS,
    )
    labelled_points(line_plot, x, XOR)
    name_axes(line_plot, "first input", "second input")
    numbers = {
        "epochs": len(mistakes),
        "fewest mistakes in an epoch": min(mistakes),
        "best line": int(n_correct.max()),
        "your line": n_right,
    }
    return Result(numbers, figure)


def xor(settings: LessonSettings, hidden: int = 3) -> Result:
    """A hidden layer learns XOR.

    A tanh neuron outputs tanh(z), a smooth step from -1 to 1, for its weighted sum z. Each of three such neurons
    separates the plane by a line, and a fourth combines their outputs: a 2-3-1 network, whose three neurons between the
    inputs and the output are called a hidden layer. It is trained for 1,000 epochs, one example at a time, with a
    learning rate of 0.1 for the mean squared error. `Quadratic` is half the mean squared error, so its learning rate is
    0.2. The initial weights and biases are drawn from N(0, 1). The error depends on them, so the result is the median
    of ten seeds (one seed in the small form).
    """
    target, errors = XOR[:, None], []
    figure, (error_plot, output_plot) = plots_in_rows(["error while learning", "output of the first network"], 2, 3.0)
    for seed in range(settings.seed, settings.seed + (1 if settings.small else 10)):
        net = mlp((2, hidden, 1), activation="tanh", output="tanh", init_weight="normal", init_bias="normal")
        model = Model(net, Quadratic(), SGD(0.2), metrics=(), seed=seed)
        history = model.fit(INPUTS, target, epochs=1000, batch_size=1, verbose=False)
        errors.append(float((model.predict(INPUTS) - target).square().mean()))
        error_plot.plot(history["epoch"], [2 * loss for loss in history["train_loss"]], color=PALE, linewidth=1)
        if seed == settings.seed:
            half_planes(
                output_plot, lambda x, m=model: m.predict(torch.tensor(x, dtype=torch.float32))[:, 0], PLOT_LIMITS, 0.5
            )
    set_log_scale(error_plot)
    name_axes(error_plot, "epoch", "mean squared error")
    labelled_points(output_plot, INPUTS, XOR)
    name_axes(output_plot, "first input", "second input")
    return Result({"mean squared errors": errors, "median": median(errors)}, figure)


STEPS = (gates, adder, one_line_fails, xor)
GUIDE = Guide(
    question="What can a neuron compute that only adds up its inputs and then says yes or no?",
    minutes=15,
    needs=(),
    guesses={
        "gates": Guess(
            "While it learns AND, the neuron outputs 0 for the inputs 1 and 1. How does the rule change it?",
            (
                "both weights and the bias rise by 1",
                "only the bias rises by 1, since both inputs are equal",
                "both weights and the bias are doubled",
            ),
            0,
            "The output is 0 instead of 1, so the inputs, 1 and 1, are added to the weights and 1 to the bias.",
        ),
        "one_line_fails": Guess(
            "AND took 6 epochs. How many does XOR need?",
            ("about 10", "more than 100, but it gets there", "no number is enough"),
            2,
            "The rule can only draw one straight line, and no straight line separates the inputs of XOR.",
        ),
        "xor": Guess(
            "How many hidden neurons does a network need at least for XOR?",
            ("1", "2", "4, one for each input pair"),
            1,
            "One hidden neuron gives one line again. Two lines suffice: a strip between them holds 00 and 11.",
        ),
    },
    sliders={
        "gates": (
            Slider(
                "epochs",
                "largest number of epochs",
                (1, 2, 3, 4, 5, 6),
                {
                    1: "The last example has moved the lines too far: AND and OR output 1 for everything, NAND 0.",
                    4: "OR made no mistake in its fourth epoch and is done.",
                    6: "All three made no mistake in their last epoch.",
                },
            ),
        ),
        "one_line_fails": (
            Slider("w1", "weight of the first input, w₁", (-2.0, 1.0, 2.0)),
            Slider("w2", "weight of the second input, w₂", (-2.0, 1.0, 2.0)),
            Slider("bias", "bias b", (-3.0, -1.0, 0.0, 3.0)),
        ),
        "xor": (
            Slider(
                "hidden",
                "neurons in the hidden layer",
                (1, 2, 3, 6),
                {1: "One line is not enough, however long the network learns.", 2: "Two are enough."},
            ),
        ),
    },
    notices={
        "gates": (
            "Blue is where the neuron outputs 1, orange where it outputs 0; the boundary is always a straight line. A "
            "point that lies exactly on it has the sum 0, and so the output 0.",
            "Go through the epochs one by one: the lines jump to and fro, because each mistake is mended as if the "
            "other three examples did not exist. They settle all the same.",
        ),
        "adder": (
            "Each box shows its output for the four pairs of bits, from left to right. Follow the last column, for 1 "
            "and 1: the sum is 0 and the carry 1, which is the binary number 10, two.",
            "The same neuron is used five times. What the circuit computes lies in the wires alone.",
        ),
        "one_line_fails": (
            "In the left plot, three curves reach 0 mistakes; the purple one of XOR climbs to 4 and stays there.",
            "In the right plot, try to get all four points into their own colour: blue squares into the blue region, "
            "orange circles into the orange one. Three can be had in many ways; every line leaves a point on the wrong "
            "side. Then drag one point until the purple curve reaches 0: it must cross the line between its two "
            "neighbours.",
        ),
        "xor": (
            "The right plot shows two boundaries, with 00 and 11 in the strip between them: more than any single "
            "neuron can draw. With 1 hidden neuron there is one straight boundary, and a point on its wrong side.",
            "In the left plot, the error first pauses near 0.25, which is the error of a network that always outputs "
            "one half. Only then do the hidden neurons divide the work, and the error falls.",
        ),
    },
    notice_plots={"one_line_fails": ((0,), (1,)), "xor": ((1,), (0,))},
    exercises=(
        Exercise(
            "A perceptron has the weights 1 and 1. Which whole number must its bias be for it to compute AND?",
            -1,
            0.01,
            "For 01 and 10 the sum 1 + b must not be positive, for 11 the sum 2 + b must be: -2 < b ≤ -1.",
            {
                -2: "Then the sum for 11 is 2 - 2 = 0, which is not positive: the output is always 0.",
                0: "Then one input of 1 suffices: that is OR.",
            },
        ),
        Exercise(
            "Two inputs have four combinations, so there are 16 truth tables. How many can one perceptron compute?",
            14,
            0.01,
            "All but two: XOR and its opposite, which is 1 for 00 and 11. The others have a separating line.",
            {
                15: "The opposite of XOR cannot be separated by a line either.",
                8: "Also gates that ignore an input, and those that are always 0 or always 1, are possible.",
            },
        ),
    ),
    handles={"one_line_fails": Handles("inputs", "the four points", "points", CORNERS, -0.4, 1.4, 0.1, plot=1)},
    functions={
        "update": FunctionExercise(
            "update(w, b, x, y): the weights w (D,) and the bias b after the rule has seen the example x (D,) with the "
            "target y, as one array (D + 1,) with the bias last.",
            lambda w, b, x, y: np.append(w, b) + (y - float(x @ w + b > 0)) * np.append(x, 1),
            lambda random: (random.normal(size=3), random.normal(), random.normal(size=3), int(random.integers(2))),
            "def update(w, b, x, y):\n"
            "    output = 1 if np.dot(w, x) + b > 0 else 0\n"
            "    error = y - output\n"
            "    return np.array([*(w + error * x), b + error])",
        )
    },
    later="Every neuron of this library computes a weighted sum; what follows it is smoother than a yes or no.",
    studio="#play?problem=xor&hidden=~",
)
