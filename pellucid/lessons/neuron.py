"""One sigmoid neuron.

A sigmoid neuron outputs a = σ(z) for its weighted input z = w x + b. In this lesson, its target for the input 1 is 0.
How fast it learns this depends on the cost (Nielsen 2015, chapter 3).
"""

from typing import Any

import torch

from pellucid import SGD, BinaryCrossEntropy, Dense, Layer, Loss, Mode, Model, Quadratic, Sequential, Sigmoid
from pellucid.data.source import Batch
from pellucid.lessons.lesson import Result, Setting
from pellucid.report.figures.series import colours, name_axes, plots_in_rows
from pellucid.report.figures.style import SMALL

X, TARGET = torch.tensor([[1.0]]), torch.tensor([[0.0]])
INITIAL_PARAMS = ((0.6, 0.9), (2.0, 2.0))  # weight and bias
RATE, EPOCHS = 0.15, 300
COSTS: dict[str, tuple[Layer, Loss]] = {
    "quadratic": (Sequential(dense=Dense(1), sigmoid=Sigmoid()), Quadratic()),
    "cross-entropy": (Sequential(dense=Dense(1)), BinaryCrossEntropy()),  # this loss contains the sigmoid
}


def neuron(cost: str, weight: float, bias: float) -> Model:
    """Return the neuron with this weight and bias, as a network of one layer with a cost of COSTS."""
    model = Model(*COSTS[cost], SGD(RATE), metrics="mae", input_shape=(1,))
    model["dense"].params["weight"].fill_(weight)
    model["dense"].params["bias"].fill_(bias)
    return model


def learning(setting: Setting) -> Result:
    """Learning from a good start and from a bad one.

    The neuron is trained from two starts: with w = 0.6 and b = 0.9 it outputs 0.82, and with w = 2 and b = 2 it outputs
    0.98, almost the largest possible error. It is trained for 300 epochs with a learning rate of 0.15. With the
    quadratic cost, the neuron with the larger error hardly learns for the first 150 epochs, because it is saturated.
    With the cross-entropy, it learns faster at the beginning than the other neuron.

    The target is 0, so the mean absolute error is the output itself.
    """
    numbers: dict[str, Any] = {}
    figure, plots = plots_in_rows(list(COSTS), 2, 3.0)
    for plot, cost in zip(plots, COSTS, strict=True):
        for start, colour in zip(INITIAL_PARAMS, colours(len(INITIAL_PARAMS)), strict=True):
            model = neuron(cost, *start)
            first_output = float(model.predict(X))
            history = model.fit(X, TARGET, epochs=EPOCHS, verbose=False)
            outputs = [first_output, *history["train_mae"]]
            name = f"w = {start[0]:g}, b = {start[1]:g}"
            plot.plot(outputs, color=colour, linewidth=1.7, label=name)
            weight, bias = (float(value) for value in model["dense"].params.values())
            results = {"first": first_output, "after 150 epochs": outputs[150], "last": outputs[-1]}
            numbers[f"{cost}, {name}"] = {**results, "weight": weight, "bias": bias}
        plot.set_ylim(0, 1)
        plot.legend(frameon=False, fontsize=SMALL)
        name_axes(plot, "epoch", "output")
    return Result(numbers, figure)


def derivative(cost: str, weight: float, bias: float) -> float:
    """Return ∂C/∂w by one forward and one backward pass."""
    model = neuron(cost, weight, bias)
    _, gradients = model.supervised.gradients(model.params, Batch(X, TARGET), Mode())
    return float(gradients["dense"]["weight"])


def derivatives(setting: Setting) -> Result:
    """Why the saturated neuron learns slowly.

    The derivative of the quadratic cost C = ½ (a - y)² is

    ∂C/∂w = (a - y) σ'(z) x,  with σ'(z) = a (1 - a)

    If a is near 1, the factor σ'(z) is near 0, and the step is small although the error a - y is large. For the
    cross-entropy C = -y ln a - (1 - y) ln(1 - a), this factor cancels:

    ∂C/∂w = (a - y) x

    The derivatives below are computed by the network's backward pass. The figure shows them as functions of z.
    """
    numbers: dict[str, Any] = {}
    figure, (plot,) = plots_in_rows(["derivative with respect to the weight, input 1, target 0"], 1, 3.0)
    biases = torch.linspace(-6, 6, 61).tolist()  # of a neuron with weight 0, so z = b
    for cost, colour in zip(COSTS, colours(len(COSTS)), strict=True):
        for weight, bias in INITIAL_PARAMS:
            numbers[f"{cost}, w = {weight:g}, b = {bias:g}"] = derivative(cost, weight, bias)
        slopes = [derivative(cost, 0.0, bias) for bias in biases]
        plot.plot(biases, slopes, color=colour, linewidth=1.7, label=cost)
    plot.legend(frameon=False, fontsize=SMALL)
    name_axes(plot, "weighted input z", "∂C/∂w")
    return Result(numbers, figure)


STEPS = (learning, derivatives)
