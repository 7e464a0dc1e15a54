"""The landscape of a cost.

The cost of a network is a surface over its weights. This lesson examines that surface for a network with ten weights,
1-3-1 with tanh neurons, which learns a sine from noisy points. It shows the curvature, the quadratic approximation
(Bishop 2006, section 5.2), why many minima are equal, and how the cost at the minimum estimates the noise of the data.
"""

from functools import cache
from itertools import permutations, product
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid import Adam, Cosine, Dense, Mode, Model, Quadratic, Sequential, Tanh
from pellucid.data.source import Batch
from pellucid.layers.base import Params
from pellucid.lessons.guide import Exercise, Guess, Guide, Slider
from pellucid.lessons.lesson import Result, Setting
from pellucid.nested import flatten, map_tree, nest
from pellucid.objective import Supervised
from pellucid.report.figures.heat import matrix
from pellucid.report.figures.series import colours, name_axes, plots_in_rows
from pellucid.report.figures.style import BLUE, INK, SMALL

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


def curvature(setting: Setting) -> Result:
    """The Hessian and its eigenvalues.

    The Hessian contains the second derivatives of the cost. It is symmetric, so for W weights it has W (W + 1) / 2
    different entries. It is computed by finite differences of explicit gradients: two backward passes for each weight.
    Its eigenvalues are the curvatures along its eigenvectors. They differ by orders of magnitude, which is why no
    single learning rate is right for all directions: the largest eigenvalue limits it to 2 / λ, and along the
    eigenvector of the smallest eigenvalue the descent hardly moves.
    """
    surface = trained_surface(setting.seed, setting.small)
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


def quadratic(setting: Setting, reach: float = 1.0) -> Result:
    """The local quadratic approximation.

    Near a point w the cost is almost

    C(w + d) ≈ C(w) + dᵀ g + ½ dᵀ H d

    with the gradient g and the Hessian H: W + W (W + 1) / 2 = W (W + 3) / 2 values. To find a minimum only from values
    of the cost, all of these must be determined, at O(W) for each evaluation and O(W³) in all. A gradient provides W
    values for the same O(W), so O(W²) suffices. This is the advantage of backpropagation.

    The figure compares the cost with its approximation along the eigenvectors of the largest and the smallest
    eigenvalue. The error falls with the third power of the distance: at half the distance, it is about an eighth.
    """
    surface = trained_surface(setting.seed, setting.small)
    point, h = surface.point, hessian(surface, surface.point)
    gradient, (eigenvalues, eigenvectors) = surface.gradient(point), torch.linalg.eigh((h + h.T) / 2)

    def approximation(move: Tensor) -> float:
        return surface.cost(point) + float(move @ gradient + move @ h @ move / 2)

    figure, plots = plots_in_rows(["steepest direction", "flattest direction"], 2, 3.0)
    for plot, k, max_distance in zip(plots, (-1, 0), (reach, 3 * reach), strict=True):
        positions = torch.linspace(-max_distance, max_distance, 81, dtype=torch.float64)
        for name, function, colour in (
            ("cost", lambda move: surface.cost(point + move), colours(2)[0]),
            ("quadratic approximation", approximation, colours(2)[1]),
        ):
            plot.plot(positions, [function(t * eigenvectors[:, k]) for t in positions], color=colour, label=name)
        plot.legend(frameon=False, fontsize=SMALL)
        plot.locator_params(axis="x", nbins=6)
        name_axes(plot, f"distance along the eigenvector, λ = {float(eigenvalues[k]):.2g}", "cost")
    errors = []
    for distance in (0.008, 0.004, 0.002):
        move = distance * eigenvectors[:, -1]
        errors.append(abs(surface.cost(point + move) - approximation(move)))
    n_weights = len(point)
    numbers = {
        "numbers in the approximation": n_weights * (n_weights + 3) // 2,
        "errors at 0.008, 0.004, 0.002": errors,
    }
    return Result({**numbers, "ratios": [errors[0] / errors[1], errors[1] / errors[2]]}, figure)


def symmetries(setting: Setting) -> Result:
    """Many equal minima.

    The outputs are unchanged if hidden neurons change places, or, since tanh(-z) = -tanh(z), if the signs of all
    weights into and out of a neuron change. M hidden neurons have M! 2^M such arrangements, so each minimum exists
    M! 2^M times. Between two of them the cost rises, as the figure shows along the straight lines from the trained
    weights to three other minima.
    """
    surface = trained_surface(setting.seed, setting.small)
    w, b, v, c = surface.point.split([HIDDEN, HIDDEN, HIDDEN, 1])
    points = []
    for order in permutations(range(HIDDEN)):
        for signs in product((1.0, -1.0), repeat=HIDDEN):
            sign, indices = torch.tensor(signs, dtype=torch.float64), list(order)
            points.append(torch.cat([sign * w[indices], sign * b[indices], sign * v[indices], c]))
    expected = surface.outputs(surface.point)
    gaps = [float((surface.outputs(point) - expected).abs().max()) for point in points]
    distances = torch.pdist(torch.stack(points))
    figure, (plot,) = plots_in_rows(["between equal minima"], 1, 3.0)
    positions = torch.linspace(0, 1, 81, dtype=torch.float64)
    other_minima = {"one sign changed": points[4], "two neurons exchanged": points[8], "all signs changed": points[7]}
    for (name, minimum), colour in zip(other_minima.items(), colours(len(other_minima)), strict=True):
        costs = [surface.cost(surface.point + t * (minimum - surface.point)) for t in positions]
        plot.plot(positions, costs, color=colour, label=name)
    plot.legend(frameon=False, fontsize=SMALL)
    name_axes(plot, "fraction of the way", "cost")
    numbers = {
        "arrangements": len(points),
        "smallest distance": float(distances.min()),
        "largest gap of outputs": max(gaps),
    }
    return Result(numbers, figure)


