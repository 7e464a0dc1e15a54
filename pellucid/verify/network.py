"""Every explicit gradient of a network compared with PyTorch's autograd and central differences."""

import math
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine.base import buffer_paths
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.losses.base import Loss
from pellucid.nested import flatten, map_tree
from pellucid.verify import forms
from pellucid.verify.differences import GradientComparison, compare
from pellucid.verify.forms import Reference, TrainingForm
from pellucid.verify.probe import Gradient, Probe, double, like, sweep, tensors
from pellucid.verify.table import FLOOR, FORM_TOLERANCE, TOLERANCE, GradientRow, GradientTable
from pellucid.verify.ties import DifferentiableFunction, layer_function

NUDGE_SIZES = (1e-3, 1e-2, 1e-4)  # relative sizes of the changes to the layers' inputs, tried one after the other


def pull_back(function: Callable[[], Tensor], inputs: Sequence[Tensor], dy: Tensor) -> tuple[Tensor, ...]:
    """Return autograd's gradients of sum(function() * dy) with respect to `inputs`, tensors that `function` uses.

    The gradient is 0 for an input on which the result does not depend. The inputs' flags `requires_grad` are restored.
    """
    floating = [x for x in inputs if x.is_floating_point()]
    without_grad = [x for x in floating if not x.requires_grad]
    with torch.inference_mode(False), torch.enable_grad():
        for x in floating:
            x.requires_grad_()
        try:
            gradients = _autograd(function(), floating, dy)
        finally:
            for x in without_grad:
                x.requires_grad_(False)
    return tuple(gradients[id(x)] if id(x) in gradients else torch.zeros_like(x) for x in inputs)


def verify(
    net: Layer,
    params: Params,
    x: Any,
    target: Tensor,
    loss: Loss,
    mode: Mode | None = None,
    samples: int = 8,
    seed: int = 0,
    training: TrainingForm | None = None,
) -> GradientTable:
    """Compare every gradient of `loss` through `net` with autograd and with central differences, in float64.

    x (a tensor or a tuple of tensors) and target are one batch; mode: by default `Mode()`. Dropout draws the same
    numbers in every evaluation, from the state of `mode.rng`, by default from `seed`; running statistics do not change.
    Central differences are computed for `samples` entries of each tensor: half have the largest gradients, half are
    drawn with `seed`. The step is 1e-5, and is reduced to 1e-6 and 1e-7 if the difference disagrees.

    The loss has no derivative at a kink, such as a ReLU at 0 or equal maxima. An entry that disagrees with the central
    difference is at a kink if the slopes on both sides differ, or if autograd agrees with the entry. If the slopes do
    not differ, or without autograd's gradient, all entries must also be right at a nudged input: the inputs of all
    layers are changed by a thousandth, so no values are equal. Up to `samples` entries that disagree with autograd are
    also compared with central differences. They are at a kink if the slopes on both sides differ and enclose the entry,
    if all entries are right at a nudged input, and if the gradient is right along directions in which all entries
    change together, so equal values remain equal. Any other disagreement is a wrong gradient. Entries at which only
    autograd's gradient is not finite are not compared with it. If the gradient of a layer differs at a kink, autograd
    uses the explicit gradient of this layer for the layers before it.

    training: the settings of training. If given, the gradients, running statistics and outputs of the network's forms
    for training and for prediction are also compared with those of the network as written.
    Raises PellucidError for a loss that is not finite, fewer than 2 samples, and the device mps, which lacks float64.
    """
    if samples < 2:
        raise PellucidError(f"verify: samples is {samples}; compare at least 2 entries of each tensor")
    if target.device.type == "mps":
        raise PellucidError("verify: gradients are compared in float64, which mps lacks; give device='cpu'")
    with torch.inference_mode(False), torch.enable_grad():
        mode = mode or Mode()
        probe_at = partial(Probe, net, params, x, target, loss, mode, seed)
        table = _Verification(probe_at, samples, seed).table()
        if training is None:
            return table
        frozen = forms.frozen_layers(net, params, training.frozen)
        probe = Probe(net, params, x, target, loss, Mode(True), seed, frozen=frozen)
        reference = partial(_reference, samples=samples, seed=seed)
        rows, notes = forms.training_rows(probe, training, NUDGE_SIZES, reference, samples)
        rows += forms.predicting_rows(Probe(net, params, x, target, loss, Mode(), seed), params, x)
        wrong_rows = [f"{row.path} ({row.what}, in the {row.form} form)" for row in rows if not row.ok]
        return GradientTable((*table.rows, *rows), table.culprit or (wrong_rows[-1] if wrong_rows else None), notes)


