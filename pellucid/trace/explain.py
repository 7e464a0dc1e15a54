"""The derivatives between one number and the loss, each as a sum of products (chain rule)."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.combine.base import join
from pellucid.optim.regularizers import L1, L2
from pellucid.trace.columns import explainer, weighted_sum
from pellucid.trace.columns.base import Factors, at, exact_sum, part_of, slopes
from pellucid.trace.explanation import Explanation, Factor, Link, Made, Part, Term
from pellucid.trace.passes import Call, Value, title
from pellucid.trace.record import Number, Record, resolve
from pellucid.trace.text import label
from pellucid.training.arguments import whole

SLACK = 8  # roundings within one product: of its factors, and of a layer's intermediate results
PENALTIES = {L2: "λ/n w", L1: "λ/n sign(w)"}


class Key(NamedTuple):
    """One derivative to explain.

    kind: "value" with several readers, "call" for an input or a parameter of one call, "param" with several uses,
    "loss". call: the place of the call, or of the value's maker; of the loss, which output.
    """

    kind: str
    call: int
    what: str
    place: int


Rule = tuple[str, str, str, str, str]  # a link's name, where, title, words and formula


def explain(trace: Record, what: str, top: int | None, expand: int) -> Explanation:
    """Explain one number; see Trace.explain."""
    top = None if top is None else whole(top, "trace.explain: top", 1)
    expand = whole(expand, "trace.explain: expand", 0)
    number = resolve(trace, what)
    links = Chain(trace, top, expand).follow(number)
    value = number.target.value
    made = None if value is None or value.maker is None else made_of(trace, value, number.place, top)
    return Explanation(number.label, number.number, trace.cost, trace.dtype_name, links, made)


class Chain:
    """The links of one explanation, numbered as they are needed."""

    def __init__(self, trace: Record, top: int | None, expand: int) -> None:
        self.trace, self.top, self.expand = trace, top, expand
        self.epsilon = torch.finfo(trace.dtype).eps
        self.numbers: dict[Key, int] = {}
        self.builders: dict[str, Callable[[Key], Link]] = {
            "value": self.sum_over_readers, "param": self.sum_over_uses, "loss": self.from_loss, "call": self.from_call,
        }  # fmt: skip

    def follow(self, number: Number) -> tuple[Link, ...]:
        """Build the number's link and all that its largest products need, up to the loss."""
        target, place = number.target, number.place
        if target.value is not None:
            self.number(self.through(target.value, place))
        elif target.call is not None:
            self.number(Key("call", target.call.place, target.what, place))
        else:
            self.number(self.uses(target.what, place))
        links: list[Link] = []
        while len(links) < len(self.numbers):
            key = [*self.numbers][len(links)]
            links.append(self.builders[key.kind](key))
        return tuple(links)

    def number(self, key: Key) -> int:
        """Return the index of a link among all, in the order in which they are needed."""
        return self.numbers.setdefault(key, len(self.numbers))

    def through(self, value: Value, place: int) -> Key:
        """Return the derivative with respect to a value: that of its only reader, or the sum over all readers."""
        readers = [(call, part) for call, part in value.readers if call.dxs is not None and call.dxs[part] is not None]
        if len(readers) == 1 and not value.outputs:
            return Key("call", readers[0][0].place, f"x.{readers[0][1]}", place)
        if not readers and len(value.outputs) == 1:
            return Key("loss", value.outputs[0], "", place)
        return Key("value", -1 if value.maker is None else value.maker.place, str(value.part), place)

    def uses(self, path: str, place: int) -> Key:
        """Return the derivative with respect to a parameter: that of its only use, or the sum over all uses."""
        calls = self.users(path)
        if len(calls) == 1 and path not in self.trace.penalties:
            return Key("call", calls[0].place, path.removeprefix(calls[0].path).lstrip("."), place)
        return Key("param", -1, path, place)

    def users(self, path: str) -> list[Call]:
        """Return the calls that use a parameter and that the loss depends on."""
        owned = [call for call in self.trace.calls if any(join(call.path, name) == path for name in call.params)]
        return [call for call in owned if call.dys is not None]

    def from_call(self, key: Key) -> Link:
        """Return the link of an input or a parameter of one call, by the rule of its layer."""
        call = self.trace.calls[key.call]
        part = part_of(key.what)
        if part is None:
            tensor, gradient = call.params[key.what], call.dparams.get(key.what)
            name = label(join(call.name, key.what), key.place, tensor.shape)
        else:
            gradient = None if call.dxs is None else call.dxs[part]
            name = self.trace.label_of(call.inputs[part], key.place)
        if call.dys is None or gradient is None:
            return self.nothing(name)
        column = explainer(call.layer, key.what)(call, key.what, key.place)
        made = call.outputs[column.output]
        deltas = at(call.dys[column.output], column.outputs)
        products, sizes = deltas.clone(), deltas.abs()
        for factors in column.factors:
            products, sizes = products * factors.values, sizes * factors.magnitudes

        def term(k: int, expand: bool) -> Term:
            output = int(column.outputs[k])
            delta = Factor(f"∂C/∂{self.trace.label_of(made, output)}", float(deltas[k]), "delta")
            own = tuple(self.factor(call, factors, k) for factors in column.factors)
            follows = self.number(self.through(made, output)) if expand else None
            return Term((delta, *own), float(products[k]), follows)

        of = "L" if part is None and join(call.path, key.what) in self.trace.penalties else "C"
        formula = column.formula.replace(r"\partial C", rf"\partial {of}", 1)
        rule = (name, call.name or "the network", call.title, column.words, formula)
        return self.add_up(rule, float(gradient.flatten()[key.place]), products, sizes, term, of)

    def factor(self, call: Call, factors: Factors, k: int) -> Factor:
        """Return one factor of one product, with the name of the tensor that it was read from."""
        name = factors.symbol
        if factors.source is not None and factors.places is not None:
            place, part = int(factors.places[k]), part_of(factors.source)
            if part is None:
                name = label(join(call.path, factors.source), place, call.params[factors.source].shape)
            else:
                name = self.trace.label_of(call.inputs[part], place)
        parts = tuple(self.factor(call, part, k) for part in factors.parts)
        return Factor(name, float(factors.values[k]), factors.role, parts)

    def sum_over_readers(self, key: Key) -> Link:
        """Return the link of a value with several readers: their gradients add up."""
        makers = self.trace.passes.xs if key.call < 0 else self.trace.calls[key.call].outputs
        value = makers[int(key.what)]
        name = self.trace.label_of(value, key.place)
        gradient = self.trace.gradient_of(value)
        if gradient is None:
            return self.nothing(name)
        sources: list[tuple[Factor, Key | None]] = []
        for call, part in value.readers:
            dx = None if call.dxs is None else call.dxs[part]
            if dx is not None:
                dx_name = join(call.name, f"dx.{part}" if call.several else "dx")
                own = Factor(dx_name, float(dx.flatten()[key.place]), "delta")
                sources.append((own, Key("call", call.place, f"x.{part}", key.place)))
        for output in value.outputs:
            delta = float(self.trace.output_delta(output).flatten()[key.place])
            sources.append((Factor("from the loss", delta, "delta"), Key("loss", output, "", key.place)))
        words = f"{len(sources)} read this value: their gradients add up"
        rule = (name, "the network", "several readers", words, r"\frac{\partial C}{\partial x} = \sum_k \delta_k")
        return self.add_sources(rule, float(gradient.flatten()[key.place]), sources)

    def sum_over_uses(self, key: Key) -> Link:
        """Return the link of a parameter that is used several times, or regularized: the parts add up."""
        path, trace = key.what, self.trace
        weight = trace.params[path]
        name, users = label(path, key.place, weight.shape), self.users(path)
        sources: list[tuple[Factor, Key | None]] = []
        for call in users:
            own = path.removeprefix(call.path).lstrip(".")
            used = Factor(join(call.name, f"d{own}"), float(call.dparams[own].flatten()[key.place]), "delta")
            sources.append((used, Key("call", call.place, own, key.place)))
        gradient = 0.0 if path not in trace.gradients else float(trace.gradients[path].flatten()[key.place])
        added = trace.settings.penalties if path in trace.penalties else []
        for penalty in added:
            one, n = weight.flatten()[key.place : key.place + 1], trace.settings.examples
            grad = torch.zeros_like(one)
            penalty.add_gradient([one], [grad], n)
            formula = PENALTIES.get(type(penalty), "penalty")
            sources.append((Factor(f"{formula} of {penalty!r}, n = {n}", float(grad), "penalty"), None))
        if added:
            summed = trace.penalties[path] + trace.gradients.get(path, 0)
            gradient = float(summed.flatten()[key.place])
        if not sources:
            return self.nothing(name)
        words = f"{len(users)} uses of this parameter" if len(users) > 1 else "the loss of the data"
        if added:
            words += f"{' in the loss of the data' if len(users) > 1 else ''}, L,"
            words += f" and {'a regularizer' if len(added) == 1 else f'{len(added)} regularizers'}"
        formula = r"\frac{\partial C}{\partial w} = \sum_k \frac{\partial C_k}{\partial w}"
        return self.add_sources((name, path, "parameter", f"{words}: the parts add up", formula), gradient, sources)

    def from_loss(self, key: Key) -> Link:
        """Return the link of an output of the network, by the rule of the loss."""
        trace = self.trace
        value, pieces = trace.passes.ys[key.call], trace.pieces[key.call]
        factors = pieces.factors(key.place)
        products = torch.tensor([math.prod(one.value for one in factors)], dtype=torch.float64)
        sizes = torch.tensor([math.prod(one.magnitude for one in factors)], dtype=torch.float64)
        rule = (trace.label_of(value, key.place), "loss", title(trace.settings.loss), pieces.words, pieces.formula)
        found = float(trace.output_delta(key.call).flatten()[key.place])
        return self.add_up(rule, found, products, sizes, lambda k, expand: Term(factors, float(products[k])))

    def nothing(self, name: str) -> Link:
        """Return the link of a number that the loss does not depend on."""
        words = "nothing on the way to the loss reads this"
        return self.add_sources(
            (name, "the network", "no reader", words, r"\frac{\partial C}{\partial x} = 0"), 0.0, []
        )

    def add_sources(self, rule: Rule, gradient: float, sources: Sequence[tuple[Factor, Key | None]]) -> Link:
        """Add up single numbers, each explained by a further link if it has one."""
        products = torch.tensor([one.value for one, _ in sources], dtype=torch.float64)

        def term(k: int, expand: bool) -> Term:
            factor, key = sources[k]
            return Term((factor,), factor.value, self.number(key) if expand and key is not None else None)

        return self.add_up(rule, gradient, products, products.abs(), term)

    def add_up(
        self, rule: Rule, gradient: float, products: Tensor, sizes: Tensor, term: Callable[[int, bool], Term],
        of: str = "C",
    ) -> Link:  # fmt: skip
        """Return a link: its largest products one by one, the sum of the rest, and the bound of their rounding."""
        order = products.abs().argsort(descending=True, stable=True)
        kept = order if self.top is None else order[: self.top]
        terms = tuple(
            term(k, rank < self.expand and (rank == 0 or float(products[k]) != 0))
            for rank, k in enumerate(kept.tolist())
        )
        bound = (len(products) + SLACK) * self.epsilon * float(sizes.sum())
        rest = exact_sum(products[order[len(kept) :]].tolist())
        return Link(*rule, gradient, terms, len(products), rest, exact_sum(products.tolist()), bound, of)