def noise(setting: Setting, deviations: int = 1) -> Result:
    """Estimating the noise from the minimum.

    If targets are the network's outputs plus noise of precision β (one over the variance), the likelihood of N targets
    is largest at the weights with the least squared error. With these weights, it is largest at the precision

    1 / β = 1 / N Σ (output - target)²

    (Bishop 2006, equation 5.15), which is twice the cost. The noise of the data has a standard deviation of 0.2, a
    precision of 25. The network also fits some of the noise, which raises the estimated precision on average.
    """
    surface = trained_surface(setting.seed, setting.small)
    outputs = surface.outputs(surface.point)[:, 0]
    precision = 1 / (2 * surface.cost(surface.point))
    numbers = {"precision": precision, "standard deviation": precision**-0.5, "true standard deviation": NOISE}
    width = deviations * precision**-0.5
    numbers["share of the points in the band"] = float(((surface.y[:, 0] - outputs).abs() <= width).double().mean())
    figure, (plot,) = plots_in_rows([f"output ± {deviations} x the standard deviation of the noise"], 1, 3.2)
    x, y = surface.x[:, 0], surface.y[:, 0]
    plot.fill_between(x, outputs - width, outputs + width, color=BLUE, alpha=0.2, linewidth=0)
    plot.plot(x, outputs, color=BLUE, linewidth=1.7)
    plot.plot(x, y, "o", color=INK, markersize=3)
    name_axes(plot, "x", "y")
    return Result(numbers, figure)


STEPS = (curvature, quadratic, symmetries, noise)
GUIDE = Guide(
    question="What does the surface look like on which a network walks downhill?",
    minutes=20,
    needs=("descent", "backprop"),
    guesses={
        "symmetries": Guess(
            "Two hidden neurons exchange all their weights. What happens to the network's outputs?",
            ("nothing", "they change sign", "they become worse"),
            0,
            "The output is a sum over the hidden neurons, and a sum does not depend on the order of its terms.",
        ),
        "quadratic": Guess(
            "At half the distance from the minimum, how large is the error of the quadratic approximation?",
            ("about an eighth", "about a half", "the same"),
            0,
            "The first term that the approximation leaves out has the third power of the distance: (1/2)³ = 1/8.",
        ),
    },
    sliders={
        "quadratic": (
            Slider(
                "reach",
                "how far the left plot goes; the right one goes three times as far",
                (0.1, 0.3, 1.0, 2.0),
                {0.1: "So near to the minimum, the two curves on the left cannot be told apart."},
            ),
        ),
        "noise": (
            Slider(
                "deviations",
                "width of the band, in standard deviations",
                (1, 2, 3),
                {2: "About 95 % of normally distributed noise lies within two.", 3: "About 99.7 % lie within three."},
            ),
        ),
    },
    notices={
        "curvature": (
            "The matrix is symmetric. Its largest entries belong to few weights: along them the cost is steep, along "
            "most others it is nearly flat.",
        ),
        "quadratic": (
            "Compare the scales of the axes: in the flat direction one can walk three times as far for a much smaller "
            "rise. Far from the minimum the true cost leaves the parabola.",
        ),
        "symmetries": (
            "All curves begin and end at the same cost: both ends are minima of equal depth. Between them is a hill.",
        ),
        "noise": (
            "With one standard deviation about two thirds of the points lie in the band, if the estimate is right. "
            "The network cannot predict where in the band a point lies.",
        ),
    },
    exercises=(
        Exercise(
            "How many different entries does the Hessian of a network with 20 weights have?",
            210,
            0.5,
            "20 · 21 / 2 = 210: it is symmetric.",
            {400: "These are all entries; the ones above the diagonal equal those below."},
        ),
        Exercise(
            "In how many arrangements does each minimum of a tanh network with 4 hidden neurons exist?",
            384,
            0.5,
            "4! · 2⁴ = 24 · 16 = 384.",
            {
                24: "These are the orders; four signs can also be changed.",
                16: "These are the signs; the neurons can also change places.",
            },
        ),
    ),
    later="The largest eigenvalue limits the learning rate, and is why rates are warmed up and normalization helps.",
    studio="#play",
)
