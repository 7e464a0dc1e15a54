"""The landscape of a cost.

The cost of a network is a surface over its weights. This lesson examines that surface for a network with ten weights,
1-3-1 with tanh neurons, which learns a sine from noisy points. It shows the curvature, the quadratic approximation
(Bishop 2006, section 5.2), why many minima are equal, and how the cost at the minimum estimates the noise of the data.
"""

from functools import cache
from itertools import permutations, product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pellucid import Adam, Cosine, Dense, Mode, Model, Quadratic, Sequential, Tanh
from pellucid.data.source import Batch
from pellucid.layers.base import Params
from pellucid.lessons.guide import Exercise, FunctionExercise, Guess, Guide, Slider
from pellucid.lessons.lesson import LessonSettings, Result
from pellucid.nested import flatten, map_tree, nest
from pellucid.objective import Supervised
from pellucid.report.figures.heat import matrix
from pellucid.report.figures.series import colours, legend_above, name_axes, plots_in_rows
from pellucid.report.figures.style import BLUE, INK

HIDDEN = 3  # number of hidden neurons
NET = Sequential(hidden=Dense(HIDDEN, init_weight="normal", init_bias="normal"), tanh=Tanh(), output=Dense(1))
NOISE = 0.2  # standard deviation of the noise in the targets
STEP = 1e-4  # step of the finite differences


class Surface(NamedTuple):
    """A trained network and its data: x and y (N, 1); params, the parameters; point, the same as one vector (W,)."""

    x: Tensor
    y: Tensor
    params: Params
    point: Tensor

    def unflatten(self, point: Tensor) -> Params:
        """Return a vector of weights as a nested dict of parameters."""
        flat = flatten(self.params)
        parts = point.split([leaf.numel() for leaf in flat.values()])
        return nest(self.params, {path: p.view_as(leaf) for (path, leaf), p in zip(flat.items(), parts, strict=True)})

    def cost(self, point: Tensor) -> float:
        """Return the cost, half the mean squared error, at a vector of weights."""
        return float(Quadratic()(self.outputs(point), self.y)[0])

    def outputs(self, point: Tensor) -> Tensor:
        """Return the network's outputs (N, 1) with a vector of weights."""
        return NET.forward(self.unflatten(point), self.x, Mode())[0]

    def gradient(self, point: Tensor) -> Tensor:
        """Return the gradient (W,) by one forward and one backward pass."""
        _, dparams = Supervised(NET, Quadratic()).gradients(self.unflatten(point), Batch(self.x, self.y), Mode())
        return torch.cat([dparams[name][key].flatten() for name in ("hidden", "output") for key in dparams[name]])


