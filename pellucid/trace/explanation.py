"""A derivative as the sum of the products that it is, link by link to the loss: plain values."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Factor:
    """One number of a product: what it is called, and what it is.

    value: exact, as a float64. role: delta, activation, weight, slope, share ... parts: numbers that add up to it.
    """

    name: str
    value: float
    role: str
    parts: tuple["Factor", ...] = ()

    @property
    def magnitude(self) -> float:
        """Its size before its parts cancelled each other, which is what rounding errors go by."""
        return sum(abs(part.value) for part in self.parts) if self.parts else abs(self.value)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        sums = {"sum_of": [part.to_json() for part in self.parts]} if self.parts else {}
        return {"name": self.name, "role": self.role, "value": self.value, **sums}


@dataclass(frozen=True)
class Term:
    """A product; `next` is the number of the link that says where its delta, the first factor, comes from."""

    factors: tuple[Factor, ...]
    value: float
    next: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        follows = {} if self.next is None else {"next": self.next}
        return {"value": self.value, "factors": [factor.to_json() for factor in self.factors], **follows}


@dataclass(frozen=True)
class Link:
    """One derivative, ∂C/∂name, as a sum of products.

    of: "C", the whole loss; "L", the loss without the regularizers, of a weight that they act on as well.
    where: the layer or loss whose rule this is. title: that layer as people read it. words, formula: the rule, as a
    sentence and as LaTeX. gradient: what the backward pass computed. terms: the largest, largest first; count: how
    many there are; rest: the sum of those not shown. total: the sum of all products, in exact arithmetic rounded once.
    bound: how far total and gradient may lie apart because the backward pass rounds after each step.
    """

    name: str
    where: str
    title: str
    words: str
    formula: str
    gradient: float
    terms: tuple[Term, ...]
    count: int
    rest: float
    total: float
    bound: float
    of: str = "C"

    @property
    def exact(self) -> bool:
        """Whether the products add up to the gradient."""
        return abs(self.total - self.gradient) <= self.bound

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
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
class Part:
    """One number that another was made of: its name, its value, and how steeply the other follows it."""

    name: str
    value: float
    slope: float

    @property
    def product(self) -> float:
        """Its contribution, where the other is a weighted sum."""
        return self.value * self.slope


@dataclass(frozen=True)
class Made:
    """How one activation came about: by which layer, from which inputs.

    parts: the largest contributions (or slopes), largest first; count: how many inputs reach it; rest: the sum of the
    contributions not shown. linear: whether the contributions and `constant` add up to the value.
    """

    where: str
    title: str
    words: str
    value: float
    parts: tuple[Part, ...]
    count: int
    rest: float
    linear: bool
    constant: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        parts: list[dict[str, Any]] = []
        for part in self.parts:
            given: dict[str, Any] = {"name": part.name, "value": part.value, "slope": part.slope}
            parts.append({**given, "product": part.product} if self.linear else given)
        sums = {"rest": self.rest, "constant": self.constant} if self.linear else {}
        about = {"where": self.where, "layer": self.title, "words": self.words, "value": self.value}
        return {**about, "inputs": parts, "count": self.count, "linear": self.linear, **sums}


@dataclass(frozen=True)
class Explanation:
    """Why the loss changes with one number as it does, link by link.

    value: the number itself. loss: the loss as it stands. links: the number's own derivative first; a term's `next`
    is a place in them, so that they are a tree whose branches may meet again. made: for an activation, how it came
    about. dtype: what the pass was computed in.
    """

    name: str
    value: float
    loss: float
    dtype: str
    links: tuple[Link, ...]
    made: Made | None = None

    @property
    def gradient(self) -> float:
        """∂C/∂name, as the backward pass computed it."""
        return self.links[0].gradient

    @property
    def exact(self) -> bool:
        """Whether every link's products add up to its gradient."""
        return all(link.exact for link in self.links)

    def to_json(self) -> dict[str, Any]:
        """Return the whole tree as plain values: its nodes in one list, each term's `next` the place of another."""
        made = {} if self.made is None else {"made_of": self.made.to_json()}
        about = {"name": self.name, "value": self.value, "loss": self.loss, "dtype": self.dtype}
        links = [link.to_json() for link in self.links]
        return {**about, "gradient": self.gradient, "exact": self.exact, "links": links, **made}

    def latex(self) -> str:
        """Return the chain as LaTeX, an `aligned` environment of one line for each link."""
        from pellucid.trace.latex import latex

        return latex(self)

    def __str__(self) -> str:
        """Return the chain as text for a terminal."""
        from pellucid.trace.text import explanation_text

        return explanation_text(self)

    def _repr_html_(self) -> str:
        from pellucid.trace.html import explanation_html

        return explanation_html(self)
