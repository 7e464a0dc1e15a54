"""Verification: every explicit gradient of a network compared with PyTorch's autograd and central differences.

Only this module uses autograd; training does not.
"""

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid import verify_forms
from pellucid.combine.base import buffer_paths
from pellucid.differences import Comparison, compare
from pellucid.errors import PellucidError
from pellucid.layers.base import Cache, Layer, Mode, Params
from pellucid.losses.base import Loss
from pellucid.probe import Gradient, Probe, double, like, sweep, tensors
from pellucid.tree import flatten, map_tree
from pellucid.verify_forms import Reference, Training
from pellucid.verify_table import FLOOR, FORM_TOLERANCE, TOLERANCE, Row, Table
from pellucid.verify_ties import Alone, layer_alone

NUDGES = (1e-3, 1e-2, 1e-4)  # of each entry of what the layers receive; tried one after the other


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


def verify(
    net: Layer,
    params: Params,
    x: Any,
    target: Tensor,
    loss: Loss,
    mode: Mode | None = None,
    samples: int = 8,
    seed: int = 0,
    training: Training | None = None,
) -> Table:
    """Compare every gradient of `loss` over `net` with autograd's and with central differences, in float64.

    x (a tensor or a tuple of them) and target are one batch; `mode` is `Mode()` unless given. Dropout draws the same
    numbers in every evaluation, from the state of `mode.rng`, else from `seed`; running statistics stay as they are.
    Of each tensor the `samples` / 2 entries of largest gradient and as many drawn from `seed` are moved up and down
    by 1e-5 (all of them where there are no more than `samples`); where that disagrees, by 1e-6 and 1e-7.

    A loss has no derivative on a kink: a ReLU at 0, equal maxima. An entry that disagrees with the differences lies on
    one if the slopes to both sides differ there, or if autograd agrees with the entry; where no slopes differ or
    autograd has no answer, only if the whole tensor is right at a nudged input, at which what each layer receives is
    moved by a thousandth, so that nothing is equal. Entries that disagree with autograd are compared with differences
    too, up to `samples` of them; they lie on a kink if the slopes to both sides differ and enclose the entry, the whole
    tensor is right at a nudged input, and also where all entries move together, so that what is equal stays equal. Any
    other disagreement is a wrong gradient; where autograd's answer is not finite and the explicit one is, it is none.
    The layers below one where the two differ so are compared with autograd across its explicit backward.

    training: how the network trains. Where it is given, the forms that train and predict are compared as well: their
    gradients, statistics and outputs with those of the network as written, in training and in evaluation mode.
    Raises PellucidError where the loss is not finite.
    """
    if samples < 2:
        raise PellucidError(f"verify: samples is {samples}; compare at least 2 entries of each tensor")
    if target.device.type == "mps":
        raise PellucidError("verify: gradients are compared in float64, which mps lacks; give device='cpu'")
    with torch.inference_mode(False), torch.enable_grad():
        mode = mode or Mode()
        table = _Work(lambda nudge: Probe(net, params, x, target, loss, mode, seed, nudge), samples, seed).table()
        if training is None:
            return table
        frozen = verify_forms.frozen_layers(net, params, training.frozen)
        it = Probe(net, params, x, target, loss, Mode(True), seed, frozen=frozen)
        rows, notes = verify_forms.training_rows(
            it, training, NUDGES, lambda probe: _reference(probe, samples, seed), samples
        )
        rows += verify_forms.predicting_rows(Probe(net, params, x, target, loss, Mode(), seed), params, x)
        wrong = [f"{row.path} ({row.what}, in the {row.form} form)" for row in rows if not row.ok]
        return Table((*table.rows, *rows), table.culprit or (wrong[-1] if wrong else None), notes)


def _reference(probe: Probe, samples: int, seed: int) -> Reference:
    """Return the results of the network as written, and autograd's gradients of its parameters, across ties."""
    work = _Work(lambda nudge: probe.moved(nudge) if nudge else probe, samples, seed)
    gradients, theirs = flatten(work.dparams), work.autograd()
    pairs = [(gradients[path], one) for path, one in theirs.items() if path in gradients]
    if any(mine.shape == one.shape and not torch.allclose(mine, one, FORM_TOLERANCE, FLOOR) for mine, one in pairs):
        work.table()
        theirs = work.autograd()
    theirs = {path: one for path, one in theirs.items() if one.isfinite().all()}  # else it has no answer
    return Reference(tuple(tensors(work.y)), gradients, flatten(work.swept.used), theirs)