@cache
def trained_surface(seed: int, small: bool) -> Surface:
    """Return the network after training on 100 points of sin(πx) + noise, x in [-1, 1]."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.linspace(-1, 1, 100)[:, None]
    y = (torch.pi * x).sin() + NOISE * torch.randn(100, 1, generator=rng)
    model = Model(NET, Quadratic(), Adam(0.05), schedule=Cosine(), metrics=(), seed=seed)
    model.fit(x, y, epochs=1000 if small else 3000, batch_size=100, verbose=False)
    params = map_tree(Tensor.double, model.params)
    return Surface(x.double(), y.double(), params, torch.cat([leaf.flatten() for leaf in flatten(params).values()]))


def hessian(surface: Surface, point: Tensor) -> Tensor:
    """Return the matrix (W, W) of second derivatives: central differences of the gradient."""
    steps = STEP * torch.eye(len(point), dtype=torch.float64)
    return torch.stack([surface.gradient(point + step) - surface.gradient(point - step) for step in steps]) / (2 * STEP)


def curvature(settings: LessonSettings) -> Result:
    """The Hessian and its eigenvalues.

    The Hessian contains the second derivatives of the cost. It is symmetric, so for W weights it has W (W + 1) / 2
    different entries. It is computed by finite differences of explicit gradients: two backward passes for each weight.
    Its eigenvalues are the curvatures along its eigenvectors, directions along which the gradient does not turn. They
    differ by orders of magnitude, which is why no single learning rate is right for all directions: the largest
    eigenvalue limits it to 2 / λ, and along the eigenvector of the smallest eigenvalue the descent hardly moves. The
    figure shows the Hessian: w and b are the weights and biases of the hidden neurons, v the weights of the output and
    c its bias.
    """
    surface = trained_surface(settings.seed, settings.small)
    h = hessian(surface, surface.point)
    eigenvalues = torch.linalg.eigvalsh((h + h.T) / 2)
    n_weights = len(surface.point)
    weight_names = [f"{kind}{k}" for kind in ("w", "b", "v") for k in range(1, HIDDEN + 1)] + ["c"]
    numbers = {
        "weights": n_weights, "different entries": n_weights * (n_weights + 1) // 2,
        "cost": surface.cost(surface.point),
        "norm of the gradient": float(surface.gradient(surface.point).norm()),
        "largest asymmetry": float((h - h.T).abs().max()), "eigenvalues": eigenvalues.tolist(),
        "largest stable learning rate": 2 / float(eigenvalues[-1]),
    }  # fmt: skip
    return Result(numbers, matrix(h, weight_names, weight_names))


def descending(settings: LessonSettings, fraction: float = 0.9, direction: str = "steepest") -> Result:
    """The largest eigenvalue limits the learning rate.

    Gradient descent starts at a distance of 0.01 from the minimum, along the steepest or along the flattest
    eigenvector, and takes 20 steps. Near the minimum, a step of rate η multiplies this distance by 1 - η λ. The rate is
    chosen as a fraction of the largest stable one, 2 / λ for the largest eigenvalue λ.
    """
    surface = trained_surface(settings.seed, settings.small)
    h = hessian(surface, surface.point)
    eigenvalues, eigenvectors = torch.linalg.eigh((h + h.T) / 2)
    index = {"steepest": -1, "flattest": 0}[direction]
    rate = fraction * 2 / float(eigenvalues[-1])
    point = surface.point + 0.01 * eigenvectors[:, index]
    distances = [0.01]
    for _ in range(20):
        point = point - rate * surface.gradient(point)
        distances.append(float((point - surface.point) @ eigenvectors[:, index]))
    figure, (plot,) = plots_in_rows([f"rate {rate:.3g}, {direction} direction"], 1, 3.0)
    plot.plot(distances, color=BLUE, linewidth=1.7, marker="o", markersize=3)
    plot.axhline(0.0, color=INK, linewidth=0.8)
    plot.set_xticks(range(0, 21, 5))
    name_axes(plot, "step", "distance along the eigenvector")
    factor = 1 - rate * float(eigenvalues[index])
    return Result({"rate": rate, "1 - η λ": factor, "distance after 20 steps": distances[-1]}, figure)


def quadratic(settings: LessonSettings, reach: float = 1.0) -> Result:
    """The local quadratic approximation.

    Near a point w, at w + d, the cost is almost

    C(w + d) ≈ C(w) + dᵀ g + ½ dᵀ H d

    with the gradient g and the Hessian H: W + W (W + 1) / 2 = W (W + 3) / 2 values. To find a minimum only from values
    of the cost, all of these must be determined. Each evaluation needs about W operations, O(W), so all need O(W³). A
    gradient provides W values for the same O(W), so O(W²) suffices. This is the advantage of backpropagation.

    The figure compares the cost with its approximation along the eigenvectors of the largest and the smallest
    eigenvalue. The error falls with the third power of the distance: at half the distance, it is about an eighth.
    """
    surface = trained_surface(settings.seed, settings.small)
    point, h = surface.point, hessian(surface, surface.point)
    gradient, (eigenvalues, eigenvectors) = surface.gradient(point), torch.linalg.eigh((h + h.T) / 2)

    def approximation(move: Tensor) -> float:
        return surface.cost(point) + float(move @ gradient + move @ h @ move / 2)

    figure, plots = plots_in_rows(["steepest direction", "flattest direction"], 2, 3.0)
    for plot, k, max_distance in zip(plots, (-1, 0), (reach, 3.0), strict=True):
        positions = torch.linspace(-max_distance, max_distance, 81, dtype=torch.float64)
        for name, function, colour in (
            ("cost", lambda move: surface.cost(point + move), colours(2)[0]),
            ("quadratic approximation", approximation, colours(2)[1]),
        ):
            plot.plot(positions, [function(t * eigenvectors[:, k]) for t in positions], color=colour, label=name)
        plot.locator_params(axis="x", nbins=6)
        name_axes(plot, f"distance, λ = {float(eigenvalues[k]):.2g}", "cost")
    legend_above(plots[0])
    errors = []
    for distance in (0.008, 0.004, 0.002):
        move = distance * eigenvectors[:, -1]
        errors.append(abs(surface.cost(point + move) - approximation(move)))
    n_weights = len(point)
    farthest = reach * eigenvectors[:, -1]
    numbers = {
        "numbers in the approximation": n_weights * (n_weights + 3) // 2,
        "cost at the right end": surface.cost(point + farthest),
        "its approximation": approximation(farthest),
        "errors at 0.008, 0.004, 0.002": errors,
    }
    return Result({**numbers, "ratios": [errors[0] / errors[1], errors[1] / errors[2]]}, figure)


def symmetries(settings: LessonSettings) -> Result:
    """Many equal minima.

    The outputs are unchanged if hidden neurons change places, or, since tanh(-z) = -tanh(z), if the signs of all
    weights into and out of a neuron change. M hidden neurons have M! 2^M such arrangements, so each minimum exists
    M! 2^M times. Between two of them the cost rises, as the figure shows along the straight lines from the trained
    weights to three other minima.
    """
    surface = trained_surface(settings.seed, settings.small)
    w, b, v, c = surface.point.split([HIDDEN, HIDDEN, HIDDEN, 1])
    points = []
    for order in permutations(range(HIDDEN)):
        for signs in product((1.0, -1.0), repeat=HIDDEN):
            sign_tensor, indices = torch.tensor(signs, dtype=torch.float64), list(order)
            points.append(torch.cat([sign_tensor * w[indices], sign_tensor * b[indices], sign_tensor * v[indices], c]))
    expected_outputs = surface.outputs(surface.point)
    gaps = [float((surface.outputs(point) - expected_outputs).abs().max()) for point in points]
    distances = torch.pdist(torch.stack(points))
    figure, (plot,) = plots_in_rows(["between equal minima"], 1, 3.0)
    positions = torch.linspace(0, 1, 81, dtype=torch.float64)
    other_minima = {"one sign changed": points[4], "two neurons exchanged": points[8], "all signs changed": points[7]}
    for (name, minimum), colour in zip(other_minima.items(), colours(len(other_minima)), strict=True):
        costs = [surface.cost(surface.point + t * (minimum - surface.point)) for t in positions]
        plot.plot(positions, costs, color=colour, label=name)
    legend_above(plot)
    name_axes(plot, "fraction of the way", "cost")
    numbers = {
        "arrangements": len(points),
        "smallest distance": float(distances.min()),
        "largest gap of outputs": max(gaps),
    }
    return Result(numbers, figure)


def noise(settings: LessonSettings, deviations: int = 1) -> Result:
    """Estimating the noise from the minimum.

    If targets are the network's outputs plus noise of precision β (one over the variance), the likelihood of N targets
    is largest at the weights with the least squared error. With these weights, it is largest at the precision

    1 / β = 1 / N Σ (output - target)²

    (Bishop 2006, equation 5.15), which is twice the cost. The noise of the data has a standard deviation of 0.2, a
    precision of 25. The network also fits some of the noise, which raises the estimated precision on average.
    """
    surface = trained_surface(settings.seed, settings.small)
    outputs = surface.outputs(surface.point)[:, 0]
    precision = 1 / (2 * surface.cost(surface.point))
    numbers = {"precision": precision, "standard deviation": precision**-0.5, "true standard deviation": NOISE}
    x, y = surface.x[:, 0], surface.y[:, 0]
    width = deviations * precision**-0.5
    numbers["share of the points in the band"] = float(((y - outputs).abs() <= width).double().mean())
    figure, (plot,) = plots_in_rows([f"output ± {deviations} x the standard deviation of the noise"], 1, 3.2)
    plot.fill_between(x, outputs - width, outputs + width, color=BLUE, alpha=0.2, linewidth=0)
    plot.plot(x, outputs, color=BLUE, linewidth=1.7)
    plot.plot(x, y, "o", color=INK, markersize=3)
    name_axes(plot, "x", "y")
    return Result(numbers, figure)


STEPS = (curvature, descending, quadratic, symmetries, noise)
GUIDE = Guide(
    question=(
        "A network with ten weights has a cost over ten dimensions. What does this landscape look like near its bottom?"
    ),
    minutes=25,
    needs=("descent", "backprop"),
    guesses={
        "curvature": Guess(
            "At the minimum, the cost is curved in every direction. How different are the largest and the smallest "
            "curvature?",
            ("by a factor of about 2", "by a factor of about 100", "by a factor of more than 10,000"),
            2,
            "Some changes of the weights change the output at once; others nearly cancel, and the cost hardly notices "
            "them.",
        ),
        "descending": Guess(
            "The rate is 0.9 of the largest stable one. How does the descent go along the steepest direction?",
            ("straight to the minimum", "from side to side, nearer each time", "farther away each time"),
            1,
            "The factor 1 - η λ is 1 - 0.9 · 2 = -0.8: each step changes the side, and leaves 80 % of the distance.",
        ),
        "symmetries": Guess(
            "Three hidden neurons change places, or the signs around a neuron change. At how many points is the same "
            "minimum?",
            ("1", "6", "48"),
            2,
            "Three neurons have 3! = 6 orders, and each has 2 signs: 6 · 2 · 2 · 2 = 48.",
        ),
    },
    sliders={
        "descending": (
            Slider(
                "fraction",
                "rate, as a fraction of 2 / λ",
                (0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.2),
                {
                    0.5: "The factor is 0 in the steepest direction: a single step suffices.",
                    1.0: "The factor is -1: the distance stays nearly the same.",
                    1.1: "Beyond the limit, each step leads farther away.",
                },
            ),
            Slider("direction", "direction of the start", ("steepest", "flattest")),
        ),
        "quadratic": (
            Slider(
                "reach",
                "distance shown in the steepest direction",
                (0.05, 0.1, 0.25, 0.5, 1.0, 2.0),
                {
                    0.05: "So near to the minimum, the two curves are one.",
                    2.0: "The cost grows much less than the parabola.",
                },
            ),
        ),
        "noise": (
            Slider(
                "deviations",
                "width of the band, in standard deviations",
                (1, 2, 3),
                {2: "About 95 % of normally distributed noise lies within two.", 3: "And 99.7 % within three."},
            ),
        ),
    },
    notices={
        "curvature": (
            "The matrix equals its mirror image at the diagonal. Its values are of very different sizes: look for the "
            "darkest cells, and compare the first and the last eigenvalue in the numbers.",
        ),
        "descending": (
            "With a fraction of 0.25 the points come down without crossing 0, with 0.9 they jump across it, and with "
            "1.1 the jumps grow. Read the factor 1 - η λ in the numbers and multiply the distance by it.",
            "Choose the flattest direction: the line is level at every rate. The rate that the steep direction allows "
            "is far too small for the flat one.",
        ),
        "quadratic": (
            "On the left both curves are the same in the middle and part at the ends. On the right the approximation "
            "is a level line, since λ is nearly 0, but the cost rises at one end: farther away, the curvature is "
            "different.",
        ),
        "symmetries": (
            "All three curves begin and end at the same cost, that of the minimum, and are higher in between: equal "
            "minima are separated by hills.",
        ),
        "noise": (
            "With one standard deviation to each side, about two thirds of the points should lie in the band. Its "
            "width is computed from the cost alone, and yet nearly the true 0.2.",
        ),
    },
    exercises=(
        Exercise(
            "How many different entries has the Hessian of a network with 100 weights?",
            5050,
            0.5,
            "It is symmetric: 100 · 101 / 2 = 5,050.",
            {
                10000: "Entries on both sides of the diagonal are equal.",
                4950: "The 100 entries of the diagonal count too.",
            },
        ),
        Exercise(
            "The eigenvalues of a Hessian are 40, 5 and 0.1. What is the largest stable learning rate?",
            0.05,
            0.001,
            "2 / 40 = 0.05: the steepest direction sets the limit.",
            {
                20: "That is for the flattest direction. The steepest diverges first.",
                0.025: "1 / λ is best there, 2 / λ the limit.",
            },
        ),
        Exercise(
            "In how many points of its landscape is the same minimum of a tanh network with 4 hidden neurons, by "
            "exchanges and signs?",
            384,
            0.5,
            "4! · 2⁴ = 24 · 16 = 384.",
            {
                24: "The signs of each neuron can change too.",
                40: "Each order can have all signs: multiply, do not add.",
            },
        ),
    ),
    functions={
        "approximate": FunctionExercise(
            "approximate(cost, gradient, hessian, d): the quadratic approximation of the cost at a move d (W,), from "
            "the cost, the gradient (W,) and the Hessian (W, W) at the start.",
            lambda cost, gradient, hessian, d: cost + np.dot(gradient, d) + np.einsum("i,ij,j->", d, hessian, d) / 2,
            lambda random: (0.7, random.normal(size=3), (m := random.normal(size=(3, 3))) + m.T, random.normal(size=3)),
            "def approximate(cost, gradient, hessian, d):\n    return cost + d @ gradient + d @ hessian @ d / 2",
        )
    },
    later=(
        "Optimizers such as Adam scale each direction, since the curvatures of all networks differ by orders of "
        "magnitude."
    ),
)
