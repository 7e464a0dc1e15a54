"""Verification: every explicit gradient of a network beside PyTorch's autograd and central differences.

This is the one place of the package that asks autograd anything; nothing that trains passes through here.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid import differences
from pellucid.errors import PellucidError
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.losses.base import Loss
from pellucid.probe import Probe, double, like, tensors
from pellucid.sweep import backward
from pellucid.text import aligned
from pellucid.tree import flatten, map_tree

TOLERANCE = 1e-9  # of the largest entry of the tensor's gradient, in float64
FLOOR = 1e-12  # of the network's largest gradient: what is smaller is a zero that was rounded


@dataclass(frozen=True)
class Row:
    """One gradient, compared.

    `what` is weight, bias, dx, dy ...; `entries` is its size and `largest` its largest magnitude. `autograd` and
    `differences` are the largest absolute errors divided by the largest magnitude, or None where that oracle has
    no answer; `checked` entries were compared with central differences, `kinks` more lie on a corner of the loss.
    """

    path: str
    layer: str
    what: str
    entries: int
    largest: float
    autograd: float | None
    differences: float | None
    checked: int
    kinks: int
    ok: bool
    note: str


@dataclass(frozen=True)
class Table:
    """The rows of one verification, in forward order, and where the first wrong gradient arose."""

    rows: tuple[Row, ...]
    culprit: str | None

    @property
    def ok(self) -> bool:
        """Whether every gradient is right."""
        return all(row.ok for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """Return the table as plain values; what is not finite becomes None."""
        rows = [
            {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(row).items()}
            for row in self.rows
        ]
        return {
            "ok": self.ok,
            "culprit": self.culprit,
            "tolerances": {"autograd": TOLERANCE, "differences": differences.TOLERANCE, "floor": FLOOR},
            "rows": rows,
        }

    def __str__(self) -> str:
        """Return the table as aligned text, and a line that sums it up."""
        head = ("path", "layer", "what", "entries", "largest", "vs autograd", "vs differences", "checked", "verdict")
        lines = [head] + [
            (
                row.path,
                row.layer,
                row.what,
                f"{row.entries:,}",
                f"{row.largest:.2e}",
                "-" if row.autograd is None else f"{row.autograd:.1e}",
                "-" if row.differences is None else f"{row.differences:.1e}",
                f"{row.checked:,}",
                ("ok" if row.ok else "FAIL") + (f" ({row.note})" if row.note else ""),
            )
            for row in self.rows
        ]
        return f"{aligned(lines, right=range(3, 8))}\n\n{self._verdict()}"

    def _verdict(self) -> str:
        wrong = sum(not row.ok for row in self.rows)
        bounds = f"within {TOLERANCE:g} of autograd and {differences.TOLERANCE:g} of central differences"
        if not wrong:
            return f"all {len(self.rows)} gradients agree ({bounds}, relative to each one's largest entry, float64)"
        return f"{wrong} of {len(self.rows)} gradients FAIL ({bounds}); going backward, the first is at {self.culprit}"


def pull_back(function: Callable[[], Tensor], inputs: Sequence[Tensor], dy: Tensor) -> tuple[Tensor, ...]:
    """Return autograd's gradients of the sum of `function()` x dy, one for each of the `inputs` that it reads.

    `inputs` are left as they were; one that the result does not depend on gets zeros.
    """
    floating = [x for x in inputs if x.is_floating_point()]
    plain = [x for x in floating if not x.requires_grad]
    with torch.inference_mode(False), torch.enable_grad():
        for x in floating:
            x.requires_grad_()
        try:
            answers = _ask(function(), floating, dy)
        finally:
            for x in plain:
                x.requires_grad_(False)
    return tuple(answers[id(x)] if id(x) in answers else torch.zeros_like(x) for x in inputs)


@dataclass
class _Visit:
    """One pass through one leaf layer."""

    path: str
    layer: Layer
    x: Any
    cache: Cache
    tracked: bool = True  # whether autograd can follow the layer's forward
    dx: tuple[Tensor | None, ...] | None = None
    order: int = -1  # place in the backward sweep; -1 where the sweep does not come by


@dataclass
class _Gradient:
    """One explicit gradient and autograd's, the tensors it belongs to, and the loss as they stand."""

    path: str
    layer: str
    what: str
    tensors: list[Tensor]
    explicit: list[Tensor | None]
    autograd: list[Tensor] | None
    order: int
    loss: Callable[[], float]


