"""Trace: every named tensor of one forward and one backward pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pellucid.combine.base import join
from pellucid.layers.checks import check_floating
from pellucid.optim import Optimizer
from pellucid.probe import tensors
from pellucid.trace.calls import Call, Passes, Value
from pellucid.trace.deltas.base import Pieces
from pellucid.trace.deltas.table import dissect
from pellucid.trace.names import label, place_of, split, unknown
from pellucid.trace.settings import Settings
from pellucid.tree import flatten

if TYPE_CHECKING:
    from pellucid.trace.explanation import Explanation
    from pellucid.trace.nudge import Nudge
    from pellucid.trace.step import Stepped


@dataclass(frozen=True, eq=False)
class Named:
    """One tensor of the trace.

    kind: x, y, cache.FIELD, dy, dx, params, dparams, loss, or regularizer. path: the layer's, "" for the network.
    """

    name: str
    kind: str
    path: str
    tensor: Tensor


class Trace:
    """Every named tensor of one forward and one backward pass, and what each number does to the loss.

    For the call of a layer at `conv1` there are conv1.x, conv1.y, conv1.cache.FIELD, conv1.dy and conv1.dx (x.0, x.1
    ... for several inputs), conv1.weight and conv1.dweight. A layer that runs several times has conv1:1.y, conv1:2.y
    ... and conv1:1.dweight beside their sum conv1.dweight. The network's own are x, y, dy, dx, target; the loss is
    `loss`, in pieces loss.probabilities and so on; with regularizers, loss.regularizer is their part and `cost` the
    sum. A call that nothing reads on the way to the loss has no dy and dx.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        check_floating(settings.x)
        self.passes: Passes = settings.run()
        with torch.no_grad():
            value, self.dy = settings.loss(self.passes.y, settings.target)
            self.dx, self.dparams = self.passes.backward(self.dy)
            self.pieces: list[Pieces] = dissect(settings.loss, self.passes.y, settings.target, value, self.dy)
        self.loss, self.regularizer = settings.cost(self.passes)
        self.gradients: dict[str, Tensor] = flatten(self.dparams)
        self.penalties = self._penalties()
        self.values: dict[int, Value] = {
            id(value.tensor): value
            for value in [*self.passes.xs, *(made for call in self.passes.calls for made in call.outputs)]
        }
        self.tensors: dict[str, Named] = {}
        self._collect(value)

    @property
    def cost(self) -> float:
        """The loss and the regularizers' part."""
        return self.loss + self.regularizer

    @property
    def dtype(self) -> torch.dtype:
        """What the passes were computed in."""
        return self.passes.ys[0].tensor.dtype

    @property
    def calls(self) -> list[Call]:
        """The runs of all layers that are no combinators, in forward order."""
        return self.passes.calls

    def __getitem__(self, name: str) -> Tensor:
        """Return a tensor by its name, or one number of it as a 0-d tensor: `trace["conv1.weight[0, 0, 2, 2]"]`."""
        path, index = split(name)
        tensor = self.named(path).tensor
        return tensor if index is None else tensor.flatten()[place_of(path, index, tensor.shape)]

    def __contains__(self, name: str) -> bool:
        """Return whether there is a tensor of this name."""
        return name in self.tensors

    def names(self, kind: str | None = None) -> tuple[str, ...]:
        """Return the names of all tensors, or of those of one kind ("cache" is every field), in forward order."""
        return tuple(
            name for name, one in self.tensors.items() if kind is None or kind in (one.kind, one.kind.split(".")[0])
        )

    def named(self, name: str) -> Named:
        """Return a tensor with its kind; PellucidError, with the nearest name, where there is none."""
        if name not in self.tensors:
            raise unknown("trace", name, self.tensors)
        return self.tensors[name]

    def explain(self, what: str, top: int | None = 6, expand: int = 1) -> "Explanation":
        """Explain ∂C/∂what, link by link to the loss, as products that add up to it.

        what: one number, "dense2.weight[3, 17]", "relu1.y[0, 3, 2, 2]", "x[0, 0, 14, 14]"; a whole tensor stands for
        its number of the largest gradient. top: how many products of each sum are told one by one, None for all; the
        rest is given as one sum. expand: of how many of them, the largest first, the delta is explained in turn.
        The sum of the products, added without rounding, and the gradient differ by at most
        `bound` = (products + 8) ε Σ|product|, ε that of the dtype: what any order of additions may cost. A gradient
        that is a single product of two numbers is equal to the last bit.
        """
        from pellucid.trace.explain import explain

        return explain(self, what, top, expand)

    def nudge(self, what: str, h: float = 1e-3) -> "Nudge":
        """Add h to one number (a parameter, an activation, a pixel) and see the predicted and the actual change."""
        from pellucid.trace.nudge import nudge

        return nudge(self, what, h)

    def step(self, optimizer: str | Optimizer | None = None, lr: float | None = None) -> "Stepped":
        """Take one step of an optimizer (the model's, unless given; a name for its defaults) on copies."""
        from pellucid.trace.step import step

        return step(self, optimizer, lr)

    def name_of(self, value: Value) -> str:
        """Return what a value is called: the output of the call that made it, or the network's input."""
        if value.maker is None:
            return f"x.{value.part}" if len(self.passes.xs) > 1 else "x"
        several = f".{value.part}" if len(value.maker.outputs) > 1 else ""
        return join(value.maker.name, f"y{several}")

    def label_of(self, value: Value, place: int) -> str:
        """Return what one number of a value is called."""
        return label(self.name_of(value), place, value.tensor.shape)

    def gradient_of(self, value: Value) -> Tensor | None:
        """Return the loss's gradient by a value, None where the loss does not depend on it."""
        if value.maker is None:
            return tensors(self.dx)[value.part]
        return None if value.maker.dys is None else value.maker.dys[value.part]

    def output_delta(self, output: int) -> Tensor:
        """Return what the loss hands to one output of the network."""
        return tensors(self.dy)[output]

    def to_json(self) -> dict[str, Any]:
        """Return the loss, its pieces, and what is called how, as plain values."""
        from pellucid.trace.overview import overview

        return overview(self)

    def __str__(self) -> str:
        """Return the passes as a table for a terminal."""
        from pellucid.trace.text import trace_text

        return trace_text(self)

    def __repr__(self) -> str:
        """Return what there is in one line."""
        return f"<Trace of {len(self.calls)} layers, {len(self.tensors)} tensors, loss {self.loss:.6g}>"

    def _repr_html_(self) -> str:
        from pellucid.trace.html import trace_html

        return trace_html(self)

    def _penalties(self) -> dict[str, Tensor]:
        """Return the gradient of the regularizers' part by the path of each weight."""
        paths, weights = self.settings.decayed_paths, self.settings.decayed()
        if not self.settings.penalties:
            return {}
        grads = [torch.zeros_like(weight) for weight in weights]
        for penalty in self.settings.penalties:
            penalty.add_gradient(weights, grads, self.settings.examples)
        return dict(zip(paths, grads, strict=True))

    def _put(self, name: str, kind: str, path: str, tensor: Any) -> None:
        """Take a tensor, or the tensors of a tuple by number; None is none."""
        parts: Sequence[Tensor | None] = tensors(tensor)
        for part, one in enumerate(parts):
            called = f"{name}.{part}" if isinstance(tensor, tuple) else name
            if one is not None:
                self.tensors.setdefault(called, Named(called, kind, path, one))

    def _collect(self, value: Tensor) -> None:
        passes, params = self.passes, flatten(self.settings.params)
        self._put("x", "x", "", self.settings.x)
        shown: set[str] = set()
        for call in passes.calls:
            self._put(join(call.name, "x"), "x", call.path, _several([v.tensor for v in call.inputs], call.several))
            if call.path not in shown:
                self._collect_params(call, params)
            shown.add(call.path)
            for name, gradient in call.dparams.items():
                self._put(join(call.name, f"d{name}"), "dparams", call.path, gradient)
            for name in getattr(call.cache, "_fields", ()):
                self._put(join(call.name, f"cache.{name}"), f"cache.{name}", call.path, getattr(call.cache, name))
            self._put(join(call.name, "y"), "y", call.path, _several([v.tensor for v in call.outputs]))
            if call.dys is not None and call.dxs is not None:
                self._put(join(call.name, "dy"), "dy", call.path, _several(call.dys))
                self._put(join(call.name, "dx"), "dx", call.path, _several(call.dxs, call.several))
        for frame in passes.frames:
            for kind, tensor in (("x", frame.x), ("y", frame.y), ("dy", frame.dy), ("dx", frame.dx)):
                if tensor is not None:
                    self._put(join(frame.name, kind), kind, frame.path, tensor)
        self._put("y", "y", "", passes.y)
        self._put("target", "loss", "", self.settings.target)
        for part, pieces in enumerate(self.pieces):
            several = f".{part}" if len(self.pieces) > 1 else ""
            for name, tensor in {**pieces.named, "cost": pieces.cost}.items():
                self._put(f"loss.{name}{several}", "loss", "", tensor)
        self._put("loss", "loss", "", value)
        if self.penalties:
            self._put("loss.regularizer", "loss", "", value.new_tensor(self.regularizer))
            self._put("cost", "loss", "", value.new_tensor(self.cost))
        self._put("dy", "dy", "", self.dy)
        self._put("dx", "dx", "", self.dx)

    def _collect_params(self, call: Call, params: dict[str, Tensor]) -> None:
        for name in call.params:
            path = join(call.path, name)
            self._put(path, "params", call.path, params[path])
            if path in self.gradients:
                self._put(join(call.path, f"d{name}"), "dparams", call.path, self.gradients[path])
            if path in self.penalties:
                self._put(join(call.path, f"d{name}.regularizer"), "regularizer", call.path, self.penalties[path])


def _several(parts: Sequence[Tensor | None], several: bool = False) -> Any:
    """Return a tuple of several parts, one alone as it is unless it came in a tuple."""
    return tuple(parts) if several or len(parts) > 1 else parts[0]
