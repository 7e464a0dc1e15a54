"""The perceptron.

A perceptron outputs 1 if the weighted sum of its inputs plus a bias is positive, and 0 otherwise. It is an early model
of a neuron (Rosenblatt 1958), and equals a `Dense` layer with one output, followed by a threshold.
"""

from itertools import product
from statistics import median
from typing import Any

import torch
from torch import Tensor

from pellucid import SGD, Dense, Mode, Model, Quadratic, mlp
from pellucid.lessons.lesson import Result, Setting
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


def gates(setting: Setting) -> Result:
    """AND, OR and NAND are learned.

    The perceptron rule uses one example at a time. If the output is right, nothing changes. If it is 0 instead of 1,
    the inputs are added to the weights and 1 to the bias; if it is 1 instead of 0, they are subtracted. If a straight
    line separates the two classes, the rule finds such a line after a finite number of mistakes (Novikoff 1962).

    The rule is written out because it is the subject of this step; `Model.fit` trains the network of the last step.
    """
    numbers: dict[str, Any] = {}
    figure, plots = plots_in_rows(list(GATES))
    for plot, (name, target) in zip(plots, GATES.items(), strict=True):
        weights, bias, mistakes = train_perceptron(INPUTS, target, epochs=100)
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


def adder(setting: Setting) -> Result:
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
    total = nand(torch.stack([left, right], 1))  # a + b modulo 2
    carry = nand(torch.stack([middle, middle], 1))
    values = {"a": a, "b": b, "middle": middle, "left": left, "right": right, "sum": total, "carry": carry}
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
    numbers = {"nand": middle.int().tolist(), "sum": total.int().tolist(), "carry": carry.int().tolist()}
    return Result(numbers, circuit(positions, labels, bit_strings, wires))


def one_line_fails(setting: Setting) -> Result:
    """Why one perceptron cannot learn XOR.

    XOR would need b ≤ 0 for 00, w₁ + b > 0 for 10, w₂ + b > 0 for 01, and w₁ + w₂ + b ≤ 0 for 11. The sum of the
    second and the third is w₁ + w₂ + 2b > 0, the sum of the first and the last is w₁ + w₂ + 2b ≤ 0: a contradiction
    (Minsky and Papert 1969). No straight line has 01 and 10 on one side and 00 and 11 on the other; a line can classify
    at most three of the four inputs correctly. The perceptron rule makes mistakes in every epoch.
    """
    _, _, mistakes = train_perceptron(INPUTS, XOR, epochs=100)
    grid = torch.linspace(-2, 2, 17)
    lines = torch.cartesian_prod(grid, grid, grid)  # (4913, 3): w1, w2, b
    n_correct = ((lines[:, :2] @ INPUTS.T + lines[:, 2:] > 0).float() == XOR).sum(1)  # (4913,)
    best_line = lines[n_correct.argmax()]
    figure, (mistake_plot, line_plot) = plots_in_rows(
        ["the perceptron rule", "a line that is right for three of four"], 2, 3.0
    )
    targets_by_gate = {**GATES, "XOR": XOR}
    for (name, target), colour in zip(targets_by_gate.items(), colours(len(targets_by_gate)), strict=True):
        mistake_counts = train_perceptron(INPUTS, target, epochs=12)[2]
        mistake_plot.plot(
            range(1, len(mistake_counts) + 1), mistake_counts, "o-", color=colour, markersize=3, label=name
        )
    mistake_plot.legend(frameon=False, fontsize=SMALL)
    name_axes(mistake_plot, "epoch", "mistakes")
    half_planes(
        line_plot,
        lambda x: weighted_sum(torch.tensor(x, dtype=torch.float32), best_line[:2], float(best_line[2])),
        PLOT_LIMITS,
    )
    labelled_points(line_plot, INPUTS, XOR)
    name_axes(line_plot, "first input", "second input")
    numbers = {"epochs": len(mistakes), "fewest mistakes in an epoch": min(mistakes), "best line": int(n_correct.max())}
    return Result(numbers, figure)


def xor(setting: Setting) -> Result:
    """A hidden layer learns XOR.

    Each of three tanh neurons separates the plane by a line, and a fourth combines their outputs: a 2-3-1 network. It
    is trained for 1,000 epochs, one example at a time, with a learning rate of 0.1 for the mean squared error.
    `Quadratic` is half the mean squared error, so its learning rate is 0.2. The initial weights and biases are drawn
    from N(0, 1). The error depends on them, so the result is the median of ten seeds (one seed in the small form).
    """
    target, errors = XOR[:, None], []
    figure, (error_plot, output_plot) = plots_in_rows(["error while learning", "output of the first network"], 2, 3.0)
    for seed in range(setting.seed, setting.seed + (1 if setting.small else 10)):
        net = mlp((2, 3, 1), activation="tanh", output="tanh", init_weight="normal", init_bias="normal")
        model = Model(net, Quadratic(), SGD(0.2), metrics=(), seed=seed)
        history = model.fit(INPUTS, target, epochs=1000, batch_size=1, verbose=False)
        errors.append(float((model.predict(INPUTS) - target).square().mean()))
        error_plot.plot(history["epoch"], [2 * loss for loss in history["train_loss"]], color=PALE, linewidth=1)
        if seed == setting.seed:
            half_planes(
                output_plot, lambda x, m=model: m.predict(torch.tensor(x, dtype=torch.float32))[:, 0], PLOT_LIMITS, 0.5
            )
    set_log_scale(error_plot)
    name_axes(error_plot, "epoch", "mean squared error")
    labelled_points(output_plot, INPUTS, XOR)
    name_axes(output_plot, "first input", "second input")
    return Result({"mean squared errors": errors, "median": median(errors)}, figure)


STEPS = (gates, adder, one_line_fails, xor)
