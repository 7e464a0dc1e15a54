"""What of the user's own layers and losses may be the cause, each with the same part made harmless in its place."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pellucid.combine.base import Combinator, walk
from pellucid.doctor.case import Case
from pellucid.doctor.changed import with_layers
from pellucid.doctor.measure.backward import rms
from pellucid.doctor.measure.own import own
from pellucid.doctor.mending import rebuilt
from pellucid.doctor.suspects.suspect import Suspect, suspect
from pellucid.errors import PellucidError
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.losses import Loss
from pellucid.sweep import forward

BATCH = 8  # examples
COUPLED = 1e-3  # of the gradients of the other examples, changed by one example's target
DRAWS = 16  # passes in training mode, over which the drawing of numbers is averaged
APART = 0.15  # of a layer's mean absolute output, by which training mode differs from evaluation


@dataclass(frozen=True)
class PerExample(Loss):
    """The mean of a loss over the examples, each by itself."""

    loss: Loss

    def compute(self, y: Any, target: Tensor) -> tuple[Tensor, Any]:
        """Return (value, dy)."""
        parts = [self.loss(y[k : k + 1], target[k : k + 1]) for k in range(len(target))]
        return torch.stack([value for value, _ in parts]).mean(), torch.cat([dy for _, dy in parts]) / len(target)

    def check(self, outputs: Any, targets: Tensor) -> None:
        """Require what the loss requires."""
        self.loss.check(outputs, targets)

    def predict(self, y: Any) -> Tensor:
        """Return what the loss returns."""
        return self.loss.predict(y)

    def judged(self, y: Any) -> Any:
        """Return what the loss returns."""
        return self.loss.judged(y)


@dataclass(frozen=True)
class AsInEvaluation(Layer):
    """A layer that does in training what it does in evaluation."""

    layer: Layer

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Draw what the layer draws."""
        return self.layer.init(shape, rng)

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        """Return what the layer returns in evaluation."""
        return self.layer.forward(params, x, replace(mode, train=False))

    def backward(self, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
        """Return what the layer returns."""
        return self.layer.backward(params, cache, dy)


def coupled_loss(case: Case) -> Iterator[Suspect]:
    """Yield a loss whose gradient for one example depends on the targets of the others, beyond a common factor."""
    loss = case.model.loss
    if not own(loss) or not isinstance(loss, Loss):
        return
    share = _coupled(case, loss)
    if share > COUPLED:
        shapes = [str(tuple(part.shape)) for part in (case.model.predict(case.probe.x[:BATCH]), case.probe.y[:BATCH])]
        yield suspect(
            "loss-mixes-examples", "the loss compares each output with the targets of other examples, as when outputs "
            "(N, 1) and targets (N,) are broadcast against each other to (N, N)",
            "bring outputs and targets to one shape before they are compared, and take the mean over the examples",
            "the loss of each example by itself", lambda case: rebuilt(case, loss=PerExample(loss)),
            path="loss", odd=True, loss=type(loss).__name__, outputs=shapes[0], targets=shapes[1],
            gradient_changed_by_another_target=share,
        )  # fmt: skip


def _coupled(case: Case, loss: Loss) -> float:
    """Return by which share the other examples' gradients change with the first one's target, up to a factor."""
    part = case.probe
    y = part.y[:BATCH]
    others = (part.y != y[:1]).flatten(1).any(1) if part.y.dim() > 1 else part.y != y[0]
    if not bool(others.any()):
        return 0.0
    target = torch.cat([part.y[others][:1], y[1:]])
    model = case.first
    try:
        with torch.inference_mode():
            said, _ = forward(model.net, model.params, case.inputs(part)[:BATCH], Mode(keep=False))
            one, other = (loss(said, now)[1][1:].double().flatten() for now in (y, target))
    except (PellucidError, RuntimeError, AttributeError, TypeError):  # several outputs, or a loss of another kind
        return 0.0
    size = float(one.square().sum())
    if not 0 < size < float("inf"):
        return 0.0
    rest = other - float(one @ other) / size * one
    return rms(rest) / rms(one)


def modes(case: Case) -> Iterator[Suspect]:
    """Yield layers of one's own whose outputs in training are not, on average, those of evaluation."""
    found = {path: share for path, share in _apart(case).items() if share > APART}
    if found:
        path, kinds = next(iter(found)), {type(dict(walk(case.model.net))[path]) for path in found}
        yield suspect(
            "mode-mismatch", "the layer's outputs in training have another size than those in evaluation, for which "
            "the layers behind it did not learn, as of dropout that does not divide by the share that it keeps",
            "let the layer have the same mean in both modes: divide by the share that is kept, in training",
            "the layer as in evaluation",
            lambda case: with_layers(
                case, lambda layer: AsInEvaluation(layer) if type(layer) in kinds else layer, keep=True
            ),
            path=path, odd=True, layer=type(dict(walk(case.model.net))[path]).__name__, outputs_differ_by=found[path],
        )  # fmt: skip


def _apart(case: Case) -> dict[str, float]:
    """Return for each own layer how far its mean output in training is from that in evaluation, for equal inputs."""
    inputs: dict[str, tuple[Layer, Any, Any, Params]] = {}
    layers = {
        path: layer for path, layer in walk(case.model.net)
        if not isinstance(layer, Combinator) and own(layer) and not layer.buffers  # running statistics follow training
    }  # fmt: skip
    if not layers:
        return {}

    def keep(path: str, layer: Layer, x: Any, y: Any, cache: Cache) -> None:
        if path in layers and isinstance(x, Tensor) and isinstance(y, Tensor):
            inputs[path] = layer, x, y, _inside(case.model.params, path)

    with torch.inference_mode():
        forward(case.model.net, case.model.params, case.inputs(case.probe), Mode(keep=False), keep)
        found: dict[str, float] = {}
        for path, (layer, x, y, params) in inputs.items():
            rng = torch.Generator().manual_seed(case.model.seed)
            copies = {name: value.clone() if isinstance(value, Tensor) else value for name, value in params.items()}
            total = sum(layer.forward(copies, x, Mode(True, rng, keep=False))[0].mean(0) for _ in range(DRAWS))
            usual = y.mean(0)
            if isinstance(total, Tensor) and total.shape == usual.shape and rms(usual) > 0:
                found[path] = rms(total / DRAWS - usual) / rms(usual)
    return found


def _inside(params: Params, path: str) -> Params:
    for name in path.split(".") if path else []:
        params = params.get(name, {})
    return params
