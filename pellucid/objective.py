"""Objectives: losses and gradients of a batch, for one network or several."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from pellucid.combine.base import buffer_paths, init_child, is_wiring, join, walk
from pellucid.config import Part, to_config
from pellucid.data.source import Batch
from pellucid.errors import PellucidError, nearest
from pellucid.fuse.inference import AsWritten, inference
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.losses import Loss
from pellucid.sweep import BackwardWatch, ForwardWatch, backward
from pellucid.tree import leaves

MIN_INPUTS = 16  # number of inputs from which converting the memory layout of the weights is worthwhile
Losses = dict[str, Tensor]  # 0-d tensors by name
Gradients = tuple[Losses, Params]  # (losses, dparams)


class Evaluated(NamedTuple):
    """outputs: as `predict` returns them. batch: the examples that metrics see, with these outputs. losses: by name."""

    outputs: Any
    batch: Batch
    losses: Losses


@dataclass(frozen=True)
class Objective(Part):
    """The training objective of one or several networks: losses of a batch by name, and their gradients.

    A subclass is a frozen dataclass; its fields are networks, losses and numbers. `params` holds the parameters of
    each network under the name of its field, {"student": {...}, "teacher": {...}}, and so do gradients.
    weights: factors of losses by name, 1 for all others. The total loss is the weighted sum; `gradients` multiplies
    each loss's gradient by `self.weight(name)`.
    """

    any_size: ClassVar[bool] = False  # whether images of any height and width fit, not only those of training
    weights: Mapping[str, float] = field(default_factory=dict, kw_only=True)

    @property
    def nets(self) -> Mapping[str, Layer]:
        """The networks by name: the fields that hold a layer."""
        held = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in held.items() if isinstance(value, Layer)}

    def with_nets(self, nets: Mapping[str, Layer]) -> Self:
        """Return the same objective over other networks of the same names."""
        return replace(self, **nets)

    def watched(self, forward: ForwardWatch, backward: BackwardWatch | None = None) -> Self:
        """Return the same objective over networks that call these after each layer, with its path."""
        return self.with_nets({name: _watched(net, name, forward, backward) for name, net in self.nets.items()})

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Draw all parameters for images of `shape`; return them, and the shape of what `predict` returns.

        Shapes are without the batch axis. Every network gets images, and the first one's output is the prediction,
        unless a subclass says otherwise: a generator gets latent vectors, a head gets features.
        """
        drawn = {name: init_child(name, net, shape, rng) for name, net in self.nets.items()}
        if not drawn:
            raise PellucidError(f"{type(self).__name__} has no network; give one of its fields a layer")
        return {name: params for name, (params, _) in drawn.items()}, next(iter(drawn.values()))[1]

    @abstractmethod
    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Gradients | Iterator[Gradients]:
        """Return (losses, dparams): 0-d tensors by name, and the gradients of their weighted sum.

        dparams may lack networks and parameters, which then do not learn from this batch. To train in turns, as the
        networks of a GAN do, `yield` several such pairs: what one holds is learned before execution continues, so that
        the next is computed with the new parameters. Random numbers come from `mode.rng`, on `mode.rng.device`.
        """

    @abstractmethod
    def predict(self, params: Params, images: Any) -> Any:
        """Return predictions for images (N, ...) in evaluation mode, as used by metrics."""

    def evaluator(self, params: Params, count: int) -> Callable[[Batch], Evaluated]:
        """Return a function that evaluates batches of `count` examples in all; `params` must stay meanwhile.

        The losses are those of `gradients` in evaluation mode, with the same random numbers each time.
        """
        leaf = next(iter(leaves(params)), torch.empty(0))
        mode = Mode(rng=seeded(leaf.device))

        def evaluate(batch: Batch) -> Evaluated:
            return Evaluated(self.predict(params, batch.images), batch, merged(self.gradients(params, batch, mode))[0])

        return evaluate

    def fused(self) -> "Objective":
        """Return the objective as it trains, its networks in fused forms where it runs each of them as a whole.

        Fused forms write over each other's outputs: an objective that uses parts of its networks returns itself.
        """
        return self

    def counted(self, batch: Batch) -> float | Tensor:
        """Return the weight of a batch in a mean over batches: its number of examples; see `Loss.counted`."""
        return float(len(batch.images))

    def check(self, outputs: Any, targets: Any) -> None:
        """Raise PellucidError unless all targets of a data set are valid for outputs of this shape (no batch axis)."""

    def about(self, custom: Iterable[Any] = ()) -> dict[str, Any]:
        """Return its configuration for a weights file, as JSON values; raises as `to_config` does."""
        return {"objective": to_config(self, custom)}

    def weight(self, name: str) -> float:
        """Return the weight of a loss."""
        return self.weights.get(name, 1.0)

    def total(self, losses: Mapping[str, float]) -> float:
        """Return the weighted sum of losses; PellucidError for a weight of a loss that is not among them."""
        unknown = next((name for name in self.weights if name not in losses), None)
        if unknown is not None:
            hint = nearest(unknown, losses) or f"; losses: {', '.join(losses)}"
            raise PellucidError(f"{type(self).__name__}: weights names no loss {unknown!r}{hint}")
        return sum(self.weight(name) * value for name, value in losses.items())


