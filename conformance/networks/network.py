"""Comparison of our network with another library's: logits, gradients and batch statistics for the same weights."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from conformance.case import Case, Mismatch
from conformance.networks.answer import Answer, PassResult
from pellucid.combine.base import map_layers
from pellucid.layers import BatchNorm, Dropout, Identity
from pellucid.layers.base import Layer, Mode, Params
from pellucid.nested import flatten, map_tree, nest
from pellucid.sweep import backward, forward
from pellucid.weights.match import match
from pellucid.weights.names import source_of
from pellucid.weights.names.loading import WeightsOrigin
from pellucid.weights.names.naming import fit_architecture, translate

FLOAT32_TOLERANCE, FLOAT64_TOLERANCE = 1e-4, 1e-9  # relative to the largest entry, for networks of a hundred layers
# Relative to the largest gradient of all weights. A smaller gradient is a rounded zero, for example that of a bias
# before a norm in training mode; its error is divided by the largest gradient.
ZERO_GRADIENT = 1e-10


@dataclass(frozen=True, eq=False)  # compared and hashed by identity, as a key of lru_cache
class Network:
    """One network of another library, and ours.

    `subject` is our function that builds the network, `net` its result for the library's variant. `ask` runs the
    library's network. `trains` is whether passes in training mode are compared too.
    """

    suite: str
    version: str
    subject: Any
    net: Layer
    ask: Callable[[], Answer]
    trains: bool

    def cases(self) -> Iterator[Case]:
        """Yield a case for each quantity, dtype and mode; `self.suite` and the dtype form the name of the suite."""
        checks: list[tuple[str, Callable[[], float], float]] = [
            ("logits float32", self.float32_logits, FLOAT32_TOLERANCE),
            *(
                (f"{quantity} float64", partial(check, self, False), FLOAT64_TOLERANCE)
                for quantity, check in _CHECKS.items()
            ),
        ]
        if self.trains:
            checks += [
                (f"training, {quantity} float64", partial(check, self, True), FLOAT64_TOLERANCE)
                for quantity, check in {**_CHECKS, "batch statistics": Network.statistics}.items()
            ]
        for name, check, tolerance in checks:
            suite = f"{self.suite} {name.rpartition(' ')[2]}"  # a row for each dtype
            yield Case(suite, self.version, name, self.subject, check, tolerance)

    def float32_logits(self) -> float:
        """Return the relative error of the logits in float32."""
        answer = self.ask()
        params = pellucid_params(self.net, self.suite, answer, torch.float32)
        with torch.no_grad():
            logits, _ = forward(map_layers(self.net, without_dropout), params, answer.x.float(), Mode(keep=False))
        return relative_error("logits", logits, answer.float32_logits)

    def logits(self, train: bool) -> float:
        """Return the relative error of the logits in float64."""
        return relative_error("logits", pellucid_pass(self, train).logits, self.reference_pass(train).logits)

    def input_gradient(self, train: bool) -> float:
        """Return the relative error of the gradient with respect to the images."""
        return relative_error("dx", pellucid_pass(self, train).dx, self.reference_pass(train).dx)

    def weight_gradients(self, train: bool) -> float:
        """Return the worst relative error of the gradients, each relative to its own largest entry."""
        answer = self.ask()
        source = source_of(self.net, answer.weights, self.suite)
        actual = pellucid_pass(self, train).dweights
        expected, _ = translate(source.naming, source.model, self.reference_pass(train).dweights)
        unmatched = {path for path in actual if path not in expected}
        if not source.naming.norms_without_weight and unmatched:
            raise Mismatch(f"they have no gradient for {sorted(unmatched)}")
        largest = max(float(dweight.abs().max()) for dweight in expected.values())
        errors = []
        for path in actual.keys() - unmatched:
            is_zero = float(expected[path].abs().max()) <= ZERO_GRADIENT * largest
            errors.append(relative_error(path, actual[path], expected[path], largest if is_zero else 0.0))
        return max(errors)

    def statistics(self, train: bool) -> float:
        """Return the worst relative error of the batch's mean and variance in all norms."""
        answer = self.ask()
        source = source_of(self.net, answer.weights, self.suite)
        tensors = flatten(pellucid_params(self.net, self.suite, answer, torch.float64))
        updated = {**answer.weights, **self.reference_pass(train).statistics}
        expected = to_pellucid_weights(source, tensors, {name: value.double() for name, value in updated.items()})
        actual = pellucid_pass(self, train).statistics
        if not actual:
            raise Mismatch("no norm has seen a batch")
        return max(relative_error(path, value, expected[path]) for path, value in actual.items())

    def reference_pass(self, train: bool) -> PassResult:
        """Return the library's pass in training or evaluation mode; raise Mismatch if it has no training mode."""
        answer = self.ask()
        result = answer.training if train else answer.evaluation
        if result is None:
            raise Mismatch("there is no pass in training mode to compare with")
        return result