class _Work:
    """One verification: float64 copies of everything, and the explicit sweep over them.

    `probe_at` returns the network nudged by a size, 0 for as it is.
    """

    def __init__(self, probe_at: Callable[[float], Probe], samples: int, seed: int, size: float = 0.0) -> None:
        self.probe_at, self.probe, self.samples, self.seed = probe_at, probe_at(size), samples, seed
        self.draw = torch.Generator().manual_seed(seed)
        self.swept = swept = sweep(self.probe)
        self.visits, self.y, self.dparams = swept.visits, swept.y, swept.dparams
        self.tracked = [True] * len(self.visits)  # whether autograd can follow each one's forward
        self.ties: set[int] = set()  # places in the backward sweep where a layer, or at -1 the loss, chose otherwise
        self.bridged: set[int] = set()  # those of them that autograd is carried across
        self.nudged: dict[float, list[tuple[Gradient, float]]] = {}

    def table(self) -> Table:
        """Compute the explicit gradients and autograd's once, then compare them one by one."""
        gradients = self.with_floors()
        rows = [self.row(place, *one) for place, one in enumerate(gradients)]
        while ties := self.ties - self.bridged:
            first = min(ties)  # below it the choice made there holds, which autograd gets by the explicit backward
            self.bridged.add(first)
            self.ties -= {order for order in self.ties if order > first}
            gradients = self.with_floors()
            rows = [
                row if one.order <= first else self.row(place, one, floor)
                for place, (row, (one, floor)) in enumerate(zip(rows, gradients, strict=True))
            ]
        wrong = [one for (one, _), row in zip(gradients, rows, strict=True) if not row.ok]
        first = min(wrong, key=lambda one: one.order, default=None)
        return Table(tuple(rows), None if first is None else f"{first.path} ({first.layer}, {first.what})")

    def with_floors(self) -> list[tuple[Gradient, float]]:
        """Return every gradient, and the threshold below which values count as zero."""
        gradients = self.gradients()
        largest = max(one.largest for one in gradients)
        return [(one, FLOOR * max(1.0, largest)) for one in gradients]

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
                lost = lost or self.visits[index].order in self.bridged
            except RuntimeError:  # a kernel without a derivative
                lost, y, cache = True, None, None
            if not lost:
                return y, cache
            self.tracked[index] = False
            if mode.rng is not None and state is not None:
                mode.rng.set_state(state)
            with torch.no_grad():
                plain = like(x, [one.detach() for one in tensors(x)])
                y, cache = layer.forward(map_tree(torch.detach, params), plain, mode)
            bridged = _Bridge.apply(layer, params, cache, len(tensors(y)), *own, *tensors(y))
            return like(y, list(tensors(bridged))), cache

        y, _ = self.probe.run(xs, params, leaf)
        if -1 in self.bridged:
            pairs = zip(tensors(y), tensors(self.swept.dy), strict=True)
            return y, torch.stack([(one * dy).sum() for one, dy in pairs]).sum(), aliases
        return y, self.probe.loss(y, self.probe.target)[0], aliases

    def autograd(self) -> dict[str, Tensor]:
        """Return autograd's gradients by path, of the layers that it can follow."""
        params, weights = self.watched()
        _, value, _ = self.follow(params, self.inputs())
        answers = _ask(value, list(weights.values()))
        kept = {path: one for path, one in weights.items() if self.followed(self.swept.owner(path))}
        return {path: answers[id(one)] for path, one in kept.items() if id(one) in answers}

    def gradients(self) -> list[Gradient]:
        """Return every gradient in forward order, the input's first and the loss's last."""
        params, weights = self.watched()
        xs = self.inputs()
        y, value, aliases = self.follow(params, xs)
        answers = _ask(value, [*weights.values(), *xs, *tensors(y), *(one for own in aliases for one in own)])
        held, explicit = flatten(self.probe.params), flatten(self.dparams)

        def compare(
            path: str, what: str, at: list[Tensor], mine: Any, theirs: list[Tensor], order: int,
            layer: str = "", tracked: bool = True, loss: Callable[[], float] = self.probe.value, writes: bool = False,
            constants: Collection[int] = (),
        ) -> Gradient:  # fmt: skip
            """Pair each explicit gradient of a floating-point tensor with that of autograd, None where there is none.

            A tensor outside of autograd's graph has the gradient 0 if the explicit one is 0, and else none.
            """
            trios = [
                trio
                for place, trio in enumerate(zip(at, mine, theirs, strict=True))
                if trio[0].is_floating_point() and place not in constants
            ]
            found = [answers.get(id(own), None if dx is not None and dx.any() else x * 0) for x, dx, own in trios]
            known = [one for one in found if one is not None]
            return Gradient(
                path, layer, what, [x for x, _, _ in trios], [dx for _, dx, _ in trios],
                known if tracked and len(known) == len(found) else None, order, loss, writes,
            )  # fmt: skip

        reached = zip(self.probe.xs, tensors(self.swept.dx), strict=True)
        dx = [torch.zeros_like(x) if one is None else one for x, one in reached]  # None: no layer reads this input
        taken = {id(tensors(visit.x)[place]) for visit in self.visits for place in visit.layer.constants}
        constants = [place for place, x in enumerate(self.probe.xs) if id(x) in taken]
        result = [compare("input", "dx", self.probe.xs, dx, xs, len(self.visits) + 1, constants=constants)]
        for index, (visit, own) in enumerate(zip(self.visits, aliases, strict=True)):
            if visit.dx is None:  # nothing that reaches the loss reads it
                continue
            name = type(visit.layer).__name__
            same = [other for other in self.visits if other.path == visit.path]  # several if the layer is shared
            if visit is same[0]:
                order, tracked = max(other.order for other in same), self.followed(visit.path)
                for path, weight in weights.items():
                    if self.swept.owner(path) == visit.path:
                        what = path.removeprefix(f"{visit.path}.")
                        mine = [explicit.get(path)]
                        result.append(compare(visit.path, what, [held[path]], mine, [weight], order, name, tracked))
            at = [double(one) for one in tensors(visit.x)]
            instead = {index: like(visit.x, at)}

            def moved(instead: dict[int, Any] = instead) -> float:
                return self.probe.value(instead)

            about = visit.order, name, self.tracked[index], moved, visit.writes
            result.append(compare(visit.path, "dx", at, visit.dx, own, *about, visit.layer.constants))
        at = [double(one) for one in tensors(self.y)]

        def cost() -> float:
            return float(self.probe.loss(like(self.y, at), self.probe.target)[0])

        name = type(self.probe.loss).__name__
        result.append(compare("loss", "dy", at, tensors(self.swept.dy), tensors(y), -1, name, True, cost))
        return [one for one in result if one.tensors]

    def watched(self) -> tuple[Params, dict[str, Tensor]]:
        """Return parameters for autograd, and by path those of them that are learned."""
        copies = map_tree(torch.clone, self.probe.params)
        kept = buffer_paths(self.probe.net)
        weights = {
            path: copy.requires_grad_(copy.is_floating_point())
            for path, copy in flatten(copies).items()
            if path not in kept and self.swept.owner(path) is not None
        }
        return copies, weights

    def inputs(self) -> list[Tensor]:
        """Return inputs for autograd."""
        return [one.clone().requires_grad_(one.is_floating_point()) for one in self.probe.xs]

    def followed(self, path: str | None) -> bool:
        """Return whether autograd can follow every visit to the layer at a path."""
        return all(tracked for visit, tracked in zip(self.visits, self.tracked, strict=True) if visit.path == path)

    def row(self, place: int, one: Gradient, floor: float) -> Row:
        """Compare one gradient with both oracles, at a nudged input too where they are inconclusive."""
        entries = sum(x.numel() for x in one.tensors)
        if one.fault:
            return Row(one.path, one.layer, one.what, entries, math.nan, None, None, 0, 0, False, one.fault)
        found = self.compare(one, floor)
        alone = self.alone(one) if found.close is not True or found.lost else None
        if alone:  # the layers above may have kinks of their own, which the layer alone has not
            found.explain(lambda entry, gap: alone.right_at(entry, enclosed=gap is not None))
        ok = not found.wrong and (not found.inconclusive or self.recheck_nudged(place, found))
        apart = [entry for entry in found.entries if not entry.right]
        together = not (ok and alone) or alone.right_together()
        ok = ok and together
        kinks = len(apart) if ok else sum(entry.kink for entry in apart)
        errors = [entry.error for entry in found.entries if entry.right or not (ok or entry.kink)]
        notes = [] if one.theirs is not None else ["central differences only"]
        if found.scale <= floor:
            notes.append("zero")
        if kinks:
            notes.append(f"{kinks} on a kink")
        if found.lost and one.theirs is not None:
            notes.append(f"autograd not finite at {found.lost:,}")
        if not together:
            notes.append("wrong where all entries move together")
        if ok and found.close is False:
            notes.append("not autograd's side of a kink")
        if ok and (found.close is False or found.lost) and one.what in ("dx", "dy"):
            self.ties.add(one.order)
        unit = found.scale if found.scale > floor else math.inf
        return Row(
            one.path, one.layer, one.what, entries, found.largest, None if found.gap is None else found.gap / unit,
            max(errors) / unit if errors else None, len(errors), kinks, ok, ", ".join(notes),
        )  # fmt: skip

    def compare(self, one: Gradient, floor: float) -> Comparison:
        """Compare one gradient with both oracles where the network stands."""
        mine, theirs = (
            None if all_ is None else torch.cat([dx.double().flatten() for dx in all_ if dx is not None])
            for all_ in (one.explicit, one.theirs)
        )
        assert mine is not None
        return compare(one.tensors, mine, theirs, one.loss, self.samples, self.draw, TOLERANCE, floor)

    def alone(self, one: Gradient) -> Alone | None:
        """Return the layer, or the loss, that a gradient of what it receives is of; None for other gradients."""
        if one.what not in ("dx", "dy") or one.order > len(self.visits):
            return None
        for index, visit in enumerate(self.visits):
            if visit.order == one.order and visit.dx is not None:
                return layer_alone(self.probe, index, visit.x, self.draw)
        loss, target, dy = self.probe.loss, self.probe.target, tensors(self.swept.dy)

        def value(ys: list[Tensor]) -> list[Tensor]:
            return [torch.as_tensor(loss(like(self.y, ys), target)[0]).double()]

        return Alone(value, lambda dvalue: [dvalue[0] * part for part in dy], tensors(self.y), self.draw)

    def recheck_nudged(self, place: int, found: Comparison) -> bool:
        """Return whether an inconclusive gradient is right, as its whole tensor is at a nudged input."""
        tried = []
        for size in NUDGES:
            if size not in self.nudged:
                self.nudged[size] = _Work(self.probe_at, self.samples, self.seed, size).with_floors()
            tried.append(self.compare(*self.nudged[size][place]))
            if tried[-1].confirmed:
                return True
        # without autograd, corners that no nudge removes leave nothing to compare with
        return found.close is None and not any(one.wrong for one in tried)


class _Bridge(torch.autograd.Function):
    """Carries autograd across a layer that it cannot follow, by the layer's explicit backward."""

    @staticmethod
    def forward(ctx: Any, layer: Layer, params: Params, cache: Cache, outputs: int, *tensors: Tensor) -> Any:
        """Return the outputs, the last `outputs` of `tensors`; the others are the inputs."""
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
    """Return autograd's gradients of `value`, or of its sum times `dy`, by ids of the tensors that it depends on."""
    asked = [one for one in wanted if one.requires_grad]
    if not value.requires_grad or not asked:
        return {}
    found = torch.autograd.grad(value, asked, dy, allow_unused=True)
    return {id(one): gradient for one, gradient in zip(asked, found, strict=True) if gradient is not None}
