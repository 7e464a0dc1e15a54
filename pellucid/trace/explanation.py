"""A derivative as sums of products, by the chain rule up to the loss: values, text and LaTeX."""

import math
import re
from dataclasses import dataclass, replace
from textwrap import wrap
from typing import Any

from pellucid.base.brief import brief_repr, screen_repr
from pellucid.base.text import aligned
from pellucid.trace.text import DIGITS, MINUS, PRODUCT_SIGN, TIMES, bar, brief

INDENT = "     "
TEXT_WIDTH = 100  # characters of a line of text
MAX_DIGITS = 17  # enough to distinguish any two float64 numbers
MAX_LATEX_TERMS = 3  # terms of a sum
LATEX_SYMBOLS = {"_": r"\_", "&": r"\&", "%": r"\%", "#": r"\#", "$": r"\$", "{": r"\{", "}": r"\}"}
LATEX_SYMBOLS |= {"\\": r"$\backslash$", "~": r"$\sim$", "λ": r"$\lambda$", "Σ": r"$\Sigma$"}
LATEX_SYMBOLS |= {"∂": r"$\partial$", "Φ": r"$\Phi$", "φ": r"$\varphi$", "²": r"$^2$", "x̂": r"$\hat{x}$", "±": r"$\pm$"}
LATEX_SYMBOLS |= {"ᵢ": r"$_i$", "ₒ": r"$_o$", "^": r"$\wedge$"}
SYMBOL_PATTERN = re.compile("|".join(map(re.escape, LATEX_SYMBOLS)))  # x̂ is two characters


@dataclass(frozen=True)
class Factor:
    """One factor of a product: its name, value and role.

    value: unrounded, in float64.
    role: "delta" for a gradient with respect to an output, "activation", "weight", "slope", "share" ...
    parts: factors whose sum is this factor.
    """

    name: str
    value: float
    role: str = "share"
    parts: tuple["Factor", ...] = ()

    @property
    def magnitude(self) -> float:
        """The sum of the parts' absolute values, which bounds rounding errors under cancellation."""
        return sum(abs(part.value) for part in self.parts) if self.parts else abs(self.value)

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        sums = {"sum_of": [part.to_json() for part in self.parts]} if self.parts else {}
        return {"name": self.name, "role": self.role, "value": self.value, **sums}


@dataclass(frozen=True)
class ProductTerm:
    """A product of factors."""

    factors: tuple[Factor, ...]
    value: float
    next: int | None = None  # index of the link that explains the first factor, an output gradient

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        next_link = {} if self.next is None else {"next": self.next}
        return {"value": self.value, "factors": [factor.to_json() for factor in self.factors], **next_link}


@dataclass(frozen=True)
class Link:
    """One derivative, ∂C/∂name, as a sum of products.

    of: "C" for the cost, or "L" for the loss without the regularization term, for a regularized weight.
    where: path of the layer whose rule this is, or "loss".
    title: its type and options.
    words: the rule as a sentence.
    formula: the rule as LaTeX.
    gradient: the value from the backward pass.
    terms: the largest products, largest first.
    count: the number of all products.
    rest: the sum of the products that are not listed.
    total: the exact sum of all products, rounded once.
    bound: the largest difference of total and gradient that rounding errors can cause.
    """

    name: str
    where: str
    title: str
    words: str
    formula: str
    gradient: float
    terms: tuple[ProductTerm, ...]
    count: int
    rest: float
    total: float
    bound: float
    of: str = "C"
    __repr__ = brief_repr

    def without_next(self, count: int) -> "Link":
        """Return the link whose terms name only the first `count` links."""
        terms = [replace(term, next=None) if (term.next or 0) >= count else term for term in self.terms]
        return replace(self, terms=tuple(terms))

    @property
    def exact(self) -> bool:
        """Whether the products add up to the gradient, within `bound`."""
        return abs(self.total - self.gradient) <= self.bound

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {
            "derivative_of": self.of,
            "derivative_by": self.name,
            "where": self.where,
            "layer": self.title,
            "words": self.words,
            "formula": self.formula,
            "gradient": self.gradient,
            "terms": [term.to_json() for term in self.terms],
            "count": self.count,
            "rest": {"count": self.count - len(self.terms), "sum": self.rest},
            "sum": self.total,
            "bound": self.bound,
            "exact": self.exact,
        }


@dataclass(frozen=True)
class ActivationInput:
    """One input of an activation: its name, its value, and the activation's derivative with respect to it (slope)."""

    name: str
    value: float
    slope: float

    @property
    def product(self) -> float:
        """The input's contribution, if the activation is a weighted sum."""
        return self.value * self.slope


