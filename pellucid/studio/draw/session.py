"""The requests of the view Draw, and its state for one tab: a copy of a model, the last drawing, and the steps."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.checks import check, check_known
from pellucid.layers import Conv2d, ConvTranspose2d
from pellucid.layers.base import Layer, Params, Trait, pair
from pellucid.model import Model
from pellucid.nested import flatten, nest
from pellucid.optim import SGD
from pellucid.predictor import Predictor
from pellucid.studio.draw.nonsense import nonsense
from pellucid.studio.draw.samples import class_of, names_for, picture_of
from pellucid.studio.draw.strongest import strongest
from pellucid.studio.messages import Reply
from pellucid.studio.pictures import DIGIT_SIDE
from pellucid.studio.view import Library
from pellucid.task import task_of
from pellucid.trace import Trace
from pellucid.trace.passes import LayerCall
from pellucid.trace.record import resolve

MAX_STEPS = 50  # steps that can be undone
MAX_VALUES = 200_000  # values of one layer's output; the page does not show larger outputs
# Values of an answer, above which only outputs of at most SMALL_OUTPUT values are sent with it, and names of a request.
MAX_SENT, SMALL_OUTPUT, MAX_NAMES = 300_000, 4_096, 8
MAX_PRODUCTS = 1000  # products of a sum that an explanation lists
SIDES = (8, 1000)  # smallest and largest side of a drawing, in pixels


@dataclass(frozen=True)
class OpenModel:
    """draw.open: model: one of the names that the server offers; None for the first."""

    model: str | None = None


@dataclass(frozen=True)
class RunDrawing:
    """draw.run: picture: ink (H, W) or a photograph (3, H, W), uint8; None for the last; label: class index.

    Without a label there is no cost: the network only reads the picture. whole: whether the answer has the outputs of
    all layers; otherwise those of a large network are left out, and `draw.values` returns them.
    """

    picture: Tensor | None = None
    label: int | None = None
    whole: bool = True


@dataclass(frozen=True)
class ReadValues:
    """draw.values: names: of outputs of layers, or of their gradients, such as "∂features.conv1.y"."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class ReadWeights:
    """draw.weights: the weights of one unit (row) or of one input (col) of the layer at `path`."""

    path: str
    row: int | None = None
    col: int | None = None


@dataclass(frozen=True)
class ExplainNumber:
    """draw.explain: what: an element, such as "head.scores.weight[3, 5]"; top: number of products of a sum."""

    what: str
    top: int = 10


@dataclass(frozen=True)
class CheckNumber:
    """draw.check: the central difference of the cost for an element; eps: its step size."""

    what: str
    eps: float = 1e-4


@dataclass(frozen=True)
class ApplyStep:
    """draw.step: one step of gradient descent; what: an element of a parameter; None for all parameters."""

    rate: float
    what: str | None = None


@dataclass(frozen=True)
class UndoStep:
    """draw.undo: return to the weights before the last step."""


@dataclass(frozen=True)
class ReadSample:
    """draw.sample: name: one of the answer's `samples` to draw.open; n: index of a digit, modulo their number."""

    name: str
    n: int = 0


@dataclass(frozen=True)
class ReadNonsense:
    """draw.nonsense: a picture without a digit, and its prediction; what: noise, stripes or scribble; n: the seed."""

    what: str
    n: int = 0


