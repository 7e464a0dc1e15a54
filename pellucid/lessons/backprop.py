"""Backpropagation.

Four equations give the gradient of the cost with respect to every weight and bias of a network (Nielsen 2015, chapter
2). This lesson computes them one by one for a network of two inputs, three hidden neurons and two outputs. Each
derivative is compared with its finite difference, computed from the cost after small changes of one quantity.

z = w a + b are the weighted inputs of a layer, where a are the outputs of the layer below. The outputs of a layer are
a = σ(z), and δ = ∂C/∂z is called the error of a neuron.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from pellucid import Dense, Mode, Quadratic, Sequential, Sigmoid
from pellucid.layers.base import Params
from pellucid.lessons.lesson import Result, Setting
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


def equations(setting: Setting) -> Result:
    """The four equations.

    For one example with the target y, and C = ½ ‖a - y‖²:

    - BP1, the error of the output layer: δ = (a - y) ⊙ σ'(z)
    - BP2, the error of a layer from the error of the next layer: δ = (wᵀ δ of the next layer) ⊙ σ'(z)
    - BP3, the gradient of the biases: ∂C/∂b = δ
    - BP4, the gradient of the weights: ∂C/∂w = δ times the outputs of the layer below

    ⊙ is the elementwise product, and σ'(z) = a (1 - a). The figure shows a and δ in each neuron.
    """
    params, x, y = random_params(setting.seed), X[:1], TARGETS[:1]
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
        layers.append([f"a {float(p):.2f}\nδ {float(q):.3f}" for p, q in zip(a[0], delta[0], strict=True)])
    weight_gradients = list(gradients_by_equation["BP4"].values())
    return Result(numbers, neurons(layers, weight_gradients, ("inputs", "hidden layer", "output layer")))


def three_ways(setting: Setting) -> Result:
    """Three ways to raise an output.

    The output a = σ(w a' + b) of a neuron rises with its bias, with its weights, and with the outputs a' of the layer
    below:

    ∂a/∂b = σ'(z),  ∂a/∂w = a' σ'(z),  ∂a/∂a' = w σ'(z)

    So a weight matters in proportion to the output below it, and an output below in proportion to its weight. The
    numbers are the derivatives for the first output neuron. Divided by ∂a/∂b, the second and the third are the outputs
    below and the weights.
    """
    params, x = random_params(setting.seed), X[:1]
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
    by_difference = {
        path: central_difference(lambda shifts: outputs(params, x, shifts)[0, 0], path, slope.shape)
        for path, slope in slopes.items()
    }
    bias, weight, activation = (slope.flatten() for slope in slopes.values())
    numbers = {
        "bias": float(bias[0]), "weights": weight[:3].tolist(), "outputs below": activation.tolist(),
        "weights / bias": (weight[:3] / bias[0]).tolist(), "outputs below / bias": (activation / bias[0]).tolist(),
        "largest gap to differences": max(float((slopes[path] - by_difference[path]).abs().max()) for path in slopes),
    }  # fmt: skip
    return Result(numbers)


def averaged(setting: Setting) -> Result:
    """Many examples: the average.

    Each example has its own gradient, and a step that lowers the cost of one example may raise the cost of another. The
    cost of a batch is the mean of the costs of its examples, so its gradient is the mean of their gradients. The figure
    shows the gradient of the output layer for four examples, and the gradient of the batch.
    """
    params = random_params(setting.seed)

    def gradient(x: Tensor, y: Tensor) -> Tensor:
        out, cache = forward(NET, params, x, Mode())
        _, dparams = backward(NET, params, cache, Quadratic()(out, y)[1])
        return torch.cat([leaf.flatten() for leaf in dparams["dense2"].values()])

    example_gradients = torch.stack([gradient(X[k : k + 1], TARGETS[k : k + 1]) for k in range(len(X))])  # (4, 8)
    batch_gradient = gradient(X, TARGETS)  # (8,)
    columns = [f"w{i}{j}" for i in (1, 2) for j in (1, 2, 3)] + ["b1", "b2"]
    numbers = {
        "mean of the gradients": example_gradients.mean(0).tolist(), "gradient of the batch": batch_gradient.tolist(),
        "largest gap": float((example_gradients.mean(0) - batch_gradient).abs().max()),
    }  # fmt: skip
    rows = [*(f"example {k + 1}" for k in range(len(X))), "batch"]
    return Result(numbers, matrix(torch.cat([example_gradients, batch_gradient[None]]), rows, columns))


STEPS = (equations, three_ways, averaged)