def _reference(probe: Probe, samples: int, seed: int) -> Reference:
    """Return the results of the network as written, and autograd's gradients with respect to its parameters.

    If they differ, autograd's gradients are recomputed with the explicit gradients of layers at kinks.
    """
    verification = _Verification(lambda nudge: probe.with_nudge(nudge) if nudge else probe, samples, seed)
    gradients = flatten(verification.dparams)
    reference = verification.autograd()
    pairs = [(gradients[path], expected) for path, expected in reference.items() if path in gradients]
    if any(
        explicit.shape == expected.shape and not torch.allclose(explicit, expected, FORM_TOLERANCE, FLOOR)
        for explicit, expected in pairs
    ):
        verification.table()
        reference = verification.autograd()
    reference = {path: gradient for path, gradient in reference.items() if gradient.isfinite().all()}
    return Reference(tuple(tensors(verification.y)), gradients, flatten(verification.result.updated_params), reference)


class _Verification:
    """The verification of a probe: its explicit forward and backward pass, and the comparisons of the gradients.

    probe_at: a function that returns the probe nudged by a given size, or the probe itself for 0.
    """

    def __init__(self, probe_at: Callable[[float], Probe], samples: int, seed: int, size: float = 0.0) -> None:
        self.probe_at, self.probe, self.samples, self.seed = probe_at, probe_at(size), samples, seed
        self.rng = torch.Generator().manual_seed(seed)
        self.result = result = sweep(self.probe)
        self.visits, self.y, self.dparams = result.visits, result.y, result.dparams
        self.tracked = [True] * len(self.visits)  # whether autograd can differentiate each visit's forward
        # Backward-pass indices of the layers (-1: the loss) whose gradients differ from autograd's at a kink.
        self.tie_orders: set[int] = set()
        self.bridged_orders: set[int] = set()  # ties at which autograd uses the layer's explicit backward
        self.nudged_gradients: dict[float, list[tuple[Gradient, float]]] = {}  # gradients at nudged inputs, by size

    def table(self) -> GradientTable:
        """Return the table of all gradients: compare each, then repeat the comparison of the layers before each tie."""
        gradients = self.with_floors()
        rows = [self.row(index, *pair) for index, pair in enumerate(gradients)]
        while tie_orders := self.tie_orders - self.bridged_orders:
            # The explicit gradient of the first tie is propagated to the layers before it; autograd must use it too.
            first_order = min(tie_orders)
            self.bridged_orders.add(first_order)
            self.tie_orders -= {order for order in self.tie_orders if order > first_order}
            gradients = self.with_floors()
            rows = [
                row if gradient.order <= first_order else self.row(index, gradient, floor)
                for index, (row, (gradient, floor)) in enumerate(zip(rows, gradients, strict=True))
            ]
        wrong_gradients = [gradient for (gradient, _), row in zip(gradients, rows, strict=True) if not row.ok]
        first_wrong = min(wrong_gradients, key=lambda gradient: gradient.order, default=None)
        culprit = None if first_wrong is None else f"{first_wrong.path} ({first_wrong.layer}, {first_wrong.what})"
        return GradientTable(tuple(rows), culprit)

    def with_floors(self) -> list[tuple[Gradient, float]]:
        """Return every gradient with the threshold below which its values count as zero."""
        gradients = self.gradients()
        largest = max(gradient.largest for gradient in gradients)
        return [(gradient, FLOOR * max(1.0, largest)) for gradient in gradients]

    def run_autograd(self, params: Params, xs: list[Tensor]) -> tuple[Any, Tensor, list[list[Tensor]]]:
        """Run forward under autograd; return the output, the loss, and for each visit an alias of its input tensors.

        For a layer that autograd cannot differentiate, `tracked` becomes False, and its explicit backward replaces
        autograd, so autograd's gradients are still computed for the layers before it.
        """
        aliases: list[list[Tensor]] = []

        def leaf(index: int, path: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
            aliased = [tensor.view_as(tensor) for tensor in tensors(x)]
            aliases.append(aliased)
            state = mode.rng.get_state() if mode.rng is not None else None
            try:
                y, cache = layer.forward(params, like(x, aliased), mode)
                is_lost = any(x.requires_grad for x in aliased) and not any(
                    output.requires_grad for output in tensors(y)
                )
                is_lost = is_lost or self.visits[index].order in self.bridged_orders
            except RuntimeError:  # an operation without a derivative
                is_lost, y, cache = True, None, None
            if not is_lost:
                return y, cache
            self.tracked[index] = False
            if mode.rng is not None and state is not None:
                mode.rng.set_state(state)
            with torch.no_grad():
                detached = like(x, [tensor.detach() for tensor in tensors(x)])
                y, cache = layer.forward(map_tree(torch.detach, params), detached, mode)
            outputs = _Bridge.apply(layer, params, cache, len(tensors(y)), *aliased, *tensors(y))
            return like(y, list(tensors(outputs))), cache

        y, _ = self.probe.run(xs, params, leaf)
        if -1 in self.bridged_orders:
            pairs = zip(tensors(y), tensors(self.result.dy), strict=True)
            return y, torch.stack([(output * dy).sum() for output, dy in pairs]).sum(), aliases
        return y, self.probe.loss(y, self.probe.target)[0], aliases

    def autograd(self) -> dict[str, Tensor]:
        """Return autograd's gradients with respect to parameters by path, for layers that it can differentiate."""
        params, weights = self.autograd_params()
        _, value, _ = self.run_autograd(params, self.inputs())
        grads = _autograd(value, list(weights.values()))
        differentiable = {
            path: weight for path, weight in weights.items() if self.is_differentiable(self.result.owner(path))
        }
        return {path: grads[id(weight)] for path, weight in differentiable.items() if id(weight) in grads}

    def gradients(self) -> list[Gradient]:
        """Return every gradient: for the network's input, for the layers in forward order, and for the outputs."""
        params, weights = self.autograd_params()
        xs = self.inputs()
        y, value, aliases = self.run_autograd(params, xs)
        variables = [*weights.values(), *xs, *tensors(y), *(tensor for alias in aliases for tensor in alias)]
        grads = _autograd(value, variables)
        current, explicit = flatten(self.probe.params), flatten(self.dparams)

        def paired(
            path: str, what: str, values: list[Tensor], explicit: Any, reference: list[Tensor], order: int,
            layer: str = "", is_tracked: bool = True, loss: Callable[[], float] = self.probe.value,
            writes_dy: bool = False, constants: Collection[int] = (),
        ) -> Gradient:  # fmt: skip
            """Pair the explicit gradients with those of autograd, for floating-point tensors that are not constants.

            A tensor outside autograd's graph has the gradient 0 if its explicit gradient is 0, otherwise none; if any
            tensor has none, `reference` is None.
            """
            triples = [
                triple
                for index, triple in enumerate(zip(values, explicit, reference, strict=True))
                if triple[0].is_floating_point() and index not in constants
            ]
            gradients = [grads.get(id(leaf), None if dx is not None and dx.any() else x * 0) for x, dx, leaf in triples]
            known_gradients = [gradient for gradient in gradients if gradient is not None]
            return Gradient(
                path, layer, what, tensors=[x for x, _, _ in triples], explicit=[dx for _, dx, _ in triples],
                reference=known_gradients if is_tracked and len(known_gradients) == len(gradients) else None,
                order=order, loss=loss, writes_dy=writes_dy,
            )  # fmt: skip

        pairs = zip(self.probe.xs, tensors(self.result.dx), strict=True)
        dx = [torch.zeros_like(x) if grad is None else grad for x, grad in pairs]  # None: no layer uses this input
        reads = [(id(tensor), index in visit.layer.constants) for visit in self.visits
                for index, tensor in enumerate(tensors(visit.x))]  # fmt: skip
        constant_ids = {tensor_id for tensor_id, constant in reads if constant} - {
            tensor_id for tensor_id, constant in reads if not constant
        }
        constants = [index for index, x in enumerate(self.probe.xs) if id(x) in constant_ids]
        comparisons = [paired("input", "dx", self.probe.xs, dx, xs, len(self.visits) + 1, constants=constants)]
        for index, (visit, alias) in enumerate(zip(self.visits, aliases, strict=True)):
            if visit.dx is None:  # the loss does not depend on this layer
                continue
            name = type(visit.layer).__name__
            passes = [other for other in self.visits if other.path == visit.path]  # more than one for a shared layer
            if visit is passes[0]:
                order, is_tracked = max(other.order for other in passes), self.is_differentiable(visit.path)
                for path, weight in weights.items():
                    if self.result.owner(path) == visit.path:
                        what = path.removeprefix(f"{visit.path}.")
                        gradient = [explicit.get(path)]
                        comparisons.append(
                            paired(visit.path, what, [current[path]], gradient, [weight], order, name, is_tracked)
                        )
            values = [double(tensor) for tensor in tensors(visit.x)]
            replaced_inputs = {index: like(visit.x, values)}

            def loss_at(replaced_inputs: dict[int, Any] = replaced_inputs) -> float:
                return self.probe.value(replaced_inputs)

            comparisons.append(paired(
                visit.path, "dx", values, visit.dx, alias, visit.order, layer=name, is_tracked=self.tracked[index],
                loss=loss_at, writes_dy=visit.writes_dy, constants=visit.layer.constants,
            ))  # fmt: skip
        values = [double(tensor) for tensor in tensors(self.y)]

        def loss_value() -> float:
            return float(self.probe.loss(like(self.y, values), self.probe.target)[0])

        name = type(self.probe.loss).__name__
        comparisons.append(paired("loss", "dy", values, tensors(self.result.dy), tensors(y), -1, name, loss=loss_value))
        return [gradient for gradient in comparisons if gradient.tensors]

    def autograd_params(self) -> tuple[Params, dict[str, Tensor]]:
        """Return a copy of the parameters for autograd, and the learned parameters of this copy by path."""
        copies = map_tree(torch.clone, self.probe.params)
        buffers = buffer_paths(self.probe.net)
        weights = {
            path: copy.requires_grad_(copy.is_floating_point())
            for path, copy in flatten(copies).items()
            if path not in buffers and self.result.owner(path) is not None
        }
        return copies, weights

    def inputs(self) -> list[Tensor]:
        """Return a copy of the inputs for autograd."""
        return [x.clone().requires_grad_(x.is_floating_point()) for x in self.probe.xs]

    def is_differentiable(self, path: str | None) -> bool:
        """Return whether autograd can differentiate every visit to the layer at a path."""
        return all(tracked for visit, tracked in zip(self.visits, self.tracked, strict=True) if visit.path == path)

    def row(self, index: int, gradient: Gradient, floor: float) -> GradientRow:
        """Compare one gradient with both references, and at a nudged input if they are inconclusive."""
        entries = sum(x.numel() for x in gradient.tensors)
        if gradient.fault:
            return GradientRow(
                gradient.path, gradient.layer, gradient.what, entries, largest=math.nan, autograd=None,
                differences=None, checked=0, kinks=0, ok=False, note=gradient.fault,
            )  # fmt: skip
        difference = self.compare(gradient, floor)
        is_equal = difference.is_close is True and not difference.n_not_finite
        function = None if is_equal else self.isolated_function(gradient)
        if function:  # kinks of later layers affect differences of the loss, but not of the isolated layer
            difference.mark_as_kinks(lambda entry, gap: function.is_right_at(entry, enclosed=gap is not None))
        ok = not difference.is_wrong and (not difference.is_inconclusive or self.recheck_nudged(index, difference))
        differing = [entry for entry in difference.entries if not entry.is_right]
        right_together = not (ok and function) or function.is_right_together()
        ok = ok and right_together
        kinks = len(differing) if ok else sum(entry.is_kink for entry in differing)
        errors = [entry.error for entry in difference.entries if entry.is_right or not (ok or entry.is_kink)]
        notes = [] if gradient.reference is not None else ["central differences only"]
        if difference.scale <= floor:
            notes.append("zero")
        if kinks:
            notes.append(f"{kinks} on a kink")
        if difference.n_not_finite and gradient.reference is not None:
            notes.append(f"autograd not finite at {difference.n_not_finite:,}")
        if not right_together:
            notes.append("wrong where all entries change together")
        if ok and difference.is_close is False:
            notes.append("not autograd's side of a kink")
        if ok and (difference.is_close is False or difference.n_not_finite) and gradient.what in ("dx", "dy"):
            self.tie_orders.add(gradient.order)
        scale = difference.scale if difference.scale > floor else math.inf
        return GradientRow(
            gradient.path, gradient.layer, gradient.what, entries, largest=difference.largest,
            autograd=None if difference.gap is None else difference.gap / scale,
            differences=max(errors) / scale if errors else None, checked=len(errors), kinks=kinks, ok=ok,
            note=", ".join(notes),
        )  # fmt: skip

    def compare(self, gradient: Gradient, floor: float) -> GradientComparison:
        """Compare one gradient with both references at the current values."""
        explicit, reference = (
            None if pieces is None else torch.cat([dx.double().flatten() for dx in pieces if dx is not None])
            for pieces in (gradient.explicit, gradient.reference)
        )
        assert explicit is not None
        return compare(gradient.tensors, explicit, reference, gradient.loss, self.samples, self.rng, TOLERANCE, floor)

    def isolated_function(self, gradient: Gradient) -> DifferentiableFunction | None:
        """Return the layer of a gradient dx, or the loss of a gradient dy, as a function; None for other gradients."""
        if gradient.what not in ("dx", "dy") or gradient.order > len(self.visits):
            return None
        for index, visit in enumerate(self.visits):
            if visit.order == gradient.order and visit.dx is not None:
                return layer_function(self.probe, index, visit.x, self.rng)
        loss, target, dy = self.probe.loss, self.probe.target, tensors(self.result.dy)

        def value(ys: list[Tensor]) -> list[Tensor]:
            return [torch.as_tensor(loss(like(self.y, ys), target)[0]).double()]

        return DifferentiableFunction(
            value, lambda dvalue: [dvalue[0] * dy_tensor for dy_tensor in dy], tensors(self.y), self.rng
        )

    def recheck_nudged(self, index: int, at_current_values: GradientComparison) -> bool:
        """Return whether an inconclusive gradient counts as right because all its entries are at a nudged input."""
        comparisons = []
        for size in NUDGE_SIZES:
            if size not in self.nudged_gradients:
                self.nudged_gradients[size] = _Verification(self.probe_at, self.samples, self.seed, size).with_floors()
            comparisons.append(self.compare(*self.nudged_gradients[size][index]))
            if comparisons[-1].is_confirmed:
                return True
        # Without autograd, kinks that no nudge removes cannot be compared; it suffices that no comparison is wrong.
        return at_current_values.is_close is None and not any(comparison.is_wrong for comparison in comparisons)


class _Bridge(torch.autograd.Function):
    """An autograd function for a layer that autograd cannot differentiate; it calls the layer's explicit backward."""

    @staticmethod
    def forward(ctx: Any, layer: Layer, params: Params, cache: Cache, n_outputs: int, *tensors: Tensor) -> Any:
        """Return copies of the outputs, which are the last `n_outputs` of `tensors`; the others are the inputs."""
        ctx.call = (layer, map_tree(torch.detach, params), cache)
        ctx.n_outputs = n_outputs
        ys = tuple(y.clone() for y in tensors[len(tensors) - n_outputs :])
        return ys if n_outputs > 1 else ys[0]

    @staticmethod
    def backward(ctx: Any, *dys: Tensor) -> Any:
        """Return the layer's dx, and None for all other arguments of `forward`."""
        layer, params, cache = ctx.call
        dx, _ = layer.backward(params, cache, dys if ctx.n_outputs > 1 else dys[0])
        return (None, None, None, None, *tensors(dx), *(None,) * ctx.n_outputs)


def _autograd(value: Tensor, inputs: list[Tensor], dy: Tensor | None = None) -> dict[int, Tensor]:
    """Return autograd's gradients of `value`, or of sum(value * dy), by the id of each tensor that it depends on."""
    variables = [x for x in inputs if x.requires_grad]
    if not value.requires_grad or not variables:
        return {}
    gradients = torch.autograd.grad(value, variables, dy, allow_unused=True)
    return {id(x): gradient for x, gradient in zip(variables, gradients, strict=True) if gradient is not None}