class DrawSession:
    """One tab's copy of a model, its last drawing and its steps; only models that `can_draw` accepts are offered.

    A run with such a model can be opened by its name.

    x: an input (1, C, H, W) that replaces the drawing, for a page that shows a given picture. Raises PellucidError if
    there is no such model.
    """

    def __init__(self, library: Library, x: Tensor | None = None) -> None:
        self.library, self.given = library, x
        self._shown = x
        self.names = tuple(name for name in library.names if x is not None or can_draw(library.load(name)))
        if not self.names:
            raise PellucidError("none of the models is a classifier of pictures, which a drawing needs")
        self._open(self.names[0])

    def _open(self, name: str) -> None:
        model = self.library.copy(name)
        self.given = self.library.made[name].x if name in self.library.made else self._shown
        if self.given is None and not can_draw(model):
            raise PellucidError(f"{name} is no classifier of pictures, which a drawing needs")
        self.classes: tuple[str, ...] = task_of(model).class_names(model)
        self.model, self.name = model, name
        self.predictor: Predictor = task_of(model).predictor(model)
        self.x = self.given
        self.trace: Trace | None = None
        self.label: int | None = None
        self.undone: deque[Params] = deque(maxlen=MAX_STEPS)

    @property
    def traced(self) -> Trace:
        """The passes of the last drawing; raises PellucidError before the first."""
        if self.trace is None:
            raise PellucidError("there is no drawing yet; send draw.run with a picture first")
        return self.trace

    @property
    def judged(self) -> Trace:
        """The passes of the last drawing, whose cost is that of its label; raises PellucidError without a label."""
        trace = self.traced
        if self.label is None:
            raise PellucidError("the drawing has no label yet; choose what it is, since the cost compares with that")
        return trace

    @property
    def samples(self) -> tuple[str, ...]:
        """The names of the bundled pictures for this model: digits, or pictures like those of its data."""
        return names_for(self.name, self.model.nominal_shape[0])

    def open(self, request: OpenModel) -> Reply:
        """Open a model, and describe it: classes, layers in forward order, and the number of parameters."""
        name = self.names[0] if request.model is None else request.model
        self._open(name)
        names = self.names if name in self.names else (*self.names, name)
        if name in self.library.made:  # the others have no picture here
            names = (name,)
        shape = self.model.nominal_shape
        blank = self.model.trace(torch.zeros(1, *shape), torch.zeros(1, dtype=torch.int64))
        layers = [layer_to_json(blank, call) for call in blank.calls]
        n_parameters = sum(weight.numel() for path, weight in blank.params.items() if path not in blank.buffers)
        fields = {"model": name, "models": names, "classes": self.classes, "input": list(shape)}
        fields["samples"] = () if self.given is not None else self.samples
        return Reply({**fields, "layers": layers, "parameters": n_parameters, "loss": repr(self.model.loss)}, {})

    def run(self, request: RunDrawing) -> Reply:
        """Run a drawing forward and backward; return the probabilities, the cost, and each layer's y and dy."""
        count = len(self.classes)
        if request.label is not None and not 0 <= request.label < count:
            raise PellucidError(f"label must be from 0 to {count - 1}, not {request.label}")
        if request.picture is not None:
            self.x = self._laid_out(request.picture)
        if self.x is None:
            raise PellucidError("there is no drawing yet; send draw.run with a picture first")
        trace = self._run(request.label)
        x = trace["x"][0]
        tensors = self._outputs(trace)
        if not request.whole and sum(tensor.numel() for tensor in tensors.values()) > MAX_SENT:
            tensors = {name: tensor for name, tensor in tensors.items() if tensor.numel() <= SMALL_OUTPUT}
        tensors["x"] = x if x.dim() == 3 else x.flatten()[None, None]  # (C, H, W)
        scores = probabilities(trace)
        cost = None if self.label is None else trace.cost
        fields = {"read": int(scores.argmax()), "label": self.label, "cost": cost, "steps": len(self.undone)}
        return Reply({**fields, "probabilities": scores.tolist()}, tensors)

    def values(self, request: ReadValues) -> Reply:
        """Return outputs of layers for the last drawing, and their gradients, without those that are too large."""
        check(len(request.names) <= MAX_NAMES, "names", f"at most {MAX_NAMES}", len(request.names))
        outputs = self._outputs(self.traced)
        return Reply({}, {name: outputs[name] for name in request.names if name in outputs})

    def _outputs(self, trace: Trace) -> dict[str, Tensor]:
        """Return the output of each layer by its name, and with a label its gradient by "∂NAME"."""
        tensors = dict[str, Tensor]()
        for call in trace.calls:
            for value, dy in zip(call.outputs, call.dys or [None] * len(call.outputs), strict=True):
                if value.tensor.numel() > MAX_VALUES:
                    continue
                name = trace.name_of(value)
                tensors[name] = value.tensor[0]
                if self.label is not None:
                    tensors[f"∂{name}"] = torch.zeros_like(value.tensor[0]) if dy is None else dy[0]
        return tensors

    def _laid_out(self, picture: Tensor) -> Tensor:
        """Return a drawing or a photograph as an input of the model (1, C, H, W)."""
        low, high = SIDES
        is_picture = picture.ndim == 2 or (picture.ndim == 3 and len(picture) == 3)
        fits = is_picture and picture.dtype == torch.uint8 and all(low <= side <= high for side in picture.shape[-2:])
        expected = f"uint8 of the shape (H, W) or (3, H, W), sides from {low} to {high}"
        check(fits, "picture", expected, tuple(picture.shape))
        return self.predictor.frame(picture.expand(3, -1, -1))[:1]

    def _run(self, label: int | None) -> Trace:
        """Trace the last drawing; without a label only the outputs are used, so any target will do."""
        assert self.x is not None
        self.label = label
        self.trace = self.model.trace(self.x, torch.tensor([label or 0]))
        return self.trace

    def weights(self, request: ReadWeights) -> Reply:
        """Return a row or a column of a layer's weights, with the bias of a row."""
        trace = self.traced
        layers = [call.path for call in trace.calls if Trait.WEIGHTED in call.layer.traits]
        check_known("no layer with weights", request.path, layers)
        if (request.row is None) == (request.col is None):
            raise PellucidError("draw.weights takes either row or col")
        axis, index = (1, request.col) if request.row is None else (0, request.row)
        weight = trace.params[f"{request.path}.weight"]
        assert index is not None
        if not 0 <= index < weight.shape[axis]:
            raise PellucidError(f"{request.path} has weights 0 to {weight.shape[axis] - 1} there, not {index}")
        bias = trace.params.get(f"{request.path}.bias")
        fields = {"path": request.path, "row": request.row, "col": request.col}
        if bias is not None and axis == 0:
            fields["bias"] = float(bias[index])
        return Reply(fields, {"weight": weight.select(axis, index)})

    def explain(self, request: ExplainNumber) -> Reply:
        """Return the derivative of the cost with respect to one number as sums of products, and the largest ones."""
        check(0 < request.top <= MAX_PRODUCTS, "top", f"a number from 1 to {MAX_PRODUCTS}", request.top)
        fields = self.judged.explain(request.what, request.top).to_json()
        return Reply({**fields, "strongest": strongest(self.judged)}, {})

    def check(self, request: CheckNumber) -> Reply:
        """Return the central difference of the cost for one number, and the gradient."""
        check(1e-9 <= request.eps <= 1, "eps", "a number from 1e-9 to 1", request.eps)
        up, down = (self.judged.nudge(request.what, sign * request.eps) for sign in (1, -1))
        numeric = (up.after - down.after) / (2 * request.eps)
        return Reply({"name": up.name, "eps": request.eps, "gradient": up.gradient, "numeric": numeric}, {})

    def step(self, request: ApplyStep) -> Reply:
        """Take one step against the gradient of the last drawing; return the cost before and after it."""
        check(0 < request.rate <= 1000, "rate", "a number above 0, at most 1000", request.rate)
        trace = self.judged
        before = self.model.params
        if request.what is None:
            stepped = trace.step(SGD(request.rate))
            changed, predicted = stepped.weights, stepped.predicted
        else:
            path, changed, predicted = _stepped(trace, request.what, request.rate)
            changed = {path: changed}
        self.undone.append(before)
        self.model.params = nest(before, {**flatten(before), **changed})
        after = self._run(self.label).cost
        fields = {"before": trace.cost, "after": after, "predicted": predicted, "steps": len(self.undone)}
        return Reply(fields, {})

    def undo(self, request: UndoStep) -> Reply:
        """Return to the weights before the last step."""
        if not self.undone:
            raise PellucidError("there is no step to undo")
        self.model.params = self.undone.pop()
        cost = self._run(self.label).cost if self.label is not None else None
        return Reply({"cost": cost, "steps": len(self.undone)}, {})

    def sample(self, request: ReadSample) -> Reply:
        """Return a bundled picture for the canvas, its class if that is known, and the model's input for it."""
        check_known("no sample", request.name, self.samples)
        check(request.n >= 0, "n", "at least 0", request.n)
        picture, count = picture_of(request.name, request.n)
        class_name = class_of(request.name)
        label = self.classes.index(class_name) if class_name in self.classes else None
        tensors = {"picture": picture, "x": self._laid_out(picture)[0]}
        return Reply({"name": request.name, "n": request.n % count, "count": count, "label": label}, tensors)

    def nonsense(self, request: ReadNonsense) -> Reply:
        """Return a picture without a digit for the canvas, the model's predicted class, and its confidence."""
        picture = nonsense(request.what, request.n, DIGIT_SIDE)
        x = self._laid_out(picture)
        scores = probabilities(self.model.trace(x, torch.tensor([0])))
        predicted = int(scores.argmax())
        fields = {"what": request.what, "n": request.n, "read": predicted, "confidence": float(scores[predicted])}
        return Reply(fields, {"picture": picture, "x": x[0]})


