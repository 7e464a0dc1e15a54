"""From one number to the loss: each derivative as a sum of products, link by link."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.combine.base import join
from pellucid.trace.calls import Call, Value, title
from pellucid.trace.columns.base import Factors, at, exact_sum, part_of
from pellucid.trace.columns.table import EXPLAINERS, fallback
from pellucid.trace.explanation import Explanation, Factor, Link, Term
from pellucid.trace.made import made_of
from pellucid.trace.names import label
from pellucid.trace.penalty import penalties
from pellucid.trace.record import Trace
from pellucid.trace.resolve import Number, resolve
from pellucid.training.arguments import whole
from pellucid.tree import flatten

SLACK = 8  # roundings within one product: of its factors, of what a layer works out


@dataclass(frozen=True)
class Key:
    """One derivative to explain.

    kind: "value" that several read, what one "call" reads (an input or a parameter), "param" of several uses, "loss".
    call: the place of the call, or of the value's maker; of the loss, which output.
    """

    kind: str
    call: int
    what: str
    place: int


@dataclass(frozen=True)
class Rule:
    """What a link says of itself: whose derivative it is, which layer's rule, in words and as LaTeX."""

    name: str
    where: str
    title: str
    words: str
    formula: str
    of: str = "C"  # or "L": see Link


def explain(trace: Trace, what: str, top: int | None, expand: int) -> Explanation:
    """Explain one number; see Trace.explain."""
    top = None if top is None else whole(top, "trace.explain: top", 1)
    expand = whole(expand, "trace.explain: expand", 0)
    number = resolve(trace, what)
    links = Chain(trace, top, expand).follow(number)
    value = number.target.value
    made = None if value is None or value.maker is None else made_of(trace, value, number.place, top)
    return Explanation(number.label, number.number, trace.cost, str(trace.dtype).removeprefix("torch."), links, made)


