"""Traces, explanations and nudges as HTML for notebooks: one piece, without scripts, in the page's own colours."""

import math
from typing import Any

from pellucid.style import CSS
from pellucid.text import escape
from pellucid.trace.calls import Call
from pellucid.trace.explanation import Explanation, Factor, Link, Made, Term
from pellucid.trace.maps import picture
from pellucid.trace.nudge import Nudge
from pellucid.trace.overview import outputs, rows
from pellucid.trace.record import Trace
from pellucid.trace.text import SIGN, TIMES, added, brief, heading, verdict

FEW = 40  # layers that a page shows with sixteen maps each


def explanation_html(it: Explanation) -> str:
    """Return the number, how it came about, and the links to the loss."""
    head = f'<p class="big">{_derivative(it.name, it.links[0].of)} = {brief(it.gradient)}</p>'
    about = f'<p class="soft">{_code(it.name)} is {brief(it.value)}; the loss C is {brief(it.loss)}</p>'
    links = "".join(f"<li>{_link(link)}</li>" for link in it.links)
    made = "" if it.made is None else _made(it.made)
    return _page(f'{head}{about}{made}<ol class="chain">{links}</ol><p class="soft">{escape(verdict(it))}.</p>')


def trace_html(trace: Trace) -> str:
    """Return each call with its maps forward and backward, and the outputs of the first example."""
    most = 16 if len(trace.calls) <= FEW else 8
    body = [_call(call, row, most) for call, row in zip(trace.calls, rows(trace), strict=True)]
    first = (
        f"<tr><td>{_code('x')}<br><span class='soft'>input</span></td><td>{_input(trace)}</td>"
        + "<td></td>" * 5
        + "</tr>"
    )
    head = "".join(
        f"<th{' class=n' if name in ('rms', 'zero') else ''}>{name}</th>"
        for name in ("layer", "y, forward", "rms", "zero", "dy, backward", "rms", "rms of gradients")
    )
    table = (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{first}{"".join(body)}</tbody></table></div>'
    )
    note = f"orange is above 0, blue below; of the first example, {most} maps at most. Every tensor has a name: "
    ask = (
        '<code>trace["conv1.dy"]</code>; every number a reason: <code>trace.explain("conv1.weight[0, 0, 2, 2]")</code>.'
    )
    return _page(f'{_heading(trace)}{_outputs(trace)}{table}<p class="soft">{note}{ask}</p>')


def nudge_html(it: Nudge) -> str:
    """Return what was moved, what was predicted, and what happened."""
    values = ((it.predicted, "predicted", "gradient · h"), (it.actual, "actual", "of the loss"))
    reach = max(abs(value) for value, _, _ in values) or 1.0
    body = "".join(
        f'<tr><td>{name} <span class="soft">{about}</span></td><td class="n">{brief(value)}</td>{_bar(value, reach)}'
        "<td></td></tr>"
        for value, name, about in values
    )
    head = f'<p class="big">{_code(it.name)}: {brief(it.value)} → {brief(it.value + it.h)}</p>'
    tail = f'<p class="soft">the loss went from {brief(it.before)} to {brief(it.after)}</p>'
    return _page(f"{head}<table><tbody>{body}</tbody></table>{tail}")


def _call(call: Call, row: dict[str, Any], most: int) -> str:
    """Return a row of the table of layers."""
    gradients = "<br>".join(f"{_code(name)} {brief(spread['rms'], 2)}" for name, spread in row["gradients"].items())
    dy = "" if call.dys is None else picture(call.dys[0][0], f"what comes back to {call.name}", most)
    size, name = "x".join(map(str, row["shape"][1:])) or "1", _code(call.name or "network")
    return (
        f'<tr><td>{name}<br><span class="soft">{escape(row["layer"])}<br>{size}</span></td>'
        f'<td>{picture(call.y[0], f"output of {call.name}", most)}</td><td class="n">{brief(row["y"]["rms"], 2)}</td>'
        f'<td class="n">{100 * row["y"]["zero"]:.0f} %</td><td>{dy}</td>'
        f'<td class="n">{brief(row["dy"]["rms"] if row["dy"] else 0.0, 2)}</td><td>{gradients}</td></tr>'
    )


def _page(body: str) -> str:
    return f'<div class="pellucid"><style>{CSS}</style>{body}</div>'


