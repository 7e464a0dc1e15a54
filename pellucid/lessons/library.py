"""A library in 60 lines.

A common exercise is to write a small network library: layers with a forward and a backward method, and a network that
calls them in order. In NumPy this takes about 60 lines. This lesson compares two such libraries with Pellucid, weight
by weight after every step, and then shows what 60 lines lack.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from pellucid import SGD, Dense, Mode, Model, PellucidError, Quadratic, Sequential, Sigmoid, Supervised, Tanh
from pellucid.data import load
from pellucid.data.source import Batch
from pellucid.layers.base import Params
from pellucid.lessons.guide import Exercise, FunctionExercise, Guess, Guide, Slider
from pellucid.lessons.lesson import LessonSettings, Result
from pellucid.nested import flatten
from pellucid.report.figures.series import name_axes, plots_in_rows
from pellucid.report.figures.style import BLUE, ORANGE, Plot

WeightBiasPairs = Sequence[tuple[Any, Any]]  # (weight (outputs, inputs), bias (outputs,)) of each layer


class Layer:
    """The interface of layers."""

    def forward(self, x: Any) -> Any:
        """Return the output for x."""
        raise NotImplementedError

    def backward(self, dy: Any, rate: float) -> Any:
        """Update the parameters and return dx, given dy, the gradient with respect to the output."""
        raise NotImplementedError


class FCLayer(Layer):
    """A fully connected layer."""

    def __init__(self, inputs: int, outputs: int, rng: np.random.Generator) -> None:
        self.weight, self.bias = rng.normal(size=(inputs, outputs)), rng.normal(size=outputs)

    def forward(self, x: Any) -> Any:
        """Return x w + b."""
        self.x = x
        return x @ self.weight + self.bias

    def backward(self, dy: Any, rate: float) -> Any:
        """Take a step of gradient descent, and return dx."""
        dx = dy @ self.weight.T
        self.weight = self.weight - rate * self.x.T @ dy
        self.bias = self.bias - rate * dy.sum(0)
        return dx


class ActivationLayer(Layer):
    """An elementwise function with its derivative."""

    def __init__(self, function: Callable[[Any], Any], derivative: Callable[[Any], Any]) -> None:
        self.function, self.derivative = function, derivative

    def forward(self, x: Any) -> Any:
        """Return the function of x."""
        self.x = x
        return self.function(x)

    def backward(self, dy: Any, rate: float) -> Any:
        """Return dx: dy times the derivative."""
        return dy * self.derivative(self.x)


class Network:
    """Layers in sequence, trained on one example at a time."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []

    def add(self, layer: Layer) -> None:
        """Append a layer."""
        self.layers.append(layer)

    def set_loss(self, loss: Callable[[Any, Any], float], loss_derivative: Callable[[Any, Any], Any]) -> None:
        """Set the loss and its derivative."""
        self.loss, self.loss_derivative = loss, loss_derivative

    def fit(self, x: Any, y: Any, epochs: int, rate: float) -> list[float]:
        """Train on the examples of x and y in order, and return the mean loss of each epoch."""
        losses = [0.0] * epochs
        for epoch in range(epochs):
            for k in range(len(x)):
                out, target = x[k : k + 1], y[k : k + 1]
                for layer in self.layers:
                    out = layer.forward(out)
                losses[epoch] += self.loss(out, target) / len(x)
                gradient = self.loss_derivative(out, target)
                for layer in reversed(self.layers):
                    gradient = layer.backward(gradient, rate)
        return losses


