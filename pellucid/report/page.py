"""HTML pages and tables, rendered by the templates in the folder templates, which escape all strings."""

import json
from collections.abc import Collection, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from pellucid.base.text import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pellucid.report.embedded import Embedded


def render(template: str, **values: Any) -> str:
    """Return a template rendered with `values`; raises jinja2.UndefinedError for a missing name.

    Strings are escaped for HTML; unprintable characters are escaped by `pellucid.base.text.printable`.
    """
    return _environment().get_template(f"{template}.html").render(links=[], **values)


def table_html(
    caption: str,
    rows: Sequence[Sequence[str]],
    right: Collection[int] = (),
    stills: Sequence[tuple[str, "Embedded"]] = (),
) -> str:
    """Return a table for notebooks; the first row is the head, columns with indices in `right` are right-aligned.

    stills: pictures above the table, each with its text.
    """
    return render("table", caption=caption, head=rows[0] if rows else (), rows=rows[1:], right=right, stills=stills)


def escaped(text: str) -> str:
    """Return a text escaped for HTML and printable, for pages that are not rendered by the templates."""
    return str(escape(printable(text)))


def document(fragment: str, title: str) -> str:
    """Return a complete HTML page that contains `fragment`, HTML that `render` returned for a notebook."""
    return render("document", body=Markup(fragment), title=title)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pellucid.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "svg": _svg_element,
        "pointer": _tooltip_json,
        "has_curves": _has_curves,
        "fragment": Markup,
    }
    return environment


def _printable(value: Any) -> Any:
    return printable(value, "\n\t") if isinstance(value, str) and not isinstance(value, Markup) else value


def _svg_element(figure: "Figure", name: str, alt: str) -> Markup:
    """Return a figure as an <svg> element with an alternative text."""
    from pellucid.report.figures.style import svg

    label = Markup('<svg role="img" aria-label="{}"').format(printable(alt, "\n\t"))
    return label + Markup(svg(figure, name).removeprefix("<svg"))


def _has_curves(figure: "Figure") -> bool:
    """Return whether a figure has curves with tooltips, whose texts are enlarged on narrow screens."""
    return bool(getattr(figure, "lines_by_name", ()))


def _tooltip_json(figure: "Figure") -> str:
    """Return the values of a figure's tooltips as JSON, or "" if it has none."""
    from pellucid.report.figures.style import Plot

    values = figure.tooltip_values() if isinstance(figure, Plot) else None
    return "" if values is None else json.dumps(values, separators=(",", ":"))