def _link(link: Link) -> str:
    head = f"<p>{_derivative(link.name, link.of)} = <b>{brief(link.gradient)}</b></p>"
    where = "" if link.where == "the network" else f'<span class="tag">{_code(link.where)} {escape(link.title)}</span> '
    reach = max(map(abs, (link.rest, *(term.value for term in link.terms)))) or 1.0
    body = "".join(_row(term, reach, link.count > 1) for term in link.terms)
    hidden = link.count - len(link.terms)
    if hidden:
        rest = f'<td class="n">{brief(link.rest)}</td>{_bar(link.rest, reach)}'
        body += f'<tr class="soft">{rest}<td colspan="2">{hidden} more</td></tr>'
    if link.count > 1:
        body += (
            f'<tr class="sum"><td class="n">{brief(link.total)}</td><td class="bar"></td><td colspan="2">sum</td></tr>'
        )
    parts = "".join(
        f'<p class="soft">where {escape(factor.name)} = {added(factor)}</p>'
        for factor in (link.terms[0].factors if link.terms else ())
        if factor.parts
    )
    return (
        f'{head}<p>{where}<span class="soft">{escape(link.words)}</span></p><table><tbody>{body}</tbody></table>{parts}'
    )


def _row(term: Term, reach: float, several: bool) -> str:
    numbers = SIGN.join(brief(factor.value) for factor in term.factors)
    names = SIGN.join(_name(factor) for factor in term.factors)
    follows = f' <span class="tag">→ {term.next + 1}</span>' if term.next is not None else ""
    bar = _bar(term.value, reach) if several else ""
    given = f"= {numbers} " if len(term.factors) > 1 else ""
    return f'<tr><td class="n">{brief(term.value)}</td>{bar}<td>{given}</td><td class="soft">{names}{follows}</td></tr>'


def _bar(value: float, reach: float) -> str:
    """Return a cell with a bar from the middle, orange to the right above 0, blue to the left below."""
    share = abs(value) / reach
    width = 50 * min(share, 1.0) if math.isfinite(share) else 0.0
    left = 50.0 if value >= 0 else 50 - width
    side = "up" if value >= 0 else "down"
    return f'<td class="bar"><i class="{side}" style="left:{left:.1f}%;width:{width:.1f}%"></i></td>'


def _made(made: Made) -> str:
    shown = [part.product if made.linear else part.slope for part in made.parts]
    reach = max(map(abs, shown), default=0.0) or 1.0
    body = "".join(
        f'<tr><td class="n">{brief(size)}</td>{_bar(size, reach)}<td>'
        + (f"= {brief(part.value)} {TIMES} {brief(part.slope)}" if made.linear else "slope of")
        + f'</td><td class="soft">{_code(part.name)}{"" if made.linear else f" = {brief(part.value)}"}</td></tr>'
        for part, size in zip(made.parts, shown, strict=True)
    )
    hidden = made.count - len(made.parts)
    if hidden:
        rest = brief(made.rest) if made.linear else ""
        body += (
            f'<tr class="soft"><td class="n">{rest}</td><td class="bar"></td><td colspan="2">{hidden} more</td></tr>'
        )
    if made.linear and made.constant:
        given = f'<td class="n">{brief(made.constant)}</td><td class="bar"></td>'
        body += f'<tr class="soft">{given}<td colspan="2">bias</td></tr>'
    if made.linear:
        body += (
            f'<tr class="sum"><td class="n">{brief(made.value)}</td><td class="bar"></td><td colspan="2">sum</td></tr>'
        )
    words = f'made by <span class="tag">{_code(made.where)} {escape(made.title)}</span> {escape(made.words)}'
    return f'<p class="soft">{words}</p><table><tbody>{body}</tbody></table>'


def _input(trace: Trace) -> str:
    return picture(trace.passes.xs[0].tensor[0], "the input")


def _heading(trace: Trace) -> str:
    about, loss, tensors = heading(trace)
    return f'<p class="big">{loss}</p><p class="soft">{about}, {tensors}</p>'


def _outputs(trace: Trace) -> str:
    found = outputs(trace, 0)
    keys = [name for name in ("class", "output", "y", "probability", "target", "dy") if name in found[0]]
    keys = [name for name in keys if not (name == "output" and "class" in keys)]
    reach = max(abs(one["dy"]) for one in found) or 1.0
    head = "".join(f'<th class="n">{name}</th>' for name in keys) + "<th></th>"
    body = "".join(
        "<tr>" + "".join(f'<td class="n">{_cell(one[name])}</td>' for name in keys) + f"{_bar(one['dy'], reach)}</tr>"
        for one in found[:5]
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    return brief(value) if isinstance(value, float) else escape(str(value))


def _derivative(name: str, of: str) -> str:
    return f'<span class="frac"><span>∂{of}</span><span>∂ {_code(name)}</span></span>'


def _name(factor: Factor) -> str:
    return f"({escape(factor.name)})" if factor.parts else _code(factor.name)


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"