@dataclass(frozen=True)
class Supervised(Objective):
    """One network, one loss between its outputs and the targets; the parameters are the network's own.

    Raises PellucidError for weights: a single loss has nothing to be balanced with.
    """

    net: Layer
    loss: Loss

    def __post_init__(self) -> None:
        """Raise PellucidError for weights."""
        if self.weights:
            raise PellucidError("Supervised has one loss, so that weights change nothing; change the learning rate")

    @property
    def nets(self) -> Mapping[str, Layer]:
        """The network, without a name, so that paths begin with its layers'."""
        return {"": self.net}

    def with_nets(self, nets: Mapping[str, Layer]) -> "Supervised":
        """Return the same objective over another network."""
        return Supervised(nets[""], self.loss)

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Draw the network's parameters."""
        return self.net.init(shape, rng)

    def gradients(self, params: Params, batch: Batch, mode: Mode) -> Gradients:
        """Return ({"loss": value}, dparams): forward, loss, sweep."""
        y, cache = self.net.forward(params, batch.images, mode)
        value, dy = self.loss(y, batch.targets)
        del y
        return {"loss": value}, backward(self.net, params, cache, dy, consume=True)[1]

    def predict(self, params: Params, images: Any) -> Any:
        """Return the network's outputs as the loss reads them, such as probabilities."""
        return self.loss.predict(self.net.forward(params, images, Mode(keep=False))[0])

    def evaluator(self, params: Params, count: int) -> Callable[[Batch], Evaluated]:
        """Return a function that evaluates batches by one forward pass.

        Metrics see no examples that the loss ignores.
        """
        run = inference(self.net, params) if count >= MIN_INPUTS else AsWritten(self.net, params)

        def evaluate(batch: Batch) -> Evaluated:
            y = self.loss.judged(run(batch.images))
            losses, outputs, kept = {"loss": self.loss(y, batch.targets)[0]}, self.loss.predict(y), None
            kept = self.loss.kept(batch.targets)
            if kept is not None:
                outputs, batch = outputs[kept], Batch(batch.images[kept], batch.targets[kept])
            return Evaluated(outputs, batch, losses)

        return evaluate

    def counted(self, batch: Batch) -> float | Tensor:
        """Return the number of examples, or the weight that the loss gives to the batch."""
        return self.loss.counted(batch.targets)

    def check(self, outputs: Any, targets: Any) -> None:
        """Raise PellucidError unless the targets are valid for the loss."""
        self.loss.check(outputs, targets)

    def about(self, custom: Iterable[Any] = ()) -> dict[str, Any]:
        """Return the network and the loss."""
        return {"network": to_config(self.net, custom), "loss": to_config(self.loss, custom)}


@dataclass(frozen=True)
class StandIn(Layer):
    """A layer that replaces another to observe its passes."""

    layer: Layer


def unwatched(net: Layer) -> Layer:
    """Return a network without the stand-ins in it, for passes that no one is to observe."""
    if isinstance(net, StandIn):
        return unwatched(net.layer)
    return net.rebuild({name: unwatched(one) for name, one in net.layers.items()}) if is_wiring(net) else net


@dataclass(frozen=True)
class _Watched(StandIn):
    """Replace a layer to call functions after its forward and its backward pass."""

    path: str
    after_forward: ForwardWatch
    after_backward: BackwardWatch | None

    def init(self, shape: Any, rng: torch.Generator) -> tuple[Params, Any]:
        """Initialise the layer."""
        return self.layer.init(shape, rng)

    def forward(self, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
        """Run the layer."""
        y, cache = self.layer.forward(params, x, mode)
        self.after_forward(self.path, self.layer, x, y, cache)
        return y, cache

    def backward(self, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
        """Propagate back through the layer."""
        dx, dparams = self.layer.backward(params, cache, dy)
        if self.after_backward is not None:
            self.after_backward(self.path, self.layer, dy, dx, dparams)
        return dx, dparams


def _watched(net: Layer, path: str, forward: ForwardWatch, backward: BackwardWatch | None) -> Layer:
    if is_wiring(net):
        return net.rebuild(
            {name: _watched(child, join(path, name), forward, backward) for name, child in net.layers.items()}
        )
    return _Watched(net, path, forward, backward)


def merged(found: Gradients | Iterator[Gradients]) -> Gradients:
    """Return all losses and gradients, those of several turns together; nothing is learned between these."""
    if isinstance(found, tuple):
        return found
    losses: Losses = {}
    dparams: Params = {}
    for turn, part in found:
        losses |= turn
        dparams |= part
    return losses, dparams


def seeded(device: torch.device, seed: int = 0) -> torch.Generator:
    """Return a generator of random numbers on a device; for the device "meta", which has none, on the CPU."""
    return torch.Generator("cpu" if device.type == "meta" else device).manual_seed(seed)


def named_layers(nets: Mapping[str, Layer]) -> Iterator[tuple[str, Layer]]:
    """Yield (path, layer) for everything in several networks."""
    for name, net in nets.items():
        yield from walk(net, name)


def all_buffers(nets: Mapping[str, Layer]) -> set[str]:
    """Return the paths of the running statistics of several networks."""
    return set().union(*(buffer_paths(net, name) for name, net in nets.items()))


def params_of(params: Params, name: str) -> Params:
    """Return the parameters of the network `name`; of the one without a name, all."""
    return params[name] if name else params


def below(paths: Any, name: str) -> set[str]:
    """Return those of the paths that lie in the network `name`, without that name."""
    prefix = join(name, "")
    return {path.removeprefix(prefix) for path in paths if path.startswith(prefix)}
