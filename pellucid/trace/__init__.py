"""Trace: all tensors of one forward and one backward pass, and the effect of each of their elements on the loss."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.settings.arguments import checked
from pellucid.base.settings.checks import check_known, integer
from pellucid.base.text import plural
from pellucid.data.augment.standardise import scaled
from pellucid.metrics import class_scores
from pellucid.objective import Supervised
from pellucid.optim import Optimizer
from pellucid.task import Traced, task_of
from pellucid.trace.explain import explain
from pellucid.trace.explanation import ActivationInput, Explanation, Factor, Link, Made, ProductTerm
from pellucid.trace.nudge import Nudge, Stepped, nudge, step
from pellucid.trace.overview import overview, trace_html, trace_text
from pellucid.trace.passes import PassSettings, prepared
from pellucid.trace.record import Named, TraceRecord
from pellucid.training.examples import as_inputs, examples
from pellucid.training.model import BaseModel

MIN_INFORMATIVE_LOSS = 1e-3  # loss below which all derivatives are almost 0


def as_network(model: BaseModel, x: Any, target: Any) -> Traced:
    """Return a model as one network with one loss; raises PellucidError for data that do not fit it."""
    traced = None if isinstance(model.objective, Supervised) else task_of(model).traced(model, x, target)
    if traced is None:
        data = examples(x, target, classes=model.classes, dtype=model.dtype)
        model.fitting(data, "trace: x")
        traced = Traced(model.net, model.params, model.loss, scaled(data.x, model.stats, model.dtype), data.y)
    return traced


def default_target(model: BaseModel, x: Any) -> tuple[Tensor, str]:
    """Return a class (N,) for each input of a classifier, and how it was chosen; other models raise PellucidError."""
    inputs = as_inputs(x, dtype=model.dtype)
    scores = model.predict(inputs) if model.classes or "accuracy" in model.loss.metrics else inputs[:0]
    if scores.dim() != 2 or not len(scores):
        raise PellucidError("trace: give the targets of the loss; only a classifier has default ones")
    return default_classes(model, inputs, model.classes or tuple(map(str, range(max(2, scores.shape[1])))))


def default_classes(model: BaseModel, x: Tensor, classes: Sequence[str]) -> tuple[Tensor, str]:
    """Return a class (N,) for each input of a classifier, and in words how it was chosen.

    It is the predicted class, or the class with the second highest score if the loss is below MIN_INFORMATIVE_LOSS,
    since all derivatives of such a loss are almost 0.
    """
    predicted, second = class_scores(model.predict(x)).topk(2).indices.unbind(1)
    losses = torch.tensor([float(model.evaluate(x[k : k + 1], predicted[k : k + 1])["loss"]) for k in range(len(x))])
    has_low_loss = (losses >= 0) & (losses < MIN_INFORMATIVE_LOSS)
    targets = torch.where(has_low_loss, second, predicted)
    if not has_low_loss.any():
        return targets, "predicted"
    if len(x) > 1:
        return targets, f"predicted, or the second where the loss is below {MIN_INFORMATIVE_LOSS:g}"
    name = classes[int(predicted)]
    loss = float(losses)
    return targets, f"the second, since the loss of the predicted class, {name}, is only {loss:.1e}"


OPTIONS = ("train", "seed", "dtype", "n")


class Trace(TraceRecord):
    """All tensors of one forward and one backward pass, by name, and the effect of each element on the loss.

    The layer at the path `conv1` has the names conv1.x, conv1.y, conv1.cache.FIELD, conv1.dy and conv1.dx (x.0, x.1 ...
    for several inputs), conv1.weight and conv1.dweight. A layer that runs several times has conv1:1.y, conv1:2.y
    ..., and conv1:1.dweight ... in addition to their sum conv1.dweight. The network's tensors are x, y, dy, dx and
    target; for a model with mean and std, x is the standardized input. `loss` is the loss, and loss.probabilities and
    others are its intermediate results; with regularizers, loss.regularizer is the regularization term and `cost` the
    sum. Layers on which the loss does not depend have no dy and dx.
    """

    @checked
    def explain(self, what: str, top: int | None = 6, expand: int = 1) -> Explanation:
        """Explain ∂C/∂what by the chain rule, as sums of products up to the loss.

        what: an element of a tensor, such as "dense2.weight[3, 17]", "relu1.y[0, 3, 2, 2]" or "x[0, 0, 14, 14]"; the
        name of a tensor means its element with the largest gradient. top: number of products of each sum to list, None
        for all; the others are given as one sum. expand: number of products, largest first, whose output gradient is
        explained too. The exact sum of the products and the gradient differ by at most `bound` = (products + 8) ε
        Σ|product|, with the machine epsilon ε of the dtype: the largest rounding error for any order of additions. A
        gradient that is a single product of two values agrees to the last bit.
        """
        return explain(self, what, top, expand)

    @checked
    def nudge(self, what: str, h: float = 1e-3) -> Nudge:
        """Add h to a parameter, an activation or a pixel; return the predicted and the actual change of the loss.

        For a model with mean and std, the pixel x[...] is standardized: h is in standard deviations.
        """
        return nudge(self, what, h)

    def step(self, optimizer: str | Optimizer | None = None, lr: float | None = None) -> Stepped:
        """Take one optimizer step on copies of the weights; optimizer: an instance or a name, default the model's."""
        return step(self, optimizer, lr)

    def to_json(self) -> dict[str, Any]:
        """Return the loss, the examples' outputs, statistics of each call, and all tensors' names, as JSON values."""
        return overview(self)

    def __str__(self) -> str:
        """Return the passes as a table for a terminal."""
        return trace_text(self)

    def __repr__(self) -> str:
        """Return the counts and the loss in one line."""
        layers = plural(len(self.calls), "layer")
        tensors = f"{len(self.tensors)} tensors"
        return f"<Trace of {layers} in {self.mode_name} mode, {tensors}, loss {self.loss:.6g}>"

    def _repr_html_(self) -> str:
        return trace_html(self)


