"""Backpropagation.

The gradient of a cost is the list of its derivatives: for each weight and bias, how much the cost changes per small
change of it. Four equations give the gradient of the cost with respect to every weight and bias of a network (Nielsen
2015, chapter 2). This lesson computes them one by one for a network of two inputs, three hidden neurons and two
outputs. Each derivative is compared with its finite difference, computed from the cost after small changes of one
quantity.

z = w a + b are the weighted inputs of a layer, where a are the outputs of the layer below. The outputs of a layer are
a = σ(z), with the sigmoid σ, and δ = ∂C/∂z, the derivative of the cost C with respect to a neuron's z, is called the
error of the neuron.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid import Dense, Mode, Quadratic, Sequential, Sigmoid
from pellucid.layers.base import Params
from pellucid.lessons.guide import Exercise, FunctionExercise, Guess, Guide, Slider
from pellucid.lessons.lesson import LessonSettings, Result
from pellucid.nested import flatten, map_tree, nest
from pellucid.report.figures.circuit import neurons
from pellucid.report.figures.heat import matrix
from pellucid.sweep import backward, forward, run

NET = Sequential(
    dense1=Dense(3, init_weight="normal", init_bias="normal"),
    sigmoid1=Sigmoid(),
    dense2=Dense(2, init_weight="normal", init_bias="normal"),
    sigmoid2=Sigmoid(),
)
X = torch.tensor([[0.05, 0.10], [0.9, 0.2], [0.4, 0.7], [0.1, 0.8]], dtype=torch.float64)
TARGETS = torch.tensor([[0.01, 0.99], [0.99, 0.01], [0.5, 0.5], [0.01, 0.99]], dtype=torch.float64)
STEP = 1e-5  # step of the finite differences


def random_params(seed: int) -> Params:
    """Return weights and biases drawn from N(0, 1), in float64."""
    params, _ = NET.init((2,), torch.Generator().manual_seed(seed))
    return map_tree(Tensor.double, params)


def outputs(params: Params, x: Tensor, shifts: Mapping[str, Tensor]) -> Tensor:
    """Return the network's outputs; shifts: tensors added to parameters or to outputs of layers, by path."""
    shifted_params = nest(params, {path: leaf + shifts.get(path, 0) for path, leaf in flatten(params).items()})
    return run(NET, shifted_params, x, Mode(), after=lambda path, layer, x, y, cache: y + shifts.get(path, 0))[0]


def central_difference(function: Callable[[Mapping[str, Tensor]], Tensor], path: str, shape: torch.Size) -> Tensor:
    """Return the central differences of a function with respect to each entry of the tensor at `path`, in `shape`.

    function: from `shifts`, see `outputs`, to a scalar.
    """
    slopes = torch.zeros(shape, dtype=torch.float64)
    for index in range(slopes.numel()):
        step = torch.zeros_like(slopes)
        step.view(-1)[index] = STEP
        slopes.view(-1)[index] = (function({path: step}) - function({path: -step})) / (2 * STEP)
    return slopes


