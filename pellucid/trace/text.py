"""Traces, explanations and nudges as text for a terminal."""

import math
from textwrap import wrap

from pellucid.text import aligned
from pellucid.trace.explanation import Explanation, Factor, Link, Made, Term
from pellucid.trace.nudge import Nudge
from pellucid.trace.overview import outputs, rows
from pellucid.trace.record import Trace

INDENT = "     "
WIDTH = 100
DIGITS, MOST_DIGITS = 6, 17  # of a number as a rule; that tell any float64 from the next
TIMES, MINUS = "\u00d7", "\u2212"
NONLINEAR = "what the tangent does not see: bends and kinks"
SIGN = f" {TIMES} "


def brief(value: float, digits: int = DIGITS) -> str:
    """Return a number with so many digits, and a real minus sign."""
    return f"{value:.{digits}g}".replace("-", MINUS) if value else "0"


def signed(value: float, digits: int) -> str:
    """Return a number with so many digits, and its sign in front."""
    return f"{value:+.{digits}g}".replace("-", MINUS)


def explanation_text(it: Explanation) -> str:
    """Return the number, how it came about, and each link to the loss."""
    head = [
        f"∂{it.links[0].of}/∂{it.name} = {brief(it.gradient)}",
        f"{it.name} is {brief(it.value)}; the loss C is {brief(it.loss)}",
    ]
    made = [] if it.made is None else ["", *_made(it.made)]
    links = [line for number, link in enumerate(it.links, start=1) for line in ("", *_link(number, link))]
    return "\n".join([*head, *made, *links, "", verdict(it)])


def verdict(it: Explanation) -> str:
    """Say how exactly the products add up."""
    gaps = [abs(link.total - link.gradient) for link in it.links]
    if not all(map(math.isfinite, gaps)):
        return "some of these numbers are NaN or infinite, so that their sums tell nothing"
    far = max(gaps)
    if not it.exact:
        return f"the products do NOT add up to the gradients: they are off by {brief(far, 2)}"
    if far == 0:
        return f"every sum of products equals the backward pass's gradient to the last bit ({it.dtype})"
    last = f"to its last bits: within {brief(far, 1)} ({it.dtype})"
    return f"every sum of products equals the backward pass's gradient {last}"


def _link(number: int, link: Link) -> list[str]:
    """Return a link: whose rule, in words, then one product a line."""
    head = f"{number:>2}   ∂{link.of}/∂{link.name} = {brief(link.gradient)}"
    about = link.words if link.where == "the network" else f"{link.where}, {link.title}: {link.words}"
    said = wrap(about, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT, break_long_words=False)
    table = [_product(term) for term in link.terms]
    hidden = link.count - len(link.terms)
    if hidden:
        table.append((brief(link.rest), f"{hidden} more", ""))
    if link.count > 1:
        table.append((brief(link.total), "sum", ""))
    signs = [f"{INDENT}  {line}" for line in aligned(table, right=(0,)).splitlines()] if table else []
    if link.count > 1:
        signs.insert(-1, f"{INDENT}  {'─' * max(len(row[0]) for row in table)}")
    parts = _parts(link.terms)
    return [head, *said, *signs, *(f"{INDENT}  {line}" for line in parts)]


def _product(term: Term) -> tuple[str, str, str]:
    """Return (product, its factors as numbers, as names)."""
    numbers = SIGN.join(brief(factor.value) for factor in term.factors)
    names = SIGN.join(_bracketed(factor) for factor in term.factors)
    follows = f"   → {term.next + 1}" if term.next is not None else ""
    return brief(term.value), f"= {numbers}" if len(term.factors) > 1 else "", f"{names}{follows}"


def _bracketed(factor: Factor) -> str:
    return f"({factor.name})" if factor.parts else factor.name


def _parts(terms: tuple[Term, ...]) -> list[str]:
    """Return what the sums among the factors of the first product are made of."""
    found = []
    for factor in terms[0].factors if terms else ():
        if factor.parts:
            found.append(f"where {factor.name} = {added(factor)}")
    return found