HANDLERS: dict[str, tuple[type, Callable[[DrawSession, Any], Reply]]] = {
    "draw.open": (OpenModel, DrawSession.open),
    "draw.run": (RunDrawing, DrawSession.run),
    "draw.values": (ReadValues, DrawSession.values),
    "draw.weights": (ReadWeights, DrawSession.weights),
    "draw.explain": (ExplainNumber, DrawSession.explain),
    "draw.check": (CheckNumber, DrawSession.check),
    "draw.step": (ApplyStep, DrawSession.step),
    "draw.undo": (UndoStep, DrawSession.undo),
    "draw.sample": (ReadSample, DrawSession.sample),
    "draw.nonsense": (ReadNonsense, DrawSession.nonsense),
}


def can_draw(model: Model) -> bool:
    """Return whether a model classifies pictures with one output for each class, as the view Draw needs."""
    task = task_of(model)
    try:
        classes = task.class_names(model)
        task.predictor(model)
    except PellucidError:
        return False
    return task.has_one_class and len(model.nominal_shape) == 3 and model.output_shape == (len(classes),)


def probabilities(trace: Trace) -> Tensor:
    """Return the probabilities of the classes (C,); the outputs, if the loss has none."""
    return (trace["loss.probabilities"] if "loss.probabilities" in trace else trace["y"])[0]


