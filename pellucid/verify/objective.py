"""Verification of the gradients that an objective computes outside its networks, and of how it combines theirs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.combine.base import buffer_paths
from pellucid.constant import Constants
from pellucid.data.source import Batch
from pellucid.layers.base import Mode, Params
from pellucid.nested import flatten, map_tree, nest
from pellucid.objective import Gradients, Losses, Objective, seeded_generator
from pellucid.verify.differences import Difference, difference
from pellucid.verify.network_wrappers import AutogradNetwork, Calls, RecordedNetwork, map_tensors
from pellucid.verify.probe import double, nudge_tensor, tensors
from pellucid.verify.table import FLOOR, FORM_TOLERANCE, OBJECTIVE, TOLERANCE, TRAINS, GradientRow

NUDGE_SIZES = (1e-3, 1e-2, 1e-4)  # relative sizes of the changes to parameters and images, tried one after the other


class NetworkCall(NamedTuple):
    """One pass through a network: its name, its input, and the gradient with respect to its output."""

    name: str
    x: Any
    dy: Any


class GradientKey(NamedTuple):
    """One compared gradient: the index of its turn among the results of `Objective.gradients`; "dy" or "dparams"."""

    turn: int
    network: str
    what: str


class ObjectiveRows(NamedTuple):
    """The verification of an objective."""

    rows: list[GradientRow]
    culprit: str | None  # the first wrong gradient in the order of the backward pass, None if all are right
    calls: list[NetworkCall]  # the passes through the objective's networks that have a backward pass


def verify_objective(objective: Objective, params: Params, batch: Batch, directions: int, seed: int) -> ObjectiveRows:
    """Compare the gradients that an objective computes with autograd and with central differences of its losses.

    The comparison is in training mode and float64. For the reference, each network is differentiated by its own
    backward pass, which `verify` compares separately, and all other operations by autograd. For each turn and each
    network, the gradient `dy` with respect to the network's outputs and the gradients `dparams` of its parameters are
    compared with the reference; dparams is also compared with central differences of the turn's weighted losses along
    `directions` random directions. Values declared by `pellucid.constant.constant` are constants in both comparisons. A
    network for which no turn returns gradients must not affect the losses, unless `Objective.untrained` names it. A
    gradient that differs only at a kink of the losses must be right at nudged parameters and images. The objective's
    form for training must have the same gradients.
    Raises PellucidError for a loss that is not finite.
    """
    passes = _Passes(objective, params, batch, directions, seed)
    rows = [_row(comparison, passes) for comparison in passes.compare()]
    wrong_rows = [row for row in rows if not row.ok]
    # The first wrong row in the order of the backward pass, which is the reverse order of the networks' first calls.
    order = {name: index for index, name in enumerate(dict.fromkeys(call.name for call in passes.calls))}
    first_wrong = max(wrong_rows, key=lambda row: (row.what == "dy", order.get(row.path, -1)), default=None)
    rows += passes.compare_fused()
    first_wrong = first_wrong or next((row for row in rows if not row.ok), None)
    culprit = None if first_wrong is None else f"{first_wrong.path} ({first_wrong.layer}, {first_wrong.what})"
    return ObjectiveRows(rows, culprit, [call for call in passes.calls if call.dy is not None])


def _row(comparison: "_Comparison", passes: "_Passes") -> GradientRow:
    """Return the row of a comparison; if it fails, repeat it at nudged parameters and images."""
    if comparison.is_right or comparison.fault:
        return comparison.row(comparison.is_right)
    for size in NUDGE_SIZES:
        nudged_comparison = passes.compare_nudged(size)[comparison.key]
        if nudged_comparison.is_right:
            return nudged_comparison.row(True, "on a kink; right at nudged values")
    return comparison.row(False)


@dataclass(frozen=True)
class _Comparison:
    """One gradient compared with autograd, and with central differences along some directions."""

    key: GradientKey
    layer: str  # class of the objective
    entries: int
    largest: float
    gap: float | None  # largest distance from autograd, relative to the scale of each tensor; None without autograd
    is_close: bool  # whether that distance is within the tolerance
    differences: tuple[Difference, ...] = ()
    scale: float = 1.0  # the errors of `differences` are relative to it
    fault: str = ""  # a fault that does not depend on kinks

    @property
    def is_right(self) -> bool:
        """Whether the gradient agrees with all references."""
        return not self.fault and self.is_close and all(entry.agrees for entry in self.differences)

    def row(self, ok: bool, note: str = "") -> GradientRow:
        """Return the comparison as a row of the table; note: additional text for its notes."""
        notes = [note, self.fault, "central differences only" if self.gap is None and self.differences else ""]
        checked = [entry for entry in self.differences if entry.agrees or not ok]
        error = max((entry.error for entry in checked), default=None)
        return GradientRow(
            path=self.key.network,
            layer=self.layer,
            what=self.key.what,
            entries=self.entries,
            largest=self.largest,
            autograd=self.gap,
            differences=None if error is None else error / self.scale,
            checked=len(checked),
            kinks=len(self.differences) - len(checked),
            ok=ok,
            note=", ".join(text for text in notes if text),
            form=OBJECTIVE,
        )


class _Passes:
    """Passes of an objective at parameters and a batch in float64; all draw the same random numbers.

    turns: the losses and explicit gradients. calls: the passes through networks in forward order.
    """

    def __init__(self, objective: Objective, params: Params, batch: Batch, directions: int, seed: int) -> None:
        self.objective = objective
        self.directions = directions
        self.seed = seed
        self.objective_name = type(objective).__name__
        self.params = map_tree(double, params)
        self.flat = flatten(self.params)
        buffers = {f"{name}.{path}" for name, net in objective.nets.items() for path in buffer_paths(net)}
        self.learned_paths = [
            path for path, leaf in self.flat.items() if leaf.is_floating_point() and path not in buffers
        ]
        targets = double(batch.targets) if isinstance(batch.targets, Tensor) else batch.targets
        self.batch = Batch(map_tensors(double, batch.images), targets)
        self.device = next(iter(tensors(self.batch.images))).device
        self.constants = Constants()
        recorded = Calls()
        with torch.no_grad():
            nets = {name: RecordedNetwork(net, name, recorded) for name, net in objective.nets.items()}
            self.turns = self.run(objective.with_nets(nets), self.params)
        returned = {name for _, dparams in self.turns for name in dparams}
        # Networks that have parameters, but for which no turn returns gradients.
        self.without_gradients = {_network_of(path) for path in self.learned_paths} - returned - {*objective.untrained}
        self.dys = recorded.dys
        self.calls = [NetworkCall(name, x, recorded.dys.get(index)) for index, (name, x) in enumerate(recorded.inputs)]
        values = [value for losses, _ in self.turns for value in losses.values()]
        if not all(bool(value.isfinite()) for value in values):
            raise PellucidError(
                f"verify: a loss of this batch is not finite: {', '.join(f'{float(value):g}' for value in values)}; "
                "check the inputs and weights"
            )
        self._nudged: dict[float, dict[GradientKey, _Comparison]] = {}

    def run(self, objective: Objective, params: Params) -> list[Gradients]:
        """Return the turns of an objective; without autograd, running statistics are not changed."""
        copies = params if torch.is_grad_enabled() else map_tree(torch.clone, params)
        with self.constants.in_use():
            result = objective.gradients(copies, self.batch, Mode(True, seeded_generator(self.device, self.seed)))
            return [result] if isinstance(result, tuple) else [*result]

    def compare_nudged(self, size: float) -> dict[GradientKey, _Comparison]:
        """Return the comparisons at nudged parameters and images."""
        if size not in self._nudged:
            rng = torch.Generator().manual_seed(0)
            flat = self.flat | {path: nudge_tensor(self.flat[path], size, rng) for path in self.learned_paths}
            images = map_tensors(lambda tensor: nudge_tensor(tensor, size, rng), self.batch.images)
            batch = Batch(images, self.batch.targets)
            passes = _Passes(self.objective, nest(self.params, flat), batch, self.directions, self.seed)
            self._nudged[size] = {comparison.key: comparison for comparison in passes.compare()}
        return self._nudged[size]

    def compare(self) -> list[_Comparison]:
        """Compare all gradients of all turns."""
        calls = Calls()
        copies = map_tree(torch.clone, self.params)
        flat = flatten(copies)
        weights = {path: flat[path].requires_grad_(True) for path in self.learned_paths}
        nets = {name: AutogradNetwork(net, name, calls) for name, net in self.objective.nets.items()}
        with torch.inference_mode(False), torch.enable_grad():
            autograd_turns = self.run(self.objective.with_nets(nets), copies)
        comparisons: list[_Comparison] = []
        for turn, ((_, dparams), (losses, _)) in enumerate(zip(self.turns, autograd_turns, strict=True)):
            updated = {path: weight for path, weight in weights.items() if _network_of(path) in dparams}
            expected = self.autograd([losses], updated, calls)
            for name in (name for name in self.objective.nets if name in dparams):
                if expected is not None:
                    comparisons += self.compare_outputs(GradientKey(turn, name, "dy"), calls)
                comparisons += self.compare_parameters(GradientKey(turn, name, "dparams"), dparams[name], expected)
        missing_weights = {
            path: weight for path, weight in weights.items() if _network_of(path) in self.without_gradients
        }
        expected = self.autograd([losses for losses, _ in autograd_turns], missing_weights, calls) or {}
        for name in self.without_gradients:
            pairs = [
                (torch.zeros_like(gradient), gradient)
                for path, gradient in expected.items()
                if _network_of(path) == name
            ]
            comparisons.append(_compare(GradientKey(len(self.turns), name, "dparams"), self.objective_name, pairs))
        return comparisons

    def autograd(
        self, turns: Sequence[Losses], weights: Mapping[str, Tensor], calls: Calls
    ) -> dict[str, Tensor] | None:
        """Return autograd's gradients of the weighted losses by path; `calls` records those of the networks' outputs.

        Returns None if there are no weights, and if autograd cannot differentiate the losses because they were computed
        without PyTorch's operations.
        """
        calls.dys.clear()
        total = torch.stack([self.total(losses) for losses in turns]).sum()
        if not total.requires_grad or not weights:
            return None
        gradients = torch.autograd.grad(total, [*weights.values()], allow_unused=True, retain_graph=True)
        return {
            path: torch.zeros_like(weight) if gradient is None else gradient
            for (path, weight), gradient in zip(weights.items(), gradients, strict=True)
        }

    def total(self, losses: Losses) -> Tensor:
        """Return the weighted sum of the losses of a turn."""
        weighted_losses = [self.objective.weight(name) * value.double() for name, value in losses.items()]
        return torch.stack(weighted_losses).sum() if weighted_losses else torch.zeros((), dtype=torch.float64)

    def compare_outputs(self, key: GradientKey, calls: Calls) -> Iterator[_Comparison]:
        """Yield the comparison of the gradients with respect to a network's outputs, if it is used in this turn."""
        pairs: list[tuple[Tensor, Tensor | None]] = []
        for index, expected in calls.dys.items():
            if calls.inputs[index][0] != key.network:
                continue
            explicit = self.dys.get(index)
            gradients = [None] * len(expected) if explicit is None else tensors(explicit)
            pairs += [
                (torch.zeros_like(reference) if gradient is None else gradient, reference)
                for gradient, reference in zip(gradients, expected, strict=True)
            ]
        if pairs:
            yield _compare(key, self.objective_name, pairs)

    def compare_parameters(
        self, key: GradientKey, dparams: Params, expected: dict[str, Tensor] | None
    ) -> Iterator[_Comparison]:
        """Yield the comparison of the gradients of a network's parameters, if the network has parameters."""
        returned_gradients = flatten({key.network: dparams})
        paths = [path for path in self.learned_paths if _network_of(path) == key.network]
        explicit = {path: returned_gradients.get(path, torch.zeros_like(self.flat[path])) for path in paths}
        wrong_path = next((path for path in paths if explicit[path].shape != self.flat[path].shape), None)
        if wrong_path is not None:
            shapes = f"{tuple(explicit[wrong_path].shape)}, not {tuple(self.flat[wrong_path].shape)}"
            fault = f"{wrong_path} has the shape {shapes}"
            yield _Comparison(key, self.objective_name, entries=0, largest=0.0, gap=None, is_close=False, fault=fault)
        elif paths:
            pairs = [(explicit[path], None if expected is None else expected[path]) for path in paths]
            differences, scale = self.differences(key.turn, explicit)
            yield replace(_compare(key, self.objective_name, pairs), differences=differences, scale=scale)

    def differences(self, turn: int, gradients: Mapping[str, Tensor]) -> tuple[tuple[Difference, ...], float]:
        """Compare gradients with central differences along random directions; return (comparisons, scale)."""
        rng = torch.Generator().manual_seed(self.seed)
        offset = torch.zeros(1, dtype=torch.float64)  # distance along the direction, which `difference` changes
        nets = {name: AutogradNetwork(net, name, Calls()) for name, net in self.objective.nets.items()}
        objective = self.objective.with_nets(nets)
        entries: list[Difference] = []
        scale = 0.0
        for _ in range(self.directions):
            direction = {
                path: torch.randn(self.flat[path].shape, generator=rng, dtype=torch.float64).to(self.flat[path])
                * _magnitude(self.flat[path])
                for path in gradients
            }
            products = [gradients[path] * step for path, step in direction.items()]
            expected = float(torch.stack([product.sum() for product in products]).sum())
            scale = max(scale, float(torch.stack([product.square().sum() for product in products]).sum().sqrt()))

            def loss(direction: Mapping[str, Tensor] = direction) -> float:
                flat = self.flat | {path: self.flat[path] + offset.to(step) * step for path, step in direction.items()}
                with torch.no_grad():
                    return float(self.total(self.run(objective, nest(self.params, flat))[turn][0]))

            entries.append(difference([offset], 0, loss, expected, scale, FLOOR))
        return tuple(entries), scale or 1.0

    def compare_fused(self) -> list[GradientRow]:
        """Compare the explicit gradients with the gradients of the objective's form for training."""
        fused_objective = self.objective.fused()
        if fused_objective is self.objective:
            return []
        with torch.no_grad():
            fused_turns = self.run(fused_objective, self.params)
        rows: list[GradientRow] = []
        for index in range(max(len(fused_turns), len(self.turns))):
            written_gradients, fused_gradients = (
                all_turns[index][1] if index < len(all_turns) else dict[str, Any]()
                for all_turns in (self.turns, fused_turns)
            )
            for name in (name for name in self.objective.nets if name in written_gradients or name in fused_gradients):
                written, fused = flatten(written_gradients.get(name, {})), flatten(fused_gradients.get(name, {}))
                pairs = [
                    (written.get(path, torch.zeros_like(leaf)), fused.get(path, torch.zeros_like(leaf)))
                    for path, leaf in (fused | written).items()
                ]
                comparison = _compare(GradientKey(index, name, "dparams"), self.objective_name, pairs, FORM_TOLERANCE)
                row = comparison.row(comparison.is_right)
                rows.append(replace(row, autograd=None, written=row.autograd, form=TRAINS))
        return rows