def added(factor: Factor) -> str:
    """Return the numbers that add up to a factor, "0.9 − 1", with as many digits as six of the sum need."""
    largest = max(abs(one.value) for one in factor.parts)
    quotient = largest / abs(factor.value) if factor.value else 0.0
    lost = math.log10(quotient) if 0 < quotient < math.inf else 0.0  # NaN has no digits
    digits = min(DIGITS + max(math.ceil(lost), 0), MOST_DIGITS)
    first, *others = factor.parts
    return brief(first.value, digits) + "".join(
        f" {MINUS if one.value <= 0 else '+'} {brief(abs(one.value), digits)}" for one in others
    )


def _made(made: Made) -> list[str]:
    """Return the inputs that an activation was made of."""
    words = made.words if made.count or made.linear else "just now it follows none of its inputs"
    head = f"made by {made.where}, {made.title}: {words}"
    table = []
    for part in made.parts:
        if made.linear:
            table.append((brief(part.product), f"= {brief(part.value)} {TIMES} {brief(part.slope)}", part.name))
        else:
            table.append((brief(part.slope), "slope of", f"{part.name} = {brief(part.value)}"))
    hidden = made.count - len(made.parts)
    if hidden:
        table.append((brief(made.rest) if made.linear else "", f"{hidden} more", ""))
    if made.linear and made.constant:
        table.append((brief(made.constant), "bias" if made.count else "constant", ""))
    if made.linear and len(table) > 1:
        table.append((brief(made.value), "sum", ""))
    return [head, *(f"{INDENT}  {line}" for line in (aligned(table, right=(0,)).splitlines() if table else ()))]


def nudge_text(it: Nudge) -> str:
    """Return what was moved, what was predicted and what happened."""
    head = f"{it.name}: {brief(it.value)} → {brief(it.value + it.h)}  (h = {brief(it.h)})"
    why = "the loss's rounding: h moves it by less than its last bit" if it.rounded else NONLINEAR
    table = [
        ("predicted", brief(it.predicted), f"∂C/∂{it.name} {TIMES} h = {brief(it.gradient)} {TIMES} {brief(it.h)}"),
        ("actual", brief(it.actual), f"the loss went from {brief(it.before)} to {brief(it.after)}"),
        ("missed", brief(it.actual - it.predicted), why),
    ]
    return f"{head}\n{aligned(table, right=(1,))}"


def trace_text(trace: Trace) -> str:
    """Return a table of all calls, and the loss with its pieces."""
    table = [("call", "layer", "y", "mean", "largest", "zero", "rms of dy", "rms of gradients")]
    for row in rows(trace):
        y, dy = row["y"], row["dy"]
        grads = "  ".join(f"{name} {brief(spread['rms'], 2)}" for name, spread in row["gradients"].items())
        table.append(
            (
                row["name"] or "network", row["layer"], "x".join(map(str, row["shape"])), brief(y["mean"], 3),
                brief(max(y["most"], y["least"], key=abs), 3), f"{100 * y['zero']:.0f} %",
                "-" if dy is None else brief(dy["rms"], 2), grads,
            )
        )  # fmt: skip
    about, loss, tensors = heading(trace)
    return f"{about}: {loss}; {tensors}\n\n{aligned(table, right=(3, 4, 5, 6))}\n\n{_outputs(trace)}"


def heading(trace: Trace) -> tuple[str, str, str]:
    """Return what a trace is of, in words: the pass, its loss, and how many tensors there are."""
    examples = len(trace.passes.ys[0].tensor)
    what = f"{examples} examples" if examples > 1 else "one example"
    regularized = f" + {brief(trace.regularizer)} by regularizers" if trace.penalties else ""
    mode = "training" if trace.settings.train else "evaluation"
    return f"{what} in {mode}", f"loss {brief(trace.loss)}{regularized}", f"{len(trace.tensors)} tensors by name"


def _outputs(trace: Trace) -> str:
    found = outputs(trace, 0)
    head = tuple(name for name in ("output", "class", "y", "probability", "target", "dy") if name in found[0])
    table = [head] + [tuple(_cell(one[name]) for name in head) for one in found]
    return f"outputs of the first example, the largest |dy| first\n{aligned(table, right=range(len(head)))}"


def _cell(value: object) -> str:
    return brief(value) if isinstance(value, float) else str(value)