def layer_to_json(trace: Trace, call: LayerCall) -> dict[str, Any]:
    """Return the description of a layer from which the page draws it, as JSON values.

    grid: the shape of its input before it was flattened, so that a unit's weights can be shown as a picture.
    """
    source = call.inputs[0] if call.inputs else None  # a layer that is one parameter has no input
    grid = () if source is None else source.tensor.shape[1:]
    if source is not None and source.producer is not None and Trait.RESHAPE in source.producer.layer.traits:
        grid = source.producer.x.shape[1:]
    traits, params = call.layer.traits, call.params
    # The rows of a transposed convolution's weights belong to input channels, not to outputs.
    has_rows = Trait.WEIGHTED in traits and not isinstance(call.layer, ConvTranspose2d)
    return {
        "name": call.name,
        "path": call.path,
        "title": call.title,
        "type": type(call.layer).__name__,
        "x": "" if source is None else trace.name_of(source),
        "y": trace.name_of(call.outputs[0]),
        "shape": list(call.y.shape[1:]),
        "grid": list(grid),
        "weight": list(params["weight"].shape) if has_rows else None,
        "parameters": sum(param.numel() for param in params.values()),
        "activation": Trait.ACTIVATION in traits,
        "reshape": Trait.RESHAPE in traits,
        "window": window_to_json(call.layer),
    }


def window_to_json(layer: Layer) -> dict[str, Any] | None:
    """Return the sizes of a convolution as (vertical, horizontal), and its groups; None for another layer."""
    if not isinstance(layer, Conv2d):
        return None
    left, _, top, _ = layer.edges()
    sizes = {name: pair(getattr(layer, name)) for name in ("kernel", "stride", "dilation")}
    return {**sizes, "before": (top, left), "groups": layer.groups}


def _stepped(trace: Trace, what: str, rate: float) -> tuple[str, Tensor, float]:
    """Return the path of a parameter, its value with one element changed, and the predicted change of the cost."""
    number = resolve(trace, what)
    path = number.target.argument
    if path not in trace.gradients or number.target.call is not None:
        raise PellucidError(f"{what} is no learned parameter; a step changes a weight or a bias")
    weight = trace.params[path].clone()
    weight.view(-1)[number.index] -= rate * number.gradient
    return path, weight, -rate * number.gradient**2