class BookNetwork:
    """The network of Nielsen 2015, chapter 1: sigmoid neurons, the quadratic cost, mini-batches."""

    def __init__(self, sizes: Sequence[int], rng: np.random.Generator) -> None:
        self.biases = [rng.normal(size=units) for units in sizes[1:]]
        self.weights = [rng.normal(size=shape) for shape in zip(sizes[1:], sizes[:-1], strict=True)]

    def activations(self, x: Any) -> list[Any]:
        """Return the input and the outputs of all layers for one example."""
        outputs = [x]
        for weight, bias in zip(self.weights, self.biases, strict=True):
            outputs.append(1 / (1 + np.exp(-(weight @ outputs[-1] + bias))))
        return outputs

    def backprop(self, x: Any, y: Any) -> tuple[list[Any], list[Any]]:
        """Return the gradients with respect to all weights and biases for one example."""
        a = self.activations(x)
        deltas = [(a[-1] - y) * a[-1] * (1 - a[-1])]
        for k in range(len(self.weights) - 1, 0, -1):
            deltas.insert(0, (self.weights[k].T @ deltas[0]) * a[k] * (1 - a[k]))
        return [np.outer(delta, a[k]) for k, delta in enumerate(deltas)], deltas

    def SGD(  # noqa: N802
        self, x: Any, y: Any, epochs: int, batch_size: int, rate: float, after_step: Callable[[Any, Any], None]
    ) -> None:
        """Train on mini-batches of `batch_size` in random order, and call `after_step` with each batch."""
        for epoch in range(epochs):
            order = np.random.default_rng(epoch).permutation(len(x))
            for batch in (order[k : k + batch_size] for k in range(0, len(x), batch_size)):
                gradients = [self.backprop(x[k], y[k]) for k in batch]
                for k in range(len(self.weights)):
                    self.weights[k] = self.weights[k] - rate / len(batch) * sum(dws[k] for dws, _ in gradients)
                    self.biases[k] = self.biases[k] - rate / len(batch) * sum(dbs[k] for _, dbs in gradients)
                after_step(x[batch], y[batch])


class PellucidNetwork:
    """The same network in Pellucid, with the same steps; gaps: the largest weight difference after each step."""

    def __init__(self, net: Sequential, pairs: WeightBiasPairs) -> None:
        remaining_pairs, self.net, self.gaps = iter(pairs), net, list[float]()
        self.params: Params = {name: {} for name in net.layers}
        for name, layer in net.layers.items():
            if isinstance(layer, Dense):
                weight, bias = next(remaining_pairs)
                self.params[name] = {"weight": torch.tensor(weight), "bias": torch.tensor(bias)}

    def step(self, x: Any, y: Any, rate: float, pairs: WeightBiasPairs) -> None:
        """Take a step (gradients by `Supervised`, update by `SGD`), and record the gap to the weights in `pairs`."""
        batch = Batch(torch.from_numpy(x), torch.from_numpy(y))
        _, gradients = Supervised(self.net, Quadratic()).gradients(self.params, batch, Mode())
        by_path, parameters = flatten(gradients), flatten(self.params)
        SGD().update([*parameters.values()], [by_path[path] for path in parameters], {}, rate)
        numpy_arrays = [array for pair in pairs for array in pair]
        gaps = [
            np.abs(tensor.numpy() - array).max()
            for tensor, array in zip(parameters.values(), numpy_arrays, strict=True)
        ]
        self.gaps.append(float(max(gaps)))


def loss_plot(losses: Sequence[float], x_label: str, y_label: str, gaps: Sequence[float]) -> Plot:
    """Draw the losses of the NumPy library, and the largest difference of a weight from Pellucid after each step.

    x_label, y_label: the labels of the axes of the losses.
    """
    figure, (loss_axes, gap_axes) = plots_in_rows(["the library in NumPy", "largest difference of a weight"], 2, 2.8)
    loss_axes.plot(range(1, len(losses) + 1), losses, color=BLUE, linewidth=1)
    gap_axes.plot(range(1, len(gaps) + 1), gaps, color=ORANGE, linewidth=1)
    name_axes(loss_axes, x_label, y_label)
    name_axes(gap_axes, "step", "gap")
    return figure


def mean_squared_error(a: Any, target: Any) -> float:
    """Return the mean squared error."""
    return float(np.mean((a - target) ** 2))


def mean_squared_error_derivative(a: Any, target: Any) -> Any:
    """Return the derivative of the mean squared error."""
    return 2 * (a - target) / a.size