@dataclass(frozen=True)
class Made:
    """The layer that computed an activation, and the inputs that the activation depends on.

    parts: the inputs with the largest contributions (or slopes), largest first.
    count: the number of inputs.
    rest: the sum of the contributions not listed.
    linear: whether the contributions and `constant` add up to the value.
    """

    where: str
    title: str
    words: str
    value: float
    parts: tuple[ActivationInput, ...]
    count: int
    rest: float
    linear: bool
    constant: float
    __repr__ = brief_repr

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        parts: list[dict[str, Any]] = []
        for part in self.parts:
            entry: dict[str, Any] = {"name": part.name, "value": part.value, "slope": part.slope}
            parts.append({**entry, "product": part.product} if self.linear else entry)
        sums = {"rest": self.rest, "constant": self.constant} if self.linear else {}
        fields = {"where": self.where, "layer": self.title, "words": self.words, "value": self.value}
        return {**fields, "inputs": parts, "count": self.count, "linear": self.linear, **sums}


@dataclass(frozen=True)
class Explanation:
    """The derivative of the loss with respect to one element of a tensor, explained by the chain rule.

    value: the element.
    links: derivatives, the first with respect to the element; a term's `next` is an index into them, so they form a
        directed acyclic graph.
    made: for an activation, how it was computed.
    dtype: dtype of the passes.
    reached: the number of links that the listed ones name, themselves included; a larger number than that of `links` if
        some were left out, which would name further ones.
    note: a sentence about the input, if it is named.
    """

    name: str
    value: float
    loss: float
    dtype: str
    links: tuple[Link, ...]
    made: Made | None = None
    reached: int = 0
    note: str = ""
    __repr__ = screen_repr

    @property
    def limit_text(self) -> str:
        """A sentence about the links that were left out; "" if there are none."""
        if self.reached <= len(self.links):
            return ""
        return (
            f"these are the first {len(self.links):,} of {self.reached:,} links or more; give a smaller expand, or an "
            "element nearer to the loss"
        )

    @property
    def gradient(self) -> float:
        """∂C/∂name from the backward pass."""
        return self.links[0].gradient

    @property
    def exact(self) -> bool:
        """Whether every link's products add up to its gradient."""
        return all(link.exact for link in self.links)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values: all links in one list, into which each term's `next` is an index."""
        inputs = {} if self.made is None else {"made_of": self.made.to_json()}
        fields = {"name": self.name, "value": self.value, "loss": self.loss, "dtype": self.dtype}
        links = [link.to_json() for link in self.links]
        limit = {"links_reached": self.reached} if self.limit_text else {}
        note = {"note": self.note} if self.note else {}
        return {**fields, "gradient": self.gradient, "exact": self.exact, "links": links, **limit, **note, **inputs}

    def latex(self) -> str:
        """Return the links as LaTeX: an `aligned` environment with one line for each."""
        lines = [
            rf"  \frac{{\partial {link.of}}}{{\partial {_latex_text(link.name)}}} &= {_latex_sum(link)}"
            for link in self.links
        ]
        return "\\begin{aligned}\n" + " \\\\\n".join(lines) + "\n\\end{aligned}"

    def __str__(self) -> str:
        """Return the element, how it was computed, and each link up to the loss, as text for a terminal."""
        head = [
            f"∂{self.links[0].of}/∂{self.name} = {brief(self.gradient)}",
            f"{self.name} is {brief(self.value)}; the loss C is {brief(self.loss)}",
        ]
        if self.note:
            head.append(self.note)
        inputs = [] if self.made is None else ["", *_made_text(self.made)]
        links = [line for number, link in enumerate(self.links, start=1) for line in ("", *_link_text(number, link))]
        limit = [self.limit_text] if self.limit_text else []
        return "\n".join([*head, *inputs, *links, "", *limit, verdict(self)])

    def _repr_html_(self) -> str:
        from pellucid.report.page import render

        return render(
            "explanation",
            it=self,
            verdict=verdict(self),
            brief=brief,
            bar=bar,
            added=parts_text,
            sign=PRODUCT_SIGN,
            times=TIMES,
        )


def verdict(explanation: Explanation) -> str:
    """Return a sentence about the difference between the sums of products and the gradients."""
    differences = [abs(link.total - link.gradient) for link in explanation.links]
    if not all(map(math.isfinite, differences)):
        return "some of these numbers are NaN or infinite, so their sums cannot be compared"
    largest = max(differences)
    if not explanation.exact:
        return f"the products do NOT add up to the gradients: they are off by {brief(largest, 2)}"
    if largest == 0:
        return f"every sum of products equals the backward pass's gradient to the last bit ({explanation.dtype})"
    precision_text = f"to its last bits: within {brief(largest, 1)} ({explanation.dtype})"
    return f"every sum of products equals the backward pass's gradient {precision_text}"