def equations(settings: LessonSettings, first_target: float = 0.01, scale: float = 1.0) -> Result:
    """The four equations.

    For one example with the target y, and C = ½ ‖a - y‖²:

    - BP1, the error of the output layer: δ = (a - y) ⊙ σ'(z)
    - BP2, the error of a layer from the error of the next layer: δ = (wᵀ δ of the next layer) ⊙ σ'(z)
    - BP3, the gradient of the biases: ∂C/∂b = δ
    - BP4, the gradient of the weights: ∂C/∂w = δ times the outputs of the layer below

    ⊙ is the product entry by entry, wᵀ is the matrix of weights with rows and columns exchanged, and σ'(z) = a (1 - a)
    is the slope of the sigmoid. The figure shows a and δ in each neuron.
    """
    params = map_tree(lambda leaf: scale * leaf, random_params(settings.seed))
    x = X[:1]
    y = torch.tensor([[first_target, TARGETS[0, 1]]], dtype=torch.float64)
    (w1, b1), (w2, b2) = (params[name].values() for name in ("dense1", "dense2"))
    a1 = (x @ w1.T + b1).sigmoid()  # (1, 3)
    a2 = (a1 @ w2.T + b2).sigmoid()  # (1, 2)
    delta2 = (a2 - y) * a2 * (1 - a2)  # BP1
    delta1 = (delta2 @ w2) * a1 * (1 - a1)  # BP2
    gradients_by_equation = {
        "BP1": {"dense2": delta2},
        "BP2": {"dense1": delta1},
        "BP3": {"dense1.bias": delta1[0], "dense2.bias": delta2[0]},
        "BP4": {"dense1.weight": delta1.T @ x, "dense2.weight": delta2.T @ a1},
    }
    numbers: dict[str, Any] = {}
    for name, gradients in gradients_by_equation.items():
        for path, gradient in gradients.items():
            slopes = central_difference(
                lambda shifts: Quadratic()(outputs(params, x, shifts), y)[0], path, gradient.shape
            )
            row = {"equation": gradient.squeeze(0).tolist(), "difference": slopes.squeeze(0).tolist()}
            numbers[f"{name}, {path}"] = {**row, "gap": float((gradient - slopes).abs().max())}
    out, cache = forward(NET, params, x, Mode())
    library_gradients = flatten(backward(NET, params, cache, Quadratic()(out, y)[1])[1])
    gradients_by_parameter = gradients_by_equation["BP3"] | gradients_by_equation["BP4"]
    gaps = [(library_gradients[path] - gradient).abs().max() for path, gradient in gradients_by_parameter.items()]
    numbers["largest gap to the library's backward pass"] = float(max(gaps))
    layers = [[f"a {value:.2f}" for value in x[0]]]
    for a, delta in ((a1, delta1), (a2, delta2)):
        layers.append(
            [
                f"a {float(activation):.2f}\nδ {float(error):.3f}"
                for activation, error in zip(a[0], delta[0], strict=True)
            ]
        )
    weight_gradients = list(gradients_by_equation["BP4"].values())
    return Result(numbers, neurons(layers, weight_gradients, ("inputs", "hidden layer", "output layer")))


def three_ways(settings: LessonSettings, first_input: float = 0.05) -> Result:
    """Three ways to raise an output.

    The output a = σ(w a' + b) of a neuron rises with its bias, with its weights, and with the outputs a' of the layer
    below:

    ∂a/∂b = σ'(z),  ∂a/∂w = a' σ'(z),  ∂a/∂a' = w σ'(z)

    So a weight matters in proportion to the output below it, and an output below in proportion to its weight. The
    numbers are the derivatives for the first output neuron. Divided by ∂a/∂b, the second and the third are the outputs
    below and the weights.
    """
    params = random_params(settings.seed)
    x = torch.tensor([[first_input, X[0, 1]]], dtype=torch.float64)
    _, cache = forward(NET, params, x, Mode())
    dx_by_layer: dict[str, Tensor] = {}

    def record_dx(path: str, layer: Any, dy: Tensor, dx: Tensor, dparams: Params) -> None:
        dx_by_layer[path] = dx

    dy = torch.tensor([[1.0, 0.0]], dtype=torch.float64)  # selects the first output
    _, dparams = backward(NET, params, cache, dy, watch=record_dx)
    slopes = {
        "dense2.bias": dparams["dense2"]["bias"], "dense2.weight": dparams["dense2"]["weight"],
        "sigmoid1": dx_by_layer["dense2"],
    }  # fmt: skip
    differences = {
        path: central_difference(lambda shifts: outputs(params, x, shifts)[0, 0], path, slope.shape)
        for path, slope in slopes.items()
    }
    bias, weight, activation = (slope.flatten() for slope in slopes.values())
    numbers = {
        "bias": float(bias[0]), "weights": weight[:3].tolist(), "outputs below": activation.tolist(),
        "weights / bias": (weight[:3] / bias[0]).tolist(), "outputs below / bias": (activation / bias[0]).tolist(),
        "largest gap to differences": max(float((slopes[path] - differences[path]).abs().max()) for path in slopes),
    }  # fmt: skip
    return Result(numbers)


