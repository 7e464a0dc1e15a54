"""The settings of the playground: a problem, a network and how it learns, each within limits."""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check, check_known
from pellucid.losses import LOSSES
from pellucid.model import Model
from pellucid.models import mlp
from pellucid.models.mlp import ACTIVATIONS
from pellucid.optim import OPTIMIZERS
from pellucid.optim.regularizers import L1, L2
from pellucid.studio.play.pictures import sheet_points
from pellucid.studio.play.problems import (
    CLASS_PROBLEMS,
    DIGIT_CLASSES,
    INPUTS,
    MAX_COORDINATE,
    MAX_POINTS,
    PICTURE_PROBLEMS,
    PICTURE_SIDE,
    VALUE_PROBLEMS,
    digits,
    inputs,
    problem,
)

OWN_PROBLEMS = {"own": "own points", "own values": "own points with values"}
CLASS_NAMES = ("ochre", "blue")  # the colours of the two classes: blue is positive
MAX_LAYERS = 6  # hidden layers
MAX_NEURONS = 8  # of a hidden layer
CLASS_LOSSES = ("softmax_cross_entropy", "binary_cross_entropy", "quadratic", "hinge")
VALUE_LOSSES = ("quadratic", "l1", "huber")
INITS = ("xavier", "he", "scaled", "normal", "zeros")


class Examples(NamedTuple):
    """The examples of a problem, those for training first."""

    points: Tensor  # (N, 2), where they are shown in the plane
    x: Tensor  # (N, inputs) or (N, 1, 8, 8), the network's inputs
    target: Tensor  # (N,) classes or (N, 1) values
    train: int  # how many are for training