def trace(
    model: BaseModel,
    x: Any,
    target: Any = None,
    *,
    train: bool = False,
    seed: int | None = None,
    dtype: torch.dtype = torch.float64,
    n: int | None = None,
    **others: Any,
) -> Trace:
    """Run one batch forward and backward through a model, on its device, and keep all tensors by name.

    x, target: inputs (N, ...) as for `predict`, and the targets of the loss; for a single-stage detector a list with
    the `Objects` of each image; ignored for a colorizer. For a classifier, the default target is the predicted class,
    or the second if the loss of the predicted class is below 0.001; the text of the trace names it. train: use
    training mode, with dropout drawn from `seed` (by default the model's); the model is not modified. dtype: float64
    makes explanations exact to the last bits; torch.float32 gives the same values as training. n: number of examples by
    which the regularization term is divided, by default the size of the batch.
    Raises PellucidError for a model without weights, for data that do not fit it, for a dtype that the device does not
    support, and for unknown options (`others`).
    """
    for name in others:
        check_known("trace has no option", name, OPTIONS)
    if dtype not in (torch.float32, torch.float64):
        raise PellucidError(f"trace: dtype must be torch.float64 or torch.float32, not {dtype}")
    if model.device.type == "mps" and dtype == torch.float64:
        raise PellucidError("trace: mps has no float64; give dtype=torch.float32")
    if not model.built:
        raise PellucidError("the model has no weights yet; give it input_shape, or fit it first")
    choice = ""
    if target is None and isinstance(model.objective, Supervised):
        target, choice = default_target(model, x)
    traced = as_network(model, x, target)
    return Trace(
        PassSettings(
            net=traced.net,
            params=prepared(traced.params, dtype),
            x=prepared(traced.x, dtype),
            target=prepared(traced.target, dtype),
            loss=traced.loss,
            train=train,
            seed=model.seed if seed is None else seed,
            regularizers=model.regularizers,
            examples=len(traced.x) if n is None else integer(n, "trace: n", 1),
            optimizer=model.optimizer,
            clip=model.clip,
            frozen=frozenset(model.frozen),
            rates=model.rates,
            classes=tuple(model.classes or ()),
            device=model.device,
            chosen=choice,
            stats=model.stats,
        )
    )


__all__ = [
    "ActivationInput",
    "Explanation",
    "Factor",
    "Link",
    "Made",
    "Named",
    "Nudge",
    "PassSettings",
    "ProductTerm",
    "Stepped",
    "Trace",
    "prepared",
    "trace",
]