def made_of(trace: Record, value: Value, place: int, top: int | None) -> Made:
    """Return how an activation came about: one row of its layer's Jacobian, by the backward pass of a one-hot delta."""
    call = value.maker
    assert call is not None
    dys = [torch.zeros_like(one.tensor, memory_format=torch.contiguous_format) for one in call.outputs]
    dys[value.part].view(-1)[place] = 1
    with torch.no_grad():
        row = slopes(call, dys[0] if len(dys) == 1 else tuple(dys))
    parts: list[Part] = []
    for number, source in enumerate(call.inputs):
        slope = row.get(f"x.{number}")
        if slope is None:
            continue
        where = slope.flatten().nonzero().flatten()
        names = (label(trace.name_of(source), k, source.tensor.shape) for k in where.tolist())
        columns = at(source.tensor, where).tolist(), at(slope, where).tolist()
        parts += [Part(*one) for one in zip(names, *columns, strict=True)]
    sum_words = weighted_sum(call.layer)
    linear = sum_words is not None
    parts.sort(key=lambda part: -abs(part.product if linear else part.slope))
    kept = len(parts) if top is None else min(top, len(parts))
    made, constant = float(value.tensor.flatten()[place]), 0.0
    if linear:
        bias = row.get("bias")
        constant = made if not parts else 0.0 if bias is None else float((bias * call.params["bias"]).sum())
    words = sum_words or "the slope with respect to each of its inputs"
    return Made(
        call.name or "the network", call.title, words, made, tuple(parts[:kept]), len(parts),
        exact_sum([part.product for part in parts[kept:]]) if linear else 0.0, linear, constant,
    )  # fmt: skip