def sixty_lines(settings: LessonSettings, rate: float = 0.1, hidden: int = 3) -> Result:
    """XOR, step by step.

    A network of 2 inputs, 3 hidden tanh neurons and 1 output, 2-3-1, learns XOR (1 if exactly one input is 1) in both
    libraries, from the same initial weights, one example at a time in the same order. The loss in NumPy is the mean
    squared error; `Quadratic` is half of this, so its learning rate is twice as high.
    """
    x, y = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[0.0], [1], [1], [0]])
    rng, network = np.random.default_rng(settings.seed), Network()
    dense = [FCLayer(2, hidden, rng), FCLayer(hidden, 1, rng)]
    for layer in dense:
        network.add(layer)
        network.add(ActivationLayer(np.tanh, lambda z: 1 - np.tanh(z) ** 2))
    network.set_loss(mean_squared_error, mean_squared_error_derivative)
    pellucid_network = PellucidNetwork(
        Sequential(Dense(hidden), Tanh(), Dense(1), Tanh()), [(layer.weight.T, layer.bias) for layer in dense]
    )
    errors = []
    for _ in range(100 if settings.small else 1000):
        errors.append(0.0)
        for k in range(4):
            errors[-1] += network.fit(x[k : k + 1], y[k : k + 1], 1, rate)[0] / 4
            pairs = [(layer.weight.T, layer.bias) for layer in dense]
            pellucid_network.step(x[k : k + 1], y[k : k + 1], 2 * rate, pairs)
    numbers = {
        "steps": len(pellucid_network.gaps),
        "largest gap": max(pellucid_network.gaps),
        "mean squared error": errors[-1],
    }
    return Result(numbers, loss_plot(errors, "epoch", "mean squared error", pellucid_network.gaps))


def book(settings: LessonSettings) -> Result:
    """The book's network, step by step.

    Nielsen's network, 64-30-10, learns the 8x8 digits of scikit-learn in mini-batches of 10 with a rate of 3.0. It
    computes the gradient of each example separately, whereas Pellucid computes the gradient of a mini-batch in one
    pass.
    """
    splits = load("digits")
    x, test_images = (part.x.flatten(1).double().numpy() for part in (splits.train, splits.test))
    y, labels = splits.train.y.numpy(), splits.test.y.numpy()
    network = BookNetwork((64, 30, 10), np.random.default_rng(settings.seed))
    net = Sequential(Dense(30), Sigmoid(), Dense(10), Sigmoid())
    pellucid_network, costs = PellucidNetwork(net, [*zip(network.weights, network.biases, strict=True)]), list[float]()

    def compare_step(images: Any, targets: Any) -> None:
        pellucid_network.step(images, targets, 3.0, [*zip(network.weights, network.biases, strict=True)])
        outputs = np.array([network.activations(image)[-1] for image in images])
        costs.append(float(((outputs - targets) ** 2).sum() / 2 / len(images)))

    network.SGD(x, np.eye(10)[y], 1 if settings.small else 10, 10, 3.0, compare_step)
    is_correct = [
        network.activations(image)[-1].argmax() == label for image, label in zip(test_images, labels, strict=True)
    ]
    numbers = {
        "steps": len(pellucid_network.gaps),
        "largest gap": max(pellucid_network.gaps),
        "test accuracy": float(np.mean(is_correct)),
    }
    return Result(numbers, loss_plot(costs, "step", "cost of the mini-batch", pellucid_network.gaps))


def what_is_missing(settings: LessonSettings, rate: float = 10.0) -> Result:
    """What 60 lines lack.

    The 60 lines compute the same values as long as their user makes no mistake. This step makes three mistakes; one of
    them is NaN, "not a number", in the data. The first library trains in spite of them, without a message. It also has
    no layers for images, no branches, no other optimizers, schedules or regularizers, no gradients of mini-batches, no
    GPU, no validation, no files, and no check of its gradients: a mistake in `backward` only makes it learn worse,
    which is hard to notice.
    """
    rng = np.random.default_rng(settings.seed)
    x, y = rng.normal(size=(20, 2)), rng.normal(size=(20, 2))
    mistakes = {
        "NaN in an input": (np.where(x == x.max(), np.nan, x), y, 0.1),
        "one target for two outputs": (x, y[:, :1], 0.1),
        f"a rate of {rate:g}": (x, y, rate),
    }
    numbers: dict[str, Any] = {}
    for name, (inputs, targets, step_rate) in mistakes.items():
        network = Network()
        network.add(FCLayer(2, 2, rng))
        network.set_loss(mean_squared_error, mean_squared_error_derivative)
        with np.errstate(all="ignore"):
            last_loss = network.fit(inputs, targets, 100, step_rate)[-1]
        try:
            Model(Dense(2), Quadratic(), SGD(step_rate)).fit(inputs, targets, epochs=100, batch_size=1, verbose=False)
            message = "none"
        except PellucidError as error:
            message = str(error)
        numbers[name] = {"loss of the 60 lines": f"{last_loss:.3g}", "message of Pellucid": message}
    return Result(numbers)


