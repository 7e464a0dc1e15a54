"""The chain rule from one element of a tensor to the loss: each derivative as a sum of products."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.base.settings.checks import integer
from pellucid.combine.base import join
from pellucid.optim.regularizers import L1, L2
from pellucid.trace.columns import explainer, weighted_sum_words
from pellucid.trace.columns.base import MAX_PASSES, FactorColumn, elements, exact_sum, input_index, slopes
from pellucid.trace.explanation import ActivationInput, Explanation, Factor, Link, Made, ProductTerm
from pellucid.trace.passes import LayerCall, PassValue, title
from pellucid.trace.record import TracedElement, TraceRecord, resolve
from pellucid.trace.text import label

# Limits of an explanation that follows several products of each sum, so that it takes seconds.
MAX_LINKS = 2_000
MAX_TERMS = 50_000  # products that are listed
MAX_ROUNDING_ERRORS = 8  # within one product, including intermediate results of the layer
# The derivative of a penalty with respect to a weight, by the type of the regularizer.
PENALTY_DERIVATIVES = {L2: "λ/n w", L1: "λ/n sign(w)"}


class DerivativeKey(NamedTuple):
    """One derivative to explain."""

    # "value" for a value that several calls receive, "call" for an input or a parameter of one call, "param" for a
    # parameter with several uses or a regularizer, "loss" for an output
    kind: str
    call: int  # index of the call, of the call that computed the value, or of the network's output
    argument: str  # input, parameter or output
    element: int  # its flat index


ExplainedRule = tuple[str, str, str, str, str]  # a link's name, where, title, words and formula


def explain(trace: TraceRecord, element_name: str, top: int | None, expand: int) -> Explanation:
    """Explain one element of a tensor; see Trace.explain."""
    top = None if top is None else integer(top, "trace.explain: top", 1)
    expand = integer(expand, "trace.explain: expand", 0)
    element = resolve(trace, element_name)
    chain = Chain(trace, top, expand)
    links = chain.build_links(element)
    value = element.target.value
    made = None
    if value is not None and value.producer is not None:
        made = explain_activation(trace, value, element.index, top)
        chain.shows_input |= any(source.producer is None for source in value.producer.inputs)
    note = trace.input_note if chain.shows_input else ""
    reached = len(chain.keys)
    return Explanation(element.label, element.value, trace.cost, trace.dtype_name, links, made, reached, note)


class Chain:
    """The links of one explanation, numbered in the order in which they are first needed."""

    def __init__(self, trace: TraceRecord, top: int | None, expand: int) -> None:
        self.trace = trace
        self.top = top
        self.expand = expand
        self.epsilon = torch.finfo(trace.dtype).eps
        self.link_indices: dict[DerivativeKey, int] = {}
        self.keys: list[DerivativeKey] = []  # of all links, in their order
        self.n_passes = 0  # backward passes that columns have taken
        self.shows_input = False  # whether an element of the network's input is named
        self.builders: dict[str, Callable[[DerivativeKey], Link]] = {
            "value": self.sum_over_consumers,
            "param": self.sum_over_uses,
            "loss": self.link_of_loss,
            "call": self.link_of_call,
        }

    def build_links(self, element: TracedElement) -> tuple[Link, ...]:
        """Build the link of a tensor's element and the links of its largest products, up to the loss.

        If several products of each sum are explained, the links end at one of the limits MAX_LINKS, MAX_TERMS and
        MAX_PASSES; products whose gradients are then not explained have no `next`.
        """
        target, index = element.target, element.index
        if target.value is not None:
            self.link_index(self.key_of_value(target.value, index))
        elif target.call is not None:
            self.link_index(DerivativeKey("call", target.call.index, target.argument, index))
        else:
            self.link_index(self.key_of_parameter(target.argument, index))
        links: list[Link] = []
        n_terms = 0
        while len(links) < len(self.keys):
            is_at_limit = len(links) >= MAX_LINKS or n_terms >= MAX_TERMS or self.n_passes >= MAX_PASSES
            if self.expand > 1 and is_at_limit:
                break
            key = self.keys[len(links)]
            links.append(self.builders[key.kind](key))
            n_terms += len(links[-1].terms)
        return tuple(link if len(links) == len(self.keys) else link.without_next(len(links)) for link in links)

    def link_index(self, key: DerivativeKey) -> int:
        """Return the index of the link for `key`, which is the next one if it is new."""
        if key not in self.link_indices:
            self.link_indices[key] = len(self.keys)
            self.keys.append(key)
        return self.link_indices[key]

    def label_of(self, value: PassValue, index: int) -> str:
        """Return the name of one element of a value, with its index."""
        self.shows_input |= value.producer is None
        return self.trace.label_of(value, index)

    def key_of_value(self, value: PassValue, index: int) -> DerivativeKey:
        """Return the key of a value: of the only call that receives it, or of the sum over all that receive it."""
        consumers = [
            (call, input_number)
            for call, input_number in value.consumers
            if call.dxs is not None and call.dxs[input_number] is not None
        ]
        if len(consumers) == 1 and not value.outputs:
            return DerivativeKey("call", consumers[0][0].index, f"x.{consumers[0][1]}", index)
        if not consumers and len(value.outputs) == 1:
            return DerivativeKey("loss", value.outputs[0], "", index)
        return DerivativeKey("value", -1 if value.producer is None else value.producer.index, str(value.number), index)

    def key_of_parameter(self, path: str, index: int) -> DerivativeKey:
        """Return the key of a parameter: of its only use, or of the sum over all uses and regularizers."""
        calls = self.calls_using(path)
        if len(calls) == 1 and path not in self.trace.penalty_gradients:
            return DerivativeKey("call", calls[0].index, path.removeprefix(calls[0].path).lstrip("."), index)
        return DerivativeKey("param", -1, path, index)

    def calls_using(self, path: str) -> list[LayerCall]:
        """Return the calls that use a parameter and on which the loss depends."""
        calls = [call for call in self.trace.calls if any(join(call.path, name) == path for name in call.params)]
        return [call for call in calls if call.dys is not None]

    def link_of_call(self, key: DerivativeKey) -> Link:
        """Return the link of an input or a parameter of one call, by the rule of its layer."""
        call = self.trace.calls[key.call]
        input_number = input_index(key.argument)
        if input_number is None:
            tensor = call.params[key.argument]
            gradient = call.dparams.get(key.argument)
            name = label(join(call.name, key.argument), key.element, tensor.shape)
        else:
            gradient = None if call.dxs is None else call.dxs[input_number]
            name = self.label_of(call.inputs[input_number], key.element)
        if call.dys is None or gradient is None:
            return self.unused_link(name)
        column = explainer(call.layer, key.argument)(call, key.argument, key.element)
        self.n_passes += column.n_passes
        source = call.outputs[column.output_index]
        deltas = elements(call.dys[column.output_index], column.output_positions)
        products, magnitudes = deltas.clone(), deltas.abs()
        for factors in column.factors:
            products, magnitudes = products * factors.values, magnitudes * factors.magnitudes

        def term(k: int, expand: bool) -> ProductTerm:
            output = int(column.output_positions[k])
            delta = Factor(f"∂C/∂{self.label_of(source, output)}", float(deltas[k]), "delta")
            layer_factors = tuple(self.factor(call, factors, k) for factors in column.factors)
            next_link = self.link_index(self.key_of_value(source, output)) if expand else None
            return ProductTerm((delta, *layer_factors), float(products[k]), next_link)

        loss_symbol = (
            "L" if input_number is None and join(call.path, key.argument) in self.trace.penalty_gradients else "C"
        )
        formula = column.formula.replace(r"\partial C", rf"\partial {loss_symbol}", 1)
        rule = (name, call.name or "the network", call.title, column.words, formula)
        return self.add_up(rule, float(gradient.flatten()[key.element]), products, magnitudes, term, loss_symbol)

    def factor(self, call: LayerCall, factors: FactorColumn, k: int) -> Factor:
        """Return the factor of product `k`, named after the tensor that contains it, if any."""
        name = factors.symbol
        if factors.source is not None and factors.indices is not None:
            index = int(factors.indices[k])
            input_number = input_index(factors.source)
            if input_number is None:
                name = label(join(call.path, factors.source), index, call.params[factors.source].shape)
            else:
                name = self.label_of(call.inputs[input_number], index)
        summands = tuple(self.factor(call, summand, k) for summand in factors.parts)
        return Factor(name, float(factors.values[k]), factors.role, summands)

    def sum_over_consumers(self, key: DerivativeKey) -> Link:
        """Return the link of a value that several calls receive: their gradients add up."""
        values = self.trace.passes.xs if key.call < 0 else self.trace.calls[key.call].outputs
        value = values[int(key.argument)]
        name = self.label_of(value, key.element)
        gradient = self.trace.gradient_of(value)
        if gradient is None:
            return self.unused_link(name)
        sources: list[tuple[Factor, DerivativeKey | None]] = []
        for call, input_number in value.consumers:
            dx = None if call.dxs is None else call.dxs[input_number]
            if dx is not None:
                dx_name = join(call.name, f"dx.{input_number}" if call.has_tuple_input else "dx")
                factor = Factor(dx_name, float(dx.flatten()[key.element]), "delta")
                sources.append((factor, DerivativeKey("call", call.index, f"x.{input_number}", key.element)))
        for output in value.outputs:
            delta = float(self.trace.output_delta(output).flatten()[key.element])
            sources.append((Factor("from the loss", delta, "delta"), DerivativeKey("loss", output, "", key.element)))
        words = f"{len(sources)} layers or losses receive this value: their gradients add up"
        rule = (name, "the network", "several uses", words, r"\frac{\partial C}{\partial x} = \sum_k \delta_k")
        return self.add_sources(rule, float(gradient.flatten()[key.element]), sources)

    def sum_over_uses(self, key: DerivativeKey) -> Link:
        """Return the link of a parameter that is used several times, or regularized: the gradients add up."""
        path = key.argument
        trace = self.trace
        weight = trace.params[path]
        name = label(path, key.element, weight.shape)
        calls = self.calls_using(path)
        sources: list[tuple[Factor, DerivativeKey | None]] = []
        for call in calls:
            name_in_layer = path.removeprefix(call.path).lstrip(".")
            factor = Factor(
                join(call.name, f"d{name_in_layer}"), float(call.dparams[name_in_layer].flatten()[key.element]), "delta"
            )
            sources.append((factor, DerivativeKey("call", call.index, name_in_layer, key.element)))
        gradient = 0.0 if path not in trace.gradients else float(trace.gradients[path].flatten()[key.element])
        penalties = trace.settings.penalties if path in trace.penalty_gradients else []
        for penalty in penalties:
            weight_element = weight.flatten()[key.element : key.element + 1]
            n = trace.settings.examples
            grad = torch.zeros_like(weight_element)
            penalty.add_gradient([weight_element], [grad], n)
            formula = PENALTY_DERIVATIVES.get(type(penalty), "penalty")
            sources.append((Factor(f"{formula} of {penalty!r}, n = {n}", float(grad), "penalty"), None))
        if penalties:
            total_gradient = trace.penalty_gradients[path] + trace.gradients.get(path, 0)
            gradient = float(total_gradient.flatten()[key.element])
        if not sources:
            return self.unused_link(name)
        words = f"{len(calls)} uses of this parameter" if len(calls) > 1 else "the loss of the data"
        if penalties:
            words += f"{' in the loss of the data' if len(calls) > 1 else ''}, L,"
            words += f" and {'a regularizer' if len(penalties) == 1 else f'{len(penalties)} regularizers'}"
        formula = r"\frac{\partial C}{\partial w} = \sum_k \frac{\partial C_k}{\partial w}"
        return self.add_sources((name, path, "parameter", f"{words}: the parts add up", formula), gradient, sources)

    def link_of_loss(self, key: DerivativeKey) -> Link:
        """Return the link of an output of the network, by the rule of the loss."""
        trace = self.trace
        value = trace.passes.ys[key.call]
        pieces = trace.loss_pieces[key.call]
        factors = pieces.factors(key.element)
        products = torch.tensor([math.prod(factor.value for factor in factors)], dtype=torch.float64)
        magnitudes = torch.tensor([math.prod(factor.magnitude for factor in factors)], dtype=torch.float64)
        rule = (self.label_of(value, key.element), "loss", title(trace.settings.loss), pieces.words, pieces.formula)
        gradient = float(trace.output_delta(key.call).flatten()[key.element])
        return self.add_up(
            rule, gradient, products, magnitudes, lambda k, expand: ProductTerm(factors, float(products[k]))
        )

    def unused_link(self, name: str) -> Link:
        """Return the link of an element on which the loss does not depend."""
        words = "the loss does not depend on this value"
        return self.add_sources((name, "the network", "not used", words, r"\frac{\partial C}{\partial x} = 0"), 0.0, [])

    def add_sources(
        self, rule: ExplainedRule, gradient: float, sources: Sequence[tuple[Factor, DerivativeKey | None]]
    ) -> Link:
        """Return the link of a sum of single gradients; each has the key of the link that explains it, or None."""
        products = torch.tensor([factor.value for factor, _ in sources], dtype=torch.float64)

        def term(k: int, expand: bool) -> ProductTerm:
            factor, key = sources[k]
            return ProductTerm((factor,), factor.value, self.link_index(key) if expand and key is not None else None)

        return self.add_up(rule, gradient, products, products.abs(), term)

    def add_up(
        self,
        rule: ExplainedRule,
        gradient: float,
        products: Tensor,
        magnitudes: Tensor,
        build_term: Callable[[int, bool], ProductTerm],
        of: str = "C",
    ) -> Link:
        """Return the link with its largest products, the sum of the others, and the bound on rounding errors.

        magnitudes: the products of the factors' magnitudes. build_term: function of (index of the product, whether to
        explain its output gradient in another link) that returns the ProductTerm.
        """
        order = products.abs().argsort(descending=True, stable=True)
        largest = order if self.top is None else order[: self.top]
        terms = tuple(
            build_term(k, rank < self.expand and (rank == 0 or float(products[k]) != 0))
            for rank, k in enumerate(largest.tolist())
        )
        return Link(
            *rule,
            gradient=gradient,
            terms=terms,
            count=len(products),
            rest=exact_sum(products[order[len(largest) :]].tolist()),
            total=exact_sum(products.tolist()),
            bound=(len(products) + MAX_ROUNDING_ERRORS) * self.epsilon * float(magnitudes.sum()),
            of=of,
        )


def explain_activation(trace: TraceRecord, value: PassValue, index: int, top: int | None) -> Made:
    """Return how an activation was computed: a row of its layer's Jacobian, by a backward pass with a one-hot dy."""
    call = value.producer
    assert call is not None
    dys = [torch.zeros_like(output.tensor, memory_format=torch.contiguous_format) for output in call.outputs]
    dys[value.number].view(-1)[index] = 1
    with torch.no_grad():
        slopes_by_argument = slopes(call, dys[0] if len(dys) == 1 else tuple(dys))
    inputs: list[ActivationInput] = []
    for input_number, source in enumerate(call.inputs):
        slope = slopes_by_argument.get(f"x.{input_number}")
        if slope is None:
            continue
        indices = slope.flatten().nonzero().flatten()
        labels = (label(trace.name_of(source), k, source.tensor.shape) for k in indices.tolist())
        columns = elements(source.tensor, indices).tolist(), elements(slope, indices).tolist()
        inputs += [ActivationInput(*values) for values in zip(labels, *columns, strict=True)]
    sum_words = weighted_sum_words(call.layer)
    linear = sum_words is not None
    inputs.sort(key=lambda entry: -abs(entry.product if linear else entry.slope))
    n_listed = len(inputs) if top is None else min(top, len(inputs))
    activation = float(value.tensor.flatten()[index])
    constant = 0.0
    bias = slopes_by_argument.get("bias")
    if linear and not inputs:
        constant = activation
    elif linear and bias is not None:
        constant = float((bias * call.params["bias"]).sum())
    return Made(
        where=call.name or "the network",
        title=call.title,
        words=sum_words or "the slope with respect to each of its inputs",
        value=activation,
        parts=tuple(inputs[:n_listed]),
        count=len(inputs),
        rest=exact_sum([entry.product for entry in inputs[n_listed:]]) if linear else 0.0,
        linear=linear,
        constant=constant,
    )
