"""HTML from values, by the templates beside this file, which escape all strings."""

import json
from collections.abc import Collection, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pellucid.text import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def render(template: str, **values: Any) -> str:
    """Return a template filled in with `values`; a missing name is a jinja2.UndefinedError.

    Strings are escaped for HTML, with what is not printable as in `pellucid.text.printable`.
    """
    return _environment().get_template(f"{template}.html").render(links=[], **values)


def table_html(caption: str, rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Return a table for notebooks; the first row is the head, columns numbered in `right` are aligned there."""
    return render("table", caption=caption, head=rows[0] if rows else (), rows=rows[1:], right=right)


def document(fragment: str, title: str) -> str:
    """Return a page with the HTML that a notebook shows; `fragment` comes from `render`."""
    return render("document", body=Markup(fragment), title=title)


@cache
def _environment() -> Environment:
    it = Environment(
        loader=PackageLoader("pellucid.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    it.filters |= {"svg": _svg, "pointer": _pointer}
    return it


def _printable(value: Any) -> Any:
    return printable(value, "\n\t") if isinstance(value, str) and not isinstance(value, Markup) else value


def _svg(figure: "Figure", name: str, alt: str) -> Markup:
    """Return a figure as an <svg> element with an alternative text."""
    from pellucid.report.figures.style import svg

    label = Markup('<svg role="img" aria-label="{}"').format(printable(alt, "\n\t"))
    return label + Markup(svg(figure, name).removeprefix("<svg"))


def _pointer(figure: "Figure") -> str:
    """Return the values that a page shows at the pointer as JSON; "" for a figure without."""
    from pellucid.report.figures.style import Plot

    values = figure.at_pointer() if isinstance(figure, Plot) else None
    return "" if values is None else json.dumps(values, separators=(",", ":"))