_CHECKS: dict[str, Callable[[Network, bool], float]] = {
    "logits": Network.logits,
    "gradient of the input": Network.input_gradient,
    "gradients of the weights": Network.weight_gradients,
}


@lru_cache(maxsize=1)  # the cases of one network and mode follow one another
def pellucid_pass(network: Network, train: bool) -> PassResult:
    """Return our pass for the library's weights and images; gradients and statistics are by our paths."""
    answer, net = network.ask(), map_layers(network.net, without_dropout)
    params = pellucid_params(network.net, network.suite, answer, torch.float64)
    n_values: dict[str, int] = {}  # values per channel in the input of each norm

    def watch(path: str, layer: Layer, x: Any, y: Any, cache: Any) -> None:
        if isinstance(layer, BatchNorm):
            n_values[path] = x.numel() // x.shape[1]

    with torch.no_grad():
        logits, cache = forward(net, params, answer.x, Mode(train), watch)
        dx, dparams = backward(net, params, cache, answer.dy, consume=True)
    tensors = flatten(params)
    statistics = {f"{path}.running_mean": tensors[f"{path}.running_mean"] for path in n_values}
    for path, count in n_values.items():
        variance = tensors[f"{path}.running_var"]
        statistics[f"{path}.running_var"] = variance if answer.unbiased else variance * (count - 1) / count
    return PassResult(logits, dx, flatten(dparams), statistics)


def without_dropout(layer: Layer) -> Layer:
    """Return Identity for Dropout, a BatchNorm with momentum 1, or any other layer unchanged.

    With momentum 1, the running statistics are those of the last batch.
    """
    if isinstance(layer, Dropout):
        return Identity()
    return replace(layer, momentum=1.0) if isinstance(layer, BatchNorm) else layer


def pellucid_params(net: Layer, suite: str, answer: Answer, dtype: torch.dtype) -> Params:
    """Return the library's weights as our network's parameters; raise Mismatch unless names and shapes fit."""
    with torch.device("meta"):
        meta, _ = net.init(tuple(answer.x.shape[1:]), torch.Generator())
    expected = flatten(map_tree(lambda leaf: leaf.to(dtype), meta))
    source = source_of(net, answer.weights, suite)
    actual = to_pellucid_weights(source, expected, {name: value.to(dtype) for name, value in answer.weights.items()})
    differences = match(expected, actual)
    if differences:
        raise Mismatch("; ".join(map(str, differences[:3])))
    return nest(meta, {path: value.clone() for path, value in actual.items()})  # norms write into buffers


def to_pellucid_weights(
    source: WeightsOrigin, expected: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return all of a library's tensors by our paths; raise Mismatch for a tensor that our network does not have."""
    known, unknown = translate(source.naming, source.model, weights)
    if unknown:
        raise Mismatch(f"no place for {sorted(unknown)[:3]}")
    return fit_architecture(source.naming, expected, known)


def relative_error(name: str, actual: Tensor, expected: Tensor, scale: float = 0.0) -> float:
    """Return the largest difference, divided by the largest magnitude of `expected`, or by `scale` if that is larger.

    Raises Mismatch if shapes or dtypes differ, or if the result is not finite.
    """
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        raise Mismatch(f"{name}: {actual.dtype} {tuple(actual.shape)}, not {expected.dtype} {tuple(expected.shape)}")
    largest, error = max(float(expected.abs().max()), scale), float((actual - expected).abs().max())
    if not (largest > 0 and error < float("inf")):
        raise Mismatch(f"{name}: differs by {error}, of at most {largest}")
    return error / largest