def parts_text(factor: Factor) -> str:
    """Return the parts of a factor as text, "0.9 − 1", with enough digits for six correct digits in their sum."""
    largest = max(abs(part.value) for part in factor.parts)
    quotient = largest / abs(factor.value) if factor.value else 0.0
    lost_digits = math.log10(quotient) if 0 < quotient < math.inf else 0.0  # NaN and infinity lose no digits
    digits = min(DIGITS + max(math.ceil(lost_digits), 0), MAX_DIGITS)
    first, *others = factor.parts
    return brief(first.value, digits) + "".join(
        f" {MINUS if part.value <= 0 else '+'} {brief(abs(part.value), digits)}" for part in others
    )


def _table_lines(table: list[tuple[str, str, str]]) -> list[str]:
    return [f"{INDENT}  {line}" for line in aligned(table, right=(0,)).splitlines()] if table else []


def _link_text(number: int, link: Link) -> list[str]:
    """Return the lines of a link: its derivative, its rule in words, then one product per line."""
    head = f"{number:>2}   ∂{link.of}/∂{link.name} = {brief(link.gradient)}"
    rule_text = link.words if link.where == "the network" else f"{link.where}, {link.title}: {link.words}"
    words = wrap(rule_text, TEXT_WIDTH, initial_indent=INDENT, subsequent_indent=INDENT, break_long_words=False)
    table = [_product_text(term) for term in link.terms]
    if link.count > len(link.terms):
        table.append((brief(link.rest), f"{link.count - len(link.terms)} more", ""))
    if link.count > 1:
        table.append((brief(link.total), "sum", ""))
    lines = _table_lines(table)
    if link.count > 1:
        lines.insert(-1, f"{INDENT}  {'─' * max(len(product) for product, _, _ in table)}")
    sums = [factor for factor in (link.terms[0].factors if link.terms else ()) if factor.parts]
    return [head, *words, *lines, *(f"{INDENT}  where {factor.name} = {parts_text(factor)}" for factor in sums)]


def _product_text(term: ProductTerm) -> tuple[str, str, str]:
    """Return the product, its factors as numbers, and its factors as names."""
    numbers = PRODUCT_SIGN.join(brief(factor.value) for factor in term.factors)
    names = PRODUCT_SIGN.join(f"({factor.name})" if factor.parts else factor.name for factor in term.factors)
    next_link = f"   → {term.next + 1}" if term.next is not None else ""
    return brief(term.value), f"= {numbers}" if len(term.factors) > 1 else "", f"{names}{next_link}"


def _made_text(made: Made) -> list[str]:
    """Return the lines of an activation's inputs."""
    words = made.words if made.count or made.linear else "its slope is 0 for every input"
    table = []
    for part in made.parts:
        if made.linear:
            table.append((brief(part.product), f"= {brief(part.value)} {TIMES} {brief(part.slope)}", part.name))
        else:
            table.append((brief(part.slope), "slope of", f"{part.name} = {brief(part.value)}"))
    if made.count > len(made.parts):
        table.append((brief(made.rest) if made.linear else "", f"{made.count - len(made.parts)} more", ""))
    if made.linear and made.constant:
        table.append((brief(made.constant), "bias" if made.count else "constant", ""))
    if made.linear and len(table) > 1:
        table.append((brief(made.value), "sum", ""))
    return [f"computed by {made.where}, {made.title}: {words}", *_table_lines(table)]


def _latex_sum(link: Link) -> str:
    """Return the right-hand side of a link in LaTeX."""
    shown_terms = link.terms[:MAX_LATEX_TERMS]
    products: list[str] = []
    for term in shown_terms:
        factors = [
            rf"\underbrace{{{_latex_bracketed(factor.value)}}}_{{{_latex_name(factor)}}}" for factor in term.factors
        ]
        products.append(r" \cdot ".join(factors))
    if n_hidden := link.count - len(shown_terms):
        rest = link.total - sum(term.value for term in shown_terms)
        products.append(rf"\underbrace{{{_latex_bracketed(rest)}}}_{{\text{{{n_hidden} more}}}}")
    return f"{' + '.join(products)} = {_latex_number(link.gradient)}" if products else "0"


def _latex_name(factor: Factor) -> str:
    if factor.name.startswith("∂C/∂"):
        return rf"\partial C / \partial {_latex_text(factor.name[4:])}"
    return _latex_text(factor.name)


def _latex_text(name: str) -> str:
    return rf"\text{{{SYMBOL_PATTERN.sub(lambda symbol: LATEX_SYMBOLS[symbol[0]], name)}}}"


def _latex_bracketed(value: float) -> str:
    return f"({_latex_number(value)})" if value < 0 else _latex_number(value)


def _latex_number(value: float) -> str:
    """Return a number with six digits, powers of ten written out."""
    if math.isnan(value):
        return r"\text{nan}"
    if math.isinf(value):
        return r"-\infty" if value < 0 else r"\infty"
    digits, _, power = f"{value:.6g}".partition("e")
    return rf"{digits} \cdot 10^{{{int(power)}}}" if power else digits