def verify(
    net: Layer,
    params: Params,
    x: Any,
    target: Tensor,
    loss: Loss,
    mode: Mode | None = None,
    samples: int = 8,
    seed: int = 0,
) -> Table:
    """Compare every gradient of `loss` over `net` with autograd's and with central differences, in float64.

    x (a tensor or a tuple of them) and target are one batch; `mode` is `Mode()` unless given. Dropout draws the same
    numbers in every evaluation, from the state of `mode.rng`, else from `seed`; running statistics stay as they are.
    Of each tensor the `samples` / 2 entries of largest gradient and as many drawn from `seed` are moved up and down
    by 1e-5 (all of them where there are no more than `samples`); where that disagrees, by 1e-6 and 1e-7. Where the
    loss still bends within the step (a ReLU at 0, equal maxima), the difference is no gradient, and the entry counts
    as a kink. Raises PellucidError where the loss is not finite.
    """
    if samples < 2:
        raise PellucidError(f"verify: samples is {samples}; compare at least 2 entries of each tensor")
    with torch.inference_mode(False), torch.enable_grad():
        return _Work(Probe(net, params, x, target, loss, mode or Mode(), seed), samples, seed).table()


class _Work:
    """One verification: float64 copies of everything, and the explicit sweep over them."""

    def __init__(self, probe: Probe, samples: int, seed: int) -> None:
        self.probe, self.samples = probe, samples
        self.draw = torch.Generator().manual_seed(seed)
        self.visits: list[_Visit] = []
        self.dparams: Params = {}

    def table(self) -> Table:
        """Compute the explicit gradients and autograd's once, then compare them one by one."""
        self.sweep()
        gradients = self.gradients()
        largest = max(float(g.abs().max()) for one in gradients for g in one.explicit if g is not None and g.numel())
        floor = FLOOR * max(1.0, largest if math.isfinite(largest) else 1.0)
        rows = tuple(self.row(one, floor) for one in gradients)
        wrong = [one for one, row in zip(gradients, rows, strict=True) if not row.ok]
        first = min(wrong, key=lambda one: one.order, default=None)
        return Table(rows, None if first is None else f"{first.path} ({first.layer}, {first.what})")

    def sweep(self) -> None:
        """Run forward and the explicit backward, and note what each layer received and handed back."""

        def leaf(index: int, path: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
            y, cache = layer.forward(params, x, mode)
            self.visits.append(_Visit(path, layer, x, cache))
            return y, cache

        def rule(layer: Layer, params: Params, cache: Cache, dy: Any) -> tuple[Any, Params]:
            dx, dparams = layer.backward(params, cache, dy)
            visit = next(visit for visit in self.visits if visit.cache is cache and visit.dx is None)
            visit.dx, visit.order = tuple(tensors(dx)), sum(visit.dx is not None for visit in self.visits)
            return dx, dparams

        with torch.no_grad():
            y, cache = self.probe.run(self.probe.xs, self.probe.fresh(), leaf)
            self.y = y
            value, self.dy = self.probe.loss(y, self.probe.target)
            if not math.isfinite(float(value)):
                raise PellucidError(f"verify: the loss of this batch is {float(value)}; check the inputs and weights")
            self.dx, self.dparams = backward(
                self.probe.net, self.probe.params, cache, self.dy, lambda path, layer: rule
            )

    def follow(self, params: Params, xs: list[Tensor]) -> tuple[Any, Tensor, list[list[Tensor]]]:
        """Run forward under autograd and return the output, the loss, and each visit's own alias of its input.

        What autograd cannot follow is marked, and bridged by the layer's explicit backward, so that the layers
        below it still get their answer.
        """
        aliases: list[list[Tensor]] = []

        def leaf(index: int, path: str, layer: Layer, params: Params, x: Any, mode: Mode) -> tuple[Any, Cache]:
            own = [one.view_as(one) for one in tensors(x)]
            aliases.append(own)
            state = mode.rng.get_state() if mode.rng is not None else None
            try:
                y, cache = layer.forward(params, like(x, own), mode)
                lost = any(one.requires_grad for one in own) and not any(one.requires_grad for one in tensors(y))
            except RuntimeError:  # a kernel without a derivative
                lost, y, cache = True, None, None
            if not lost:
                return y, cache
            self.visits[index].tracked = False
            if mode.rng is not None and state is not None:
                mode.rng.set_state(state)
            with torch.no_grad():
                y, cache = layer.forward(params, x, mode)
            bridged = _Bridge.apply(layer, params, cache, len(tensors(y)), *own, *tensors(y))
            return like(y, list(tensors(bridged))), cache

        y, _ = self.probe.run(xs, params, leaf)
        return y, self.probe.loss(y, self.probe.target)[0], aliases

    def gradients(self) -> list[_Gradient]:
        """Return every gradient in forward order, the input's first and the loss's last."""
        params, weights = self.watched()
        xs = [one.clone().requires_grad_(one.is_floating_point()) for one in self.probe.xs]
        y, value, aliases = self.follow(params, xs)
        answers = _ask(value, [*weights.values(), *xs, *tensors(y), *(one for own in aliases for one in own)])
        held, explicit = flatten(self.probe.params), flatten(self.dparams)

        def compare(
            path: str, what: str, at: list[Tensor], mine: Any, theirs: list[Tensor], order: int,
            layer: str = "", tracked: bool = True, loss: Callable[[], float] = self.probe.value,
        ) -> _Gradient:  # fmt: skip
            """Pair what has a gradient, which integers have not, with autograd's answer if it has one."""
            pairs = [(x, dx) for x, dx in zip(at, mine, strict=True) if x.is_floating_point()]
            found = [answers.get(id(one)) for one in theirs if one.is_floating_point()]
            known = [one for one in found if one is not None] if tracked else []
            return _Gradient(
                path, layer, what, [x for x, _ in pairs], [dx for _, dx in pairs],
                known if tracked and len(known) == len(found) else None, order, loss,
            )  # fmt: skip

        reached = zip(self.probe.xs, tensors(self.dx), strict=True)
        dx = [torch.zeros_like(x) if one is None else one for x, one in reached]  # None: no layer reads this input
        result = [compare("input", "dx", self.probe.xs, dx, xs, len(self.visits) + 1)]
        for index, (visit, own) in enumerate(zip(self.visits, aliases, strict=True)):
            if visit.dx is None:  # nothing that reaches the loss reads it
                continue
            name = type(visit.layer).__name__
            same = [other for other in self.visits if other.path == visit.path]  # several if the layer is shared
            if visit is same[0]:
                order, tracked = max(other.order for other in same), all(other.tracked for other in same)
                for path, weight in weights.items():
                    parent, _, what = path.rpartition(".")
                    if parent == visit.path:
                        mine = [explicit.get(path)]
                        result.append(compare(visit.path, what, [held[path]], mine, [weight], order, name, tracked))
            at = [double(one) for one in tensors(visit.x)]
            instead = {index: like(visit.x, at)}

            def moved(instead: dict[int, Any] = instead) -> float:
                return self.probe.value(instead)

            result.append(compare(visit.path, "dx", at, visit.dx, own, visit.order, name, visit.tracked, moved))
        at = [double(one) for one in tensors(self.y)]

        def cost() -> float:
            return float(self.probe.loss(like(self.y, at), self.probe.target)[0])

        name = type(self.probe.loss).__name__
        result.append(compare("loss", "dy", at, tensors(self.dy), tensors(y), -1, name, True, cost))
        return [one for one in result if one.tensors]

    def watched(self) -> tuple[Params, dict[str, Tensor]]:
        """Return parameters for autograd, and by path those of them that are learned."""
        copies = map_tree(torch.clone, self.probe.params)
        layers = {visit.path: visit.layer for visit in self.visits}
        weights: dict[str, Tensor] = {}
        for path, copy in flatten(copies).items():
            parent, _, name = path.rpartition(".")
            if parent in layers and name not in layers[parent].buffers:
                weights[path] = copy.requires_grad_(copy.is_floating_point())
        return copies, weights

    def row(self, one: _Gradient, floor: float) -> Row:
        """Compare one gradient with both oracles."""
        entries = sum(x.numel() for x in one.tensors)
        wrong = [
            "no explicit gradient" if dx is None else f"shape {tuple(dx.shape)} instead of {tuple(x.shape)}"
            for x, dx in zip(one.tensors, one.explicit, strict=True)
            if dx is None or dx.shape != x.shape
        ]
        if wrong:
            return Row(one.path, one.layer, one.what, entries, math.nan, None, None, 0, 0, False, wrong[0])
        mine = torch.cat([dx.double().flatten() for dx in one.explicit if dx is not None])
        largest = float(mine.abs().max()) if entries else 0.0
        theirs = None if one.autograd is None else torch.cat([dx.flatten() for dx in one.autograd])
        scale = largest if theirs is None or not entries else max(largest, float(theirs.abs().max()))
        notes: list[str] = [] if theirs is not None else ["central differences only"]
        gap, ok = None, math.isfinite(largest)
        if theirs is not None and entries:
            gap = float((mine - theirs).abs().max())
            ok = ok and gap <= TOLERANCE * scale + floor
        if scale <= floor:
            notes.append("zero")
        errors, kinks = [], 0
        for entry in differences.choose(mine, self.samples, self.draw):
            found = differences.difference(one.tensors, entry, one.loss, float(mine[entry]), scale, floor)
            if found.kink:
                kinks += 1
                continue
            errors.append(found.error)
            ok = ok and found.agrees
        if kinks:
            notes.append(f"{kinks} on a kink")
        unit = scale if scale > floor else math.inf
        return Row(
            one.path, one.layer, one.what, entries, largest, None if gap is None else gap / unit,
            max(errors) / unit if errors else None, len(errors), kinks, ok, ", ".join(notes),
        )  # fmt: skip


class _Bridge(torch.autograd.Function):
    """Carries autograd across a layer that it cannot follow, by the layer's explicit backward."""

    @staticmethod
    def forward(ctx: Any, layer: Layer, params: Params, cache: Cache, outputs: int, *tensors: Tensor) -> Any:
        """Hand on the outputs, which are the last `outputs` of `tensors`; the others are the inputs."""
        ctx.call, ctx.outputs = (layer, map_tree(torch.detach, params), cache), outputs
        ys = tuple(y.clone() for y in tensors[len(tensors) - outputs :])
        return ys if outputs > 1 else ys[0]

    @staticmethod
    def backward(ctx: Any, *dys: Tensor) -> Any:
        """Return the layer's dx for the inputs."""
        layer, params, cache = ctx.call
        dx, _ = layer.backward(params, cache, dys if ctx.outputs > 1 else dys[0])
        return (None, None, None, None, *tensors(dx), *(None,) * ctx.outputs)


def _ask(value: Tensor, wanted: list[Tensor], dy: Tensor | None = None) -> dict[int, Tensor]:
    """Return autograd's gradients of `value`, or of its sum times `dy`, by the tensors' ids; none without a graph."""
    asked = [one for one in wanted if one.requires_grad]
    if not value.requires_grad or not asked:
        return {}
    found = torch.autograd.grad(value, asked, dy, allow_unused=True)
    pairs = zip(asked, found, strict=True)
    return {id(one): torch.zeros_like(one) if gradient is None else gradient for one, gradient in pairs}
