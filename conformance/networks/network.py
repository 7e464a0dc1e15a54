"""A network of ours beside another library's: the same weights, logits, gradients and batch statistics."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from conformance.case import Case, Mismatch
from conformance.networks.answer import Answer, Pulled
from pellucid.combine.base import map_layers
from pellucid.layers import BatchNorm, Dropout, Identity
from pellucid.layers.base import Layer, Mode, Params
from pellucid.nested import flatten, map_tree, nest
from pellucid.sweep import backward, forward
from pellucid.weights.match import match
from pellucid.weights.names import source_of
from pellucid.weights.names.loading import WeightsOrigin
from pellucid.weights.names.naming import settle, translate

SINGLE, DOUBLE = 1e-4, 1e-9  # of the largest entry, after a hundred layers
# Of the largest gradient of all weights. What is smaller is a zero that was rounded, such as that of a shift before a
# norm in training mode, and is compared with that largest one.
IDLE = 1e-10


@dataclass(frozen=True, eq=False)  # each is itself, so that its passes can be kept
class Network:
    """One network of another library.

    `subject` is our function and `net` what it returns for these weights; `ask` runs the library's; `trains` tells
    whether it has batch statistics.
    """

    suite: str
    version: str
    subject: Any
    net: Layer
    ask: Callable[[], Answer]
    trains: bool

    def cases(self) -> Iterator[Case]:
        """Yield the row's cases."""
        checks: list[tuple[str, Callable[[], float], float]] = [
            ("logits float32", self.single, SINGLE),
            *((f"{what} float64", partial(check, self, False), DOUBLE) for what, check in _CHECKS.items()),
        ]
        if self.trains:
            checks += [
                (f"training, {what} float64", partial(check, self, True), DOUBLE)
                for what, check in {**_CHECKS, "batch statistics": Network.statistics}.items()
            ]
        for name, check, tolerance in checks:
            suite = f"{self.suite} {name.rpartition(' ')[2]}"  # a row for each dtype
            yield Case(suite, self.version, name, self.subject, check, tolerance)

    def single(self) -> float:
        """Compare the logits in float32."""
        answer = self.ask()
        params = ours(self.net, self.suite, answer, torch.float32)
        with torch.no_grad():
            logits, _ = forward(map_layers(self.net, still), params, answer.x.float(), Mode(keep=False))
        return relative("logits", logits, answer.single)

    def logits(self, train: bool) -> float:
        """Compare the logits."""
        return relative("logits", our_pass(self, train).logits, self.theirs(train).logits)

    def input_gradient(self, train: bool) -> float:
        """Compare the gradient of the images."""
        return relative("dx", our_pass(self, train).dx, self.theirs(train).dx)

    def weight_gradients(self, train: bool) -> float:
        """Compare the gradients of all weights, each to its own largest entry; return the worst."""
        answer = self.ask()
        source = source_of(self.net, answer.weights, self.suite)
        mine = our_pass(self, train).dweights
        theirs, _ = translate(source.naming, source.model, self.theirs(train).dweights)
        extra = {path for path in mine if path not in theirs}
        if not source.naming.unscaled and extra:
            raise Mismatch(f"they have no gradient for {sorted(extra)}")
        largest = max(float(dweight.abs().max()) for dweight in theirs.values())
        errors = []
        for path in mine.keys() - extra:
            idle = float(theirs[path].abs().max()) <= IDLE * largest
            errors.append(relative(path, mine[path], theirs[path], largest if idle else 0.0))
        return max(errors)

    def statistics(self, train: bool) -> float:
        """Compare each norm's mean and variance of the batch."""
        answer = self.ask()
        source = source_of(self.net, answer.weights, self.suite)
        held = flatten(ours(self.net, self.suite, answer, torch.float64))
        after = {**answer.weights, **self.theirs(train).statistics}
        theirs = in_our_form(source, held, {name: value.double() for name, value in after.items()})
        found = our_pass(self, train).statistics
        if not found:
            raise Mismatch("no norm has seen a batch")
        return max(relative(path, value, theirs[path]) for path, value in found.items())

    def theirs(self, train: bool) -> Pulled:
        """Return the library's pass."""
        answer = self.ask()
        pulled = answer.training if train else answer.evaluation
        if pulled is None:
            raise Mismatch("there is no pass in training mode to compare with")
        return pulled


_CHECKS: dict[str, Callable[[Network, bool], float]] = {
    "logits": Network.logits,
    "gradient of the input": Network.input_gradient,
    "gradients of the weights": Network.weight_gradients,
}


@lru_cache(maxsize=1)  # the cases of one network and mode follow one another
def our_pass(network: Network, train: bool) -> Pulled:
    """Return our own pass over the answer's weights and images, by our paths."""
    answer, net = network.ask(), map_layers(network.net, still)
    params = ours(network.net, network.suite, answer, torch.float64)
    counts: dict[str, int] = {}  # values per channel that a norm has seen

    def watch(path: str, layer: Layer, x: Any, y: Any, cache: Any) -> None:
        if isinstance(layer, BatchNorm):
            counts[path] = x.numel() // x.shape[1]

    with torch.no_grad():
        logits, cache = forward(net, params, answer.x, Mode(train), watch)
        dx, dparams = backward(net, params, cache, answer.dy, consume=True)
    held = flatten(params)
    statistics = {f"{path}.running_mean": held[f"{path}.running_mean"] for path in counts}
    for path, count in counts.items():
        variance = held[f"{path}.running_var"]
        statistics[f"{path}.running_var"] = variance if answer.unbiased else variance * (count - 1) / count
    return Pulled(logits, dx, flatten(dparams), statistics)


def still(layer: Layer) -> Layer:
    """Return a layer as it is without dropout, a norm's running statistics being those of the last batch."""
    if isinstance(layer, Dropout):
        return Identity()
    return replace(layer, momentum=1.0) if isinstance(layer, BatchNorm) else layer


def ours(net: Layer, suite: str, answer: Answer, dtype: torch.dtype) -> Params:
    """Return the answer's weights as the network's parameters; raises Mismatch where they are not the same tensors."""
    with torch.device("meta"):
        meta, _ = net.init(tuple(answer.x.shape[1:]), torch.Generator())
    wanted = flatten(map_tree(lambda leaf: leaf.to(dtype), meta))
    source = source_of(net, answer.weights, suite)
    found = in_our_form(source, wanted, {name: value.to(dtype) for name, value in answer.weights.items()})
    differences = match(wanted, found)
    if differences:
        raise Mismatch("; ".join(map(str, differences[:3])))
    return nest(meta, {path: value.clone() for path, value in found.items()})  # norms write into theirs


def in_our_form(
    source: WeightsOrigin, wanted: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return all of a library's tensors by our paths; Mismatch for one that has no place in the network."""
    known, unknown = translate(source.naming, source.model, weights)
    if unknown:
        raise Mismatch(f"no place for {sorted(unknown)[:3]}")
    return settle(source.naming, wanted, known)


def relative(what: str, mine: Tensor, theirs: Tensor, scale: float = 0.0) -> float:
    """Return the largest difference, divided by the largest entry of `theirs`, or by `scale` where that is larger."""
    if mine.shape != theirs.shape or mine.dtype != theirs.dtype:
        raise Mismatch(f"{what}: {mine.dtype} {tuple(mine.shape)}, not {theirs.dtype} {tuple(theirs.shape)}")
    largest, error = max(float(theirs.abs().max()), scale), float((mine - theirs).abs().max())
    if not (largest > 0 and error < float("inf")):
        raise Mismatch(f"{what}: differs by {error}, of at most {largest}")
    return error / largest