STEPS = (sixty_lines, book, what_is_missing)
GUIDE = Guide(
    question="A neural network library fits into 60 lines. Is it right, and what are all the other lines for?",
    minutes=20,
    needs=("backprop",),
    guesses={
        "sixty_lines": Guess(
            "Both libraries start from the same weights and take hundreds of equal steps. How different are the "
            "weights then?",
            ("not at all: they are equal in every digit", "by less than 0.0000000001", "by about 0.01"),
            1,
            "Both add the same numbers, but not always in the same order, and each sum is rounded to about 16 digits.",
        ),
        "what_is_missing": Guess(
            "One input of the 60 lines is NaN, which is not a number. What does the user see?",
            ("an error message", "a loss that is NaN, and nothing else", "a normal loss"),
            1,
            "Every sum with NaN is NaN. After one step all weights are NaN, and no line of the 60 looks for it.",
        ),
    },
    sliders={
        "sixty_lines": (
            Slider("rate", "learning rate of the 60 lines", (0.02, 0.05, 0.1)),
            Slider("hidden", "hidden neurons", (2, 3, 5, 8)),
        ),
        "what_is_missing": (
            Slider(
                "rate",
                "learning rate of the third mistake",
                (0.1, 1.0, 10.0),
                {0.1: "No mistake: both libraries learn, and neither says anything."},
            ),
        ),
    },
    notices={
        "sixty_lines": (
            "The left curve is the error of the 60 lines. The right one is the largest difference of a weight from "
            "this library: read the small number above its axis, such as 1e-13, by which all its values are "
            "multiplied.",
            "Change the rate and the number of neurons: the training goes another way, and both libraries go it "
            "together.",
        ),
        "book": (
            "The cost of the mini-batches is ragged, since each step sees ten other digits, but it falls. The gap on "
            "the right stays near 1e-14: one gradient for each example and one pass for all ten give the same sum.",
        ),
        "what_is_missing": (
            "Compare the two lines of each mistake. At the second one the loss of the 60 lines is a plain number: "
            "NumPy stretches one target over two outputs. Such a mistake is never seen, since the training seems to "
            "work.",
        ),
    },
    exercises=(
        Exercise(
            "How many parameters has the 2-3-1 network, with all biases?",
            13,
            0.1,
            "2 · 3 + 3 in the first layer and 3 · 1 + 1 in the second: 9 + 4 = 13.",
            {9: "The biases of both layers are missing.", 12: "The output neuron has a bias too."},
        ),
        Exercise(
            "The outputs are (0.5, 1), the targets (0, 1). What is the derivative of the mean squared error with "
            "respect to the first output?",
            0.5,
            0.01,
            "2 (0.5 - 0) / 2 = 0.5, since the mean is over two outputs.",
            {1: "The mean divides by the number of outputs, 2.", 0.25: "The derivative of a² is 2 a."},
        ),
        Exercise(
            "A loss is replaced by half of it. By which factor must the learning rate change, so that the steps stay "
            "the same?",
            2,
            0.01,
            "The gradient is halved, and a step is the rate times the gradient.",
            {0.5: "Then the steps would be a quarter as long."},
        ),
    ),
    functions={
        "weight_gradient": FunctionExercise(
            "weight_gradient(x, z, dy): the gradient (I, O) of the weights w of a = tanh(z), z = x w + b, for inputs "
            "x (N, I), z (N, O) and the gradient dy (N, O) with respect to a.",
            lambda x, z, dy: np.einsum("ni,no->io", x, dy / np.cosh(z) ** 2),
            lambda random: (random.normal(size=(5, 3)), random.normal(size=(5, 2)), random.normal(size=(5, 2))),
            "def weight_gradient(x, z, dy):\n    return x.T @ (dy * (1 - np.tanh(z) ** 2))",
        )
    },
    later="The checks of this library's gradients compare in the same way: two computations, one largest difference.",
)
