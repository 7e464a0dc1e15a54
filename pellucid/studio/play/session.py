"""The requests of the playground, and its state for one tab: a small network, its points, and its training."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check
from pellucid.data import Arrays, Loader
from pellucid.data.source import Batch
from pellucid.layers.base import Layer, Mode, Trait
from pellucid.model import Model
from pellucid.nested import flatten, nest, shared_paths
from pellucid.optim import OPTIMIZERS
from pellucid.studio.draw.session import layer_to_json
from pellucid.studio.messages import Reply
from pellucid.studio.play.pictures import neuron_images, sheet
from pellucid.studio.play.problems import (
    CLASS_PROBLEMS,
    INPUTS,
    MAX_COORDINATE,
    PICTURE_PROBLEMS,
    PICTURE_SIDE,
    VALUE_PROBLEMS,
)
from pellucid.studio.play.settings import (
    ACTIVATIONS,
    INITS,
    MAX_LAYERS,
    MAX_NEURONS,
    OWN_PROBLEMS,
    OpenPlayground,
    grid,
)
from pellucid.studio.play.surface import extended, surface
from pellucid.studio.view import PLAYGROUND, Library, MadeModel
from pellucid.sweep import run
from pellucid.trace import Trace
from pellucid.training.step import NotFiniteError, TrainingStep

SIDE = 40  # values along each axis of the plane
MAX_STEPS = 500  # of one request
EPS = 1e-4  # of the finite difference
NOT_OPEN = "the playground is not open; send play.open first"
CHOICES = {
    "problems": [*CLASS_PROBLEMS, *VALUE_PROBLEMS, *PICTURE_PROBLEMS, *OWN_PROBLEMS],
    "inputs": [*INPUTS],
    "activations": [*ACTIVATIONS],
    "optimizers": [*OPTIMIZERS],
    "inits": [*INITS],
    "layers": MAX_LAYERS,  # at most, hidden
    "neurons": MAX_NEURONS,  # at most, of a hidden layer
}


@dataclass(frozen=True)
class LearnSteps:
    """play.learn: take steps, each with one batch."""

    steps: int = 1


@dataclass(frozen=True)
class ExplainWeight:
    """play.explain: the derivative of one point's loss; what: an element, such as "features.dense1.weight[0, 1]".

    point: the index of a point, those for training first; None for the point for training with the largest error.
    """

    what: str
    point: int | None = None


@dataclass(frozen=True)
class ReadSurface:
    """play.surface: the loss around the present weights, along the two main directions of their path."""


@dataclass(frozen=True)
class ReadCode:
    """play.code: Python text that trains the same network."""


class PlaySession:
    """One tab's network on points in the plane, or on images.

    library: the studio's store of models. side: of the grid on which outputs over the plane are computed.
    """

    def __init__(self, library: Library, side: int = SIDE) -> None:
        self.library = library
        self.side = side
        self.settings: OpenPlayground | None = None

    def open(self, request: OpenPlayground) -> Reply:
        """Apply settings; the weights are kept where the shapes of the network allow, once it has learned."""
        request.check()
        old = self.settings
        is_new = old is None or request.fresh or old.seed != request.seed or self.taken == 0
        model = request.model()
        if not is_new:
            self._keep_weights(model)
        points, x, target, count = request.examples()
        step = TrainingStep.of(model, count)
        if old is not None and not is_new and request.optimizer == old.optimizer and self._has_shapes_of(model):
            step.load_state_dict(self.step.state_dict())
        loader = Loader(Arrays(x[:count], target[:count]), min(request.batch, count), request.seed, dtype=torch.float64)
        if is_new:
            self.epoch = 0
            self.taken = 0
        self.settings = request
        self.model = model
        self.step = step
        self.x = x
        self.target = target
        self.count = count
        self.loader = loader
        self.batches = [*loader.epoch(self.epoch)]
        self.position = 0
        self.path = [_flat(model)]
        self.library.made[PLAYGROUND] = MadeModel(model, x[:1])
        shown_target = target if request.has_classes else target[:, 0]
        tensors = {"points": torch.cat([points, shown_target[:, None].double()], 1)}
        state = self._state()
        fields = {"choices": {**CHOICES, "losses": request.losses}, "loss_name": request.loss_name}
        fields |= {"train": count, "sizes": request.sizes, "classes": request.class_names}
        fields |= {"has_pictures": request.has_pictures, "has_classes": request.has_classes}
        fields |= {"extent": MAX_COORDINATE, "side": PICTURE_SIDE if request.has_pictures else self.side}
        return Reply({**fields, **state.fields}, {**tensors, **state.tensors})

    def _keep_weights(self, model: Model) -> None:
        """Give a new model the present weights, where path and shape are the same."""
        present, weights = flatten(self.model.params), flatten(model.params)
        for path in shared_paths(self.model.params, model.params):
            weights[path].copy_(present[path])

    def _has_shapes_of(self, model: Model) -> bool:
        present = {path: weight.shape for path, weight in flatten(self.model.params).items()}
        return present == {path: weight.shape for path, weight in flatten(model.params).items()}

    def learn(self, request: LearnSteps) -> Reply:
        """Take steps of the optimizer, and return the network after them."""
        settings = self._opened()
        check(1 <= request.steps <= MAX_STEPS, "steps", f"from 1 to {MAX_STEPS}", request.steps)
        with torch.inference_mode():
            for _ in range(request.steps):
                self._learn(self.batches[self.position], settings.rate)
                self.taken += 1
                self.position += 1
                if self.position == len(self.batches):
                    self.epoch += 1
                    self.batches = [*self.loader.epoch(self.epoch)]
                    self.position = 0
        self.path = extended(self.path, _flat(self.model))
        return self._state()

    def _learn(self, batch: Batch, rate: float) -> None:
        try:
            self.step(batch, rate)
        except NotFiniteError as error:
            raise PellucidError(
                f"the loss is {error.value:g} after {self.taken} steps: each step overshoots; lower the rate, and reset"
            ) from None

    def _opened(self) -> OpenPlayground:
        if self.settings is None:
            raise PellucidError(NOT_OPEN)
        return self.settings

    def _state(self) -> Reply:
        """Return the losses, the weights, and what each neuron and the plane show."""
        train_loss, train_score = self._measured(slice(0, self.count))
        test_loss, test_score = self._measured(slice(self.count, None))
        tensors = self._pictures() if self._opened().has_pictures else self._planes()
        fields = {
            "epoch": self.epoch,
            "step": self.taken,
            "position": self.position,
            "batches": len(self.batches),
            "loss": {"train": train_loss, "test": test_loss},
            "score": {"train": train_score, "test": test_score},
        }
        return Reply(fields, {**tensors, **flatten(self.model.params)})

    def _planes(self) -> dict[str, Tensor]:
        """Return the output of each unit over the plane (units, side²), and the network's decision (side²,)."""
        on_grid = self._opened().network_inputs(grid(self.side))
        activations, outputs = self._outputs(on_grid)
        plane = outputs[:, 1] - outputs[:, 0] if self._opened().has_classes else outputs[:, 0]
        return {"units": torch.cat([on_grid, *activations, outputs], 1).T, "plane": plane}

    def _pictures(self) -> dict[str, Tensor]:
        """Return an image of each neuron (neurons, 64), and the sheet of images for testing (80, 80).

        read: (N, 2), for each image for testing, the predicted class and its output.
        """
        x = self.x[self.count :]
        activations, outputs = self._outputs(x)
        weights = flatten(self.model.params)
        first_weight = next(weights[path] for path in weights if path.endswith("weight"))
        confidence, predicted = outputs.max(1)
        is_right = predicted == self.target[self.count :]
        return {
            "units": neuron_images(first_weight, x, [*activations, outputs][1:]),
            "plane": sheet(x, is_right),
            "read": torch.stack([predicted.double(), confidence], 1),
        }

    def _outputs(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the activations (N, n) of each hidden layer, and the predictions (N, outputs)."""
        model = self.model
        activations: list[Tensor] = []

        def keep(path: str, layer: Layer, x: Any, y: Any, cache: Any) -> Any:
            if Trait.ACTIVATION in layer.traits:
                activations.append(y)
            return y

        with torch.inference_mode():
            scores = run(model.net, model.params, x, Mode(), after=keep)[0]
            return activations, model.loss.predict(scores)

    def _measured(self, part: slice) -> tuple[float | None, float | None]:
        """Return the loss of some points, without penalties, and the accuracy of classes; None without points."""
        x = self.x[part]
        target = self.target[part]
        if not len(x):
            return None, None
        with torch.inference_mode():
            y = self.model(x)
            loss = float(self.model.loss(y, target)[0])
        if not self._opened().has_classes:
            return loss, None
        return loss, float((y.argmax(1) == target).double().mean())

    def explain(self, request: ExplainWeight) -> Reply:
        """Return one derivative as sums of products, beside its finite difference, for one point."""
        settings = self._opened()
        point = self._worst() if request.point is None else request.point
        check(0 <= point < len(self.x), "point", f"from 0 to {len(self.x) - 1}", point)
        x = self.x[point : point + 1]
        target = self.target[point : point + 1]
        self.library.made[PLAYGROUND] = MadeModel(self.model, x)
        trace: Trace = self.model.trace(x, target)
        up, down = (trace.nudge(request.what, sign * EPS) for sign in (1, -1))
        fields = {
            "explained": trace.explain(request.what).to_json(),
            "numeric": (up.after - down.after) / (2 * EPS),
            "eps": EPS,
            "cost": trace.cost,
            "point": point,
            "layers": [layer_to_json(trace, call) for call in trace.calls],
            "loss": repr(self.model.loss),
            "model": PLAYGROUND,
            "classes": list(self.model.classes or ()),
            "label": int(target[0]) if settings.has_classes else None,
        }
        return Reply(fields, {})

    def _worst(self) -> int:
        """Return the index of the point for training whose prediction is farthest from its target."""
        target = self.target[: self.count]
        with torch.inference_mode():
            outputs = self.model.loss.predict(self.model(self.x[: self.count]))
        if self._opened().has_classes:
            return int(outputs.gather(1, target[:, None]).argmin())
        return int((outputs - target).abs().argmax())

    def surface(self, request: ReadSurface) -> Reply:
        """Return the loss of the points for training on a square around the present weights, and their path."""
        self._opened()
        params = flatten(self.model.params)
        sizes = [weight.numel() for weight in params.values()]
        x = self.x[: self.count]
        target = self.target[: self.count]

        def loss(weights: Tensor) -> float:
            parts = [part.view_as(weight) for part, weight in zip(weights.split(sizes), params.values(), strict=True)]
            moved = nest(self.model.params, dict(zip(params, parts, strict=True)))
            y = run(self.model.net, moved, x, Mode())[0]
            return float(self.model.loss(y, target)[0])

        with torch.inference_mode():
            found = surface(self.path, loss)
        fields = {"reach": found.reach, "share": found.share, "loss": loss(self.path[-1])}
        return Reply(fields, {"losses": found.losses, "path": found.path})

    def code(self, request: ReadCode) -> Reply:
        """Return Python text that trains the same network from new weights."""
        return Reply({"text": self._opened().code(self.epoch)}, {})


def _flat(model: Model) -> Tensor:
    """Return a copy of all weights (P,)."""
    return torch.cat([weight.flatten() for weight in flatten(model.params).values()])


HANDLERS: dict[str, tuple[type, Callable[[PlaySession, Any], Reply]]] = {
    "play.open": (OpenPlayground, PlaySession.open),
    "play.learn": (LearnSteps, PlaySession.learn),
    "play.explain": (ExplainWeight, PlaySession.explain),
    "play.surface": (ReadSurface, PlaySession.surface),
    "play.code": (ReadCode, PlaySession.code),
}