class Chain:
    """The links of one explanation, numbered as they are needed."""

    def __init__(self, trace: Trace, top: int | None, expand: int) -> None:
        self.trace, self.top, self.expand = trace, top, expand
        self.epsilon = torch.finfo(trace.dtype).eps
        self.keys: list[Key] = []
        self.numbers: dict[Key, int] = {}

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
        while len(links) < len(self.keys):
            links.append(self.build(self.keys[len(links)]))
        return tuple(links)

    def build(self, key: Key) -> Link:
        """Return one link."""
        match key.kind:
            case "value":
                return self.meeting(key)
            case "param":
                return self.several_uses(key)
            case "loss":
                return self.beginning(key)
            case _:
                return self.reading(key)

    def through(self, value: Value, place: int) -> Key:
        """Return the derivative by a value: that of its only reader, or the sum over all who read it."""
        readers = [(call, part) for call, part in value.readers if call.dxs is not None and call.dxs[part] is not None]
        if len(readers) == 1 and not value.outputs:
            return Key("call", readers[0][0].place, f"x.{readers[0][1]}", place)
        if not readers and len(value.outputs) == 1:
            return Key("loss", value.outputs[0], "", place)
        return Key("value", -1 if value.maker is None else value.maker.place, str(value.part), place)

    def uses(self, path: str, place: int) -> Key:
        """Return the derivative by a parameter: that of its only use, or the sum over all."""
        calls = self.users(path)
        if len(calls) == 1 and path not in self.trace.penalties:
            return Key("call", calls[0].place, path.removeprefix(calls[0].path).lstrip("."), place)
        return Key("param", -1, path, place)

    def users(self, path: str) -> list[Call]:
        """Return the calls that use a parameter and that the loss depends on."""
        owned = [call for call in self.trace.calls if any(join(call.path, name) == path for name in call.params)]
        return [call for call in owned if call.dys is not None]

    def reading(self, key: Key) -> Link:
        """What one call reads: by the rule of its layer."""
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
        column = EXPLAINERS.get(type(call.layer), fallback)(call, key.what, key.place)
        made = call.outputs[column.output]
        deltas = at(call.dys[column.output], column.outputs)
        products, sizes = deltas.clone(), deltas.abs()
        for factors in column.factors:
            products, sizes = products * factors.values, sizes * _size(factors)

        def term(k: int, expand: bool) -> Term:
            output = int(column.outputs[k])
            delta = Factor(f"∂C/∂{self.trace.label_of(made, output)}", float(deltas[k]), "delta")
            own = tuple(self.factor(call, factors, k) for factors in column.factors)
            follows = self.number(self.through(made, output)) if expand else None
            return Term((delta, *own), float(products[k]), follows)

        shared = part is None and join(call.path, key.what) in self.trace.penalties
        of, formula = (
            ("L", column.formula.replace(r"\partial C", r"\partial L", 1)) if shared else ("C", column.formula)
        )
        rule = Rule(name, call.name or "the network", call.title, column.words, formula, of)
        return self.add_up(rule, float(gradient.flatten()[key.place]), products, sizes, term)

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

    def meeting(self, key: Key) -> Link:
        """A value that several read: their gradients add up."""
        makers = self.trace.passes.xs if key.call < 0 else self.trace.calls[key.call].outputs
        value = makers[int(key.what)]
        name = self.trace.label_of(value, key.place)
        gradient = self.trace.gradient_of(value)
        if gradient is None:
            return self.nothing(name)
        sources: list[tuple[Factor, Key]] = []
        for call, part in value.readers:
            dx = None if call.dxs is None else call.dxs[part]
            if dx is not None:
                end = f".{part}" if call.several else ""
                handed = Factor(f"{join(call.name, f'dx{end}')}", at(dx, torch.tensor([key.place])).item(), "delta")
                sources.append((handed, Key("call", call.place, f"x.{part}", key.place)))
        for output in value.outputs:
            one = self.trace.output_delta(output).flatten()[key.place]
            sources.append((Factor("from the loss", float(one), "delta"), Key("loss", output, "", key.place)))
        words = f"{len(sources)} read this value: what each of them hands back adds up"
        rule = Rule(name, "the network", "several readers", words, r"\frac{\partial C}{\partial x} = \sum_k \delta_k")
        return self.add_sources(rule, float(gradient.flatten()[key.place]), sources)

    def several_uses(self, key: Key) -> Link:
        """A parameter that is used several times, or that a regularizer acts on: the parts add up."""
        path, trace = key.what, self.trace
        name = label(path, key.place, flatten(trace.settings.params)[path].shape)
        sources: list[tuple[Factor, Key | None]] = []
        for call in self.users(path):
            own = path.removeprefix(call.path).lstrip(".")
            used = Factor(join(call.name, f"d{own}"), float(call.dparams[own].flatten()[key.place]), "delta")
            sources.append((used, Key("call", call.place, own, key.place)))
        sources += [(one, None) for one in penalties(trace, path, key.place)]
        data = trace.gradients.get(path)
        gradient = 0.0 if data is None else float(data.flatten()[key.place])
        if path in trace.penalties:
            gradient = float((trace.penalties[path] + (0 if data is None else data)).flatten()[key.place])
        uses, terms = len(self.users(path)), len(sources) - len(self.users(path))
        words = f"{uses} uses of this parameter" if uses > 1 else "the loss of the data"
        words += f"{' in the loss of the data' if uses > 1 else ''}, L," if terms else ""
        words += f" and {'a regularizer' if terms == 1 else f'{terms} regularizers'}" if terms else ""
        if not sources:
            return self.nothing(name)
        formula = r"\frac{\partial C}{\partial w} = \sum_k \frac{\partial C_k}{\partial w}"
        return self.add_sources(Rule(name, path, "parameter", f"{words}: the parts add up", formula), gradient, sources)

    def beginning(self, key: Key) -> Link:
        """The loss itself."""
        trace = self.trace
        value, pieces = trace.passes.ys[key.call], trace.pieces[key.call]
        factors = pieces.factors(key.place)
        products = torch.tensor([math.prod(one.value for one in factors)], dtype=torch.float64)
        sizes = torch.tensor([math.prod(one.magnitude for one in factors)], dtype=torch.float64)
        rule = Rule(trace.label_of(value, key.place), "loss", title(trace.settings.loss), pieces.words, pieces.formula)
        found = float(trace.output_delta(key.call).flatten()[key.place])
        return self.add_up(rule, found, products, sizes, lambda k, expand: Term(factors, float(products[k])))

    def nothing(self, name: str) -> Link:
        """A number that the loss does not depend on."""
        words = "nothing on the way to the loss reads this"
        rule = Rule(name, "the network", "no reader", words, r"\frac{\partial C}{\partial x} = 0")
        none = torch.zeros(0, dtype=torch.float64)
        return self.add_up(rule, 0.0, none, none, lambda k, expand: Term((), 0.0))

    def add_sources(self, rule: Rule, gradient: float, sources: Sequence[tuple[Factor, Key | None]]) -> Link:
        """Add up single numbers, each explained by a further link if it has one."""
        products = torch.tensor([one.value for one, _ in sources], dtype=torch.float64)

        def term(k: int, expand: bool) -> Term:
            factor, key = sources[k]
            return Term((factor,), factor.value, self.number(key) if expand and key is not None else None)

        return self.add_up(rule, gradient, products, products.abs(), term)

    def add_up(
        self, rule: Rule, gradient: float, products: Tensor, sizes: Tensor, term: Callable[[int, bool], Term]
    ) -> Link:
        """Return a link: its largest products one by one, the rest as one sum, and how exact that is."""
        order = products.abs().argsort(descending=True, stable=True)
        kept = order if self.top is None else order[: self.top]
        left = order[len(kept) :]
        terms = tuple(
            term(k, rank < self.expand and (rank == 0 or float(products[k]) != 0))
            for rank, k in enumerate(kept.tolist())
        )
        bound = (len(products) + SLACK) * self.epsilon * float(sizes.sum())
        total, rest = exact_sum(products.tolist()), exact_sum(products[left].tolist())
        return Link(
            rule.name,
            rule.where,
            rule.title,
            rule.words,
            rule.formula,
            gradient,
            terms,
            len(products),
            rest,
            total,
            bound,
            rule.of,
        )

    def number(self, key: Key) -> int:
        """Return the place of a link among all, in the order in which they are needed."""
        if key not in self.numbers:
            self.numbers[key] = len(self.keys)
            self.keys.append(key)
        return self.numbers[key]


def _size(factors: Factors) -> Tensor:
    """Return the factors' sizes before their parts cancelled each other."""
    if not factors.parts:
        return factors.values.abs()
    return torch.stack([part.values.abs() for part in factors.parts]).sum(0)