def _compare(
    key: GradientKey, objective_name: str, pairs: Sequence[tuple[Tensor, Tensor | None]], tolerance: float = TOLERANCE
) -> _Comparison:
    """Compare gradients with references of the same shapes, relative to the largest entry of each tensor."""
    largest = max((float(explicit.abs().max()) for explicit, _ in pairs if explicit.numel()), default=0.0)
    floor = FLOOR * max(1.0, largest)
    gap: float | None = None
    is_close = True
    for explicit, expected in pairs:
        if expected is None or not explicit.numel():
            continue
        distance = float((explicit.double() - expected.double()).abs().max())
        scale = max(float(explicit.abs().max()), float(expected.abs().max()))
        is_close = is_close and distance <= tolerance * scale + floor
        gap = max(gap or 0.0, distance / scale if scale > floor else 0.0)
    entries = sum(explicit.numel() for explicit, _ in pairs)
    fault = "" if all(bool(explicit.isfinite().all()) for explicit, _ in pairs) else "not finite"
    return _Comparison(key, objective_name, entries, largest, gap, is_close, fault=fault)


def _network_of(path: str) -> str:
    """Return the name of the network that a path in `params` belongs to."""
    return path.partition(".")[0]


def _magnitude(leaf: Tensor) -> float:
    """Return the root mean square of a parameter, or 1 if it is 0."""
    return float(leaf.square().mean().sqrt()) or 1.0