@dataclass(frozen=True)
class OpenPlayground:
    """play.open: all settings; the weights are kept where shapes allow, unless `fresh` or the seed changes them."""

    problem: str = "circles"
    noise: float = 0.1  # 0 to 1
    count: int = 200  # points, half of them for testing
    seed: int = 0  # of the points and of the first weights
    inputs: tuple[str, ...] = ("x1", "x2")
    hidden: tuple[int, ...] = (4, 2)  # neurons of each hidden layer
    activation: str = "tanh"
    init: str = "xavier"
    loss: str | None = None  # None for the first loss for the problem
    optimizer: str = "sgd"
    rate: float = 0.1
    batch: int = 10
    l1: float = 0.0  # strengths of the regularizers
    l2: float = 0.0
    points: Tensor | None = None  # (N, 3): coordinates, and class or value, of the problems in OWN_PROBLEMS
    train: int = 0  # how many of `points`, the first, are for training; 0 for all
    fresh: bool = False  # whether to draw new weights

    @property
    def has_classes(self) -> bool:
        """Whether the targets are classes, not values."""
        return self.problem in (*CLASS_PROBLEMS, *PICTURE_PROBLEMS, "own")

    @property
    def has_pictures(self) -> bool:
        """Whether the inputs are images, not points."""
        return self.problem in PICTURE_PROBLEMS

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes; none for values."""
        if not self.has_classes:
            return ()
        return DIGIT_CLASSES if self.has_pictures else CLASS_NAMES

    @property
    def losses(self) -> tuple[str, ...]:
        """The losses for this problem."""
        return CLASS_LOSSES if self.has_classes else VALUE_LOSSES

    @property
    def loss_name(self) -> str:
        """The loss that is used: the given one if it fits the problem."""
        return self.losses[0] if self.loss is None or self.loss not in self.losses else self.loss

    @property
    def sizes(self) -> list[int]:
        """The numbers of inputs, of neurons of each hidden layer, and of outputs."""
        first = PICTURE_SIDE**2 if self.has_pictures else len(self.inputs)
        return [first, *self.hidden, len(self.class_names) or 1]

    def check(self) -> None:
        """Raise PellucidError for a setting that is unknown or outside its limits."""
        check_known("no problem", self.problem, [*CLASS_PROBLEMS, *VALUE_PROBLEMS, *PICTURE_PROBLEMS, *OWN_PROBLEMS])
        check(0 < len(self.inputs) <= len(INPUTS), "inputs", f"1 to {len(INPUTS)} names", len(self.inputs))
        for name in self.inputs:
            check_known("no input", name, INPUTS)
        check(len(set(self.inputs)) == len(self.inputs), "inputs", "different names", ", ".join(self.inputs))
        check(len(self.hidden) <= MAX_LAYERS, "hidden", f"at most {MAX_LAYERS} layers", len(self.hidden))
        for neurons in self.hidden:
            check(1 <= neurons <= MAX_NEURONS, "hidden", f"layers of 1 to {MAX_NEURONS} neurons", neurons)
        check_known("no activation", self.activation, ACTIVATIONS)
        check_known("no initialization", self.init, INITS)
        if self.loss is not None:
            check_known("no loss", self.loss, {*CLASS_LOSSES, *VALUE_LOSSES})
        check_known("no optimizer", self.optimizer, OPTIMIZERS)
        check(0 < self.rate <= 100, "rate", "above 0, at most 100", self.rate)
        check(1 <= self.batch <= MAX_POINTS, "batch", f"from 1 to {MAX_POINTS}", self.batch)
        for name, strength in (("l1", self.l1), ("l2", self.l2)):
            check(0 <= strength <= 100, name, "from 0 to 100", strength)
        if self.problem in OWN_PROBLEMS:
            self._check_points()

    def _check_points(self) -> None:
        """Raise PellucidError unless `points` are within the plane, and their classes 0 or 1."""
        if self.points is None:
            raise PellucidError(f"the problem {OWN_PROBLEMS[self.problem]!r} needs points; click into the plane")
        fits = self.points.ndim == 2 and self.points.shape[1] == 3 and 1 <= len(self.points) <= MAX_POINTS
        check(fits, "points", f"(N, 3), 1 to {MAX_POINTS} of them", tuple(self.points.shape))
        check(0 <= self.train <= len(self.points), "train", f"from 0 to {len(self.points)}", self.train)
        largest = float(self.points.abs().max())
        check(largest <= MAX_COORDINATE, "points", f"numbers from -{MAX_COORDINATE:g} to {MAX_COORDINATE:g}", largest)
        targets = self.points[:, 2]
        if self.has_classes and not bool(((targets == 0) | (targets == 1)).all()):
            raise PellucidError("points: the third number is a class, 0 or 1")

    def examples(self) -> Examples:
        """Return the examples of the problem."""
        train = self.count // 2
        if self.has_pictures:
            images, target = digits(self.count, self.noise, self.seed)
            return Examples(sheet_points(self.count, train), images, target, train)
        if self.problem in OWN_PROBLEMS:
            assert self.points is not None
            points = self.points[:, :2].double()
            values = self.points[:, 2:].double()
            target = values[:, 0].long() if self.has_classes else values
            train = self.train or len(points)
        else:
            points, target = problem(self.problem, self.count, self.noise, self.seed)
        return Examples(points, self.network_inputs(points), target, train)

    def model(self) -> Model:
        """Return the network with new weights."""
        return Model(
            mlp(self.sizes, self.activation, init_weight=self.init),
            LOSSES[self.loss_name](),
            OPTIMIZERS[self.optimizer](self.rate),
            input_shape=self._input_shape,
            classes=self.class_names or None,
            seed=self.seed,
            regularizer=[kind(lam) for kind, lam in ((L1, self.l1), (L2, self.l2)) if lam],
            precision="float64",
        )

    @property
    def _input_shape(self) -> tuple[int, ...]:
        return (1, PICTURE_SIDE, PICTURE_SIDE) if self.has_pictures else (len(self.inputs),)

    def network_inputs(self, points: Tensor) -> Tensor:
        """Return the network's inputs for points (N, 2) in the plane."""
        return inputs(points.double(), self.inputs)

    def code(self, epochs: int) -> str:
        """Return Python text that trains the same network, from new weights, with the same numbers."""
        numbers = f"{self.count}, {self.noise}, {self.seed}"
        x = f"x = inputs(points, {self.inputs})"
        train = f"[:{self.count // 2}]"
        if self.has_pictures:
            data = f"x, target = digits({numbers})"
        elif self.problem in OWN_PROBLEMS:
            assert self.points is not None
            rows = [[round(value, 4) for value in row] for row in self.points.tolist()]
            target = "rows[:, 2].long()" if self.has_classes else "rows[:, 2:]"
            data = f"rows = torch.tensor({rows}, dtype=torch.float64)\npoints, target = rows[:, :2], {target}\n{x}"
            train = f"[:{self.train or len(rows)}]"
        else:
            data = f'points, target = problem("{self.problem}", {numbers})\n{x}'
        loss, optimizer = LOSSES[self.loss_name].__name__, OPTIMIZERS[self.optimizer].__name__
        kinds = [f"{kind}({lam})" for kind, lam in (("L1", self.l1), ("L2", self.l2)) if lam]
        classes = f", classes={self.class_names}" if self.has_classes else ""
        return f"""import torch
from pellucid import Model
from pellucid.losses import {loss}
from pellucid.models import mlp
from pellucid.optim import {optimizer}
from pellucid.optim.regularizers import L1, L2
from pellucid.studio.play.problems import digits, inputs, problem

{data}
net = mlp({self.sizes}, "{self.activation}", init_weight="{self.init}")
model = Model(
    net, {loss}(), {optimizer}({self.rate}), input_shape={self._input_shape}{classes},
    seed={self.seed}, regularizer=[{", ".join(kinds)}], precision="float64",
)
model.fit(x{train}, target{train}, epochs={max(epochs, 1)}, batch_size={self.batch})
print(float(model.loss(model(x{train}), target{train})[0]))
"""


@cache
def grid(side: int) -> Tensor:
    """Return the points (side², 2) of a grid over the plane, row by row from the top left."""
    axis = torch.linspace(-MAX_COORDINATE, MAX_COORDINATE, side, dtype=torch.float64)
    rows, columns = torch.meshgrid(-axis, axis, indexing="ij")
    return torch.stack([columns.flatten(), rows.flatten()], 1)