def averaged(settings: LessonSettings) -> Result:
    """Many examples: the average.

    Each example has its own gradient, and a step that lowers the cost of one example may raise the cost of another. The
    cost of a batch is the mean of the costs of its examples, so its gradient is the mean of their gradients. The figure
    shows the gradient of the output layer for four examples, and the gradient of the batch.
    """
    params = random_params(settings.seed)

    def gradient(x: Tensor, y: Tensor) -> Tensor:
        out, cache = forward(NET, params, x, Mode())
        _, dparams = backward(NET, params, cache, Quadratic()(out, y)[1])
        return torch.cat([leaf.flatten() for leaf in dparams["dense2"].values()])

    example_gradients = torch.stack([gradient(X[k : k + 1], TARGETS[k : k + 1]) for k in range(len(X))])  # (4, 8)
    batch_gradient = gradient(X, TARGETS)  # (8,)
    column_names = [f"w{i}{j}" for i in (1, 2) for j in (1, 2, 3)] + ["b1", "b2"]
    numbers = {
        "mean of the gradients": example_gradients.mean(0).tolist(), "gradient of the batch": batch_gradient.tolist(),
        "largest gap": float((example_gradients.mean(0) - batch_gradient).abs().max()),
    }  # fmt: skip
    row_names = [*(f"example {k + 1}" for k in range(len(X))), "batch"]
    return Result(numbers, matrix(torch.cat([example_gradients, batch_gradient[None]]), row_names, column_names))


def complex_derivatives(w1: Any, b1: Any, w2: Any, b2: Any, x: Any, y: Any) -> Any:
    """Return the derivatives (3, 2) of the cost of a network 2-3-2 with respect to w1, by imaginary steps.

    C(w + ih) = C(w) + ih C'(w) - ..., so the imaginary part over h is the derivative, without any difference of nearly
    equal numbers (Squire and Trapp 1998).
    """
    steps = 1e-20j * np.eye(w1.size).reshape(-1, *w1.shape)
    derivatives = []
    for step in steps:
        a1 = 1 / (1 + np.exp(-((w1 + step) @ x + b1)))
        a2 = 1 / (1 + np.exp(-(w2 @ a1 + b2)))
        derivatives.append((((a2 - y) ** 2).sum() / 2).imag / 1e-20)
    return np.reshape(derivatives, w1.shape)


STEPS = (equations, three_ways, averaged)
GUIDE = Guide(
    question="A network made an error. How much of it is each single weight to blame for?",
    minutes=20,
    needs=("neuron", "descent"),
    guesses={
        "equations": Guess(
            "Two weights lead to the same neuron, one from an input of 0.05, the other from 0.10. Which one has the "
            "derivative of larger size?",
            ("both have the same, that of the neuron", "the one from 0.10, twice the other", "the larger weight"),
            1,
            "By BP4 the derivative is the neuron's δ times the value that the weight multiplies.",
        ),
        "three_ways": Guess(
            "The outputs below a neuron are all 0. What can still change its output?",
            ("only its weights", "its bias, and the outputs below", "nothing"),
            1,
            "Weights multiply 0, so their derivatives are 0. The bias is added in any case, and outputs below count "
            "by w.",
        ),
        "averaged": Guess(
            "For one weight, the derivatives of four examples are 0.3, -0.1, 0.1 and 0.1. What is that of the batch?",
            ("0.3, the largest", "0.4, the sum", "0.1, the mean"),
            2,
            "The cost of the batch is the mean of the costs, and so are its derivatives.",
        ),
    },
    sliders={
        "equations": (
            Slider(
                "first_target",
                "target of the first output",
                (0.01, 0.2, 0.6, 0.99),
                {0.6: "The output is below its target now: its δ is negative, and the links to it change colour."},
            ),
            Slider(
                "scale",
                "all weights and biases, multiplied by",
                (0.0, 0.5, 1.0, 3.0, 10.0),
                {
                    0.0: "Every z is 0 and every a 1/2. Without weights nothing comes back: the hidden δ are 0.",
                    10.0: "Large sums saturate the sigmoids: some a are nearly 0 or 1, and their δ nearly 0.",
                },
            ),
        ),
        "three_ways": (
            Slider(
                "first_input",
                "first input of the network",
                (0.0, 0.05, 0.5, 1.0),
                {1.0: "The outputs below have changed, and with them the derivatives of the weights."},
            ),
        ),
    },
    notices={
        "equations": (
            "Read from right to left, as the computation goes: each output neuron has its δ, and the hidden ones "
            "receive theirs through the links. The sign of δ says whether z is too high (positive) or too low.",
            "Thick links have large derivatives. The links from the inputs are thin, although nothing is wrong with "
            "them: the inputs, 0.05 and 0.10, are small factors in BP4, and the hidden δ are small, too.",
            "In the numbers, each line has the equation beside the finite difference: the change of the cost when this "
            "one quantity changes by 0.00001. The gap is far below any of the numbers.",
        ),
        "three_ways": (
            'Two of the lines of numbers are quotients. "weights / bias" are the three outputs below, '
            '"outputs below / bias" are the three weights: the formulas can be read off.',
            'Change the first input. The outputs below change, but "outputs below / bias" stay, since they are the '
            "weights of the network.",
        ),
        "averaged": (
            "Look down one column. Blue and brown in the same column are examples that pull this weight in opposite "
            "directions; in the last row, their mean, they cancel and it is pale.",
            "Columns of mostly one colour, such as b2, are nearly agreed upon. The batch moves them most.",
        ),
    },
    exercises=(
        Exercise(
            "An output neuron outputs a = 0.8, and its target is 0. How large is its error δ? (three decimals)",
            0.128,
            0.0005,
            "BP1: (a - y) a (1 - a) = 0.8 · 0.8 · 0.2 = 0.128.",
            {0.8: "That is a - y. It must be multiplied by the slope a (1 - a).", 0.16: "That is only the slope."},
        ),
        Exercise(
            "A hidden neuron outputs 0.5. Its weights to the two output neurons are 2 and -1, and their errors are 0.1 "
            "and 0.3. How large is its own error? (three decimals)",
            -0.025,
            0.0005,
            "BP2: (2 · 0.1 - 1 · 0.3) · 0.5 · 0.5 = -0.1 · 0.25 = -0.025.",
            {-0.1: "That is the sum; multiply by the slope 0.5 · 0.5.", 0.025: "Mind the sign of the second weight."},
        ),
    ),
    functions={
        "delta": FunctionExercise(
            "delta(w, next_delta, a): the errors (n,) of a layer with the outputs a (n,), from the errors next_delta "
            "(m,) of the next layer and its weights w (m, n).",
            lambda w, next_delta, a: np.einsum("mn,m,n->n", w, next_delta, a - a**2),
            lambda random: (random.normal(size=(2, 3)), random.normal(size=2), random.random(3)),
            "def delta(w, next_delta, a):\n    return w.T @ next_delta * a * (1 - a)",
        ),
        "first_weights": FunctionExercise(
            "first_weights(w1, b1, w2, b2, x, y): the derivatives (3, 2) of C = half the sum of (a - y)² with respect "
            "to w1 (3, 2), in a network of sigmoids with b1 (3,), w2 (2, 3), b2 (2,), input x (2,) and target y "
            "(2,).",
            complex_derivatives,
            lambda random: tuple(random.normal(size=shape) for shape in ((3, 2), (3,), (2, 3), (2,), (2,), (2,))),
            "def first_weights(w1, b1, w2, b2, x, y):\n"
            "    a1 = 1 / (1 + np.exp(-(w1 @ x + b1)))\n"
            "    a2 = 1 / (1 + np.exp(-(w2 @ a1 + b2)))\n"
            "    delta2 = (a2 - y) * a2 * (1 - a2)\n"
            "    delta1 = (w2.T @ delta2) * a1 * (1 - a1)\n"
            "    return np.outer(delta1, x)",
        ),
    },
    later="Every layer of this library has such a backward pass, which receives δ from above and passes it on below.",
    studio="#draw",
)
