"""HTML from values: everything that is text is escaped."""

from collections.abc import Collection, Sequence

from pellucid.text import escape


def element(tag: str, text: str, **attributes: str) -> str:
    """Return an element with escaped text; `class_="x"` sets class."""
    given = "".join(f' {name.rstrip("_")}="{escape(value)}"' for name, value in attributes.items())
    return f"<{tag}{given}>{escape(text)}</{tag}>"


def section(name: str, heading: str, *parts: str) -> str:
    """Return a section with a heading; `parts` are HTML."""
    body = "\n".join(part for part in parts if part)
    return f'<section id="{escape(name)}">\n<h2>{escape(heading)}</h2>\n{body}\n</section>'


def table(
    caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], numbers: Collection[int] = (), foot: bool = False
) -> str:
    """Return a table whose first column names its rows; `numbers` are the columns to align on the right.

    With `foot` the last row is set apart as the total.
    """

    def line(row: Sequence[str]) -> str:
        cells = [
            f"<{tag}{kind}{scope}>{escape(cell)}</{tag}>"
            for k, cell in enumerate(row)
            for tag, scope in [("th", ' scope="row"') if k == 0 else ("td", "")]
            for kind in [' class="number"' if k in numbers else ""]
        ]
        return f"<tr>{''.join(cells)}</tr>"

    columns = "".join(
        f'<th scope="col"{" class=" + chr(34) + "number" + chr(34) if k in numbers else ""}>{escape(name)}</th>'
        for k, name in enumerate(head)
    )
    body, last = (rows[:-1], rows[-1:]) if foot else (rows, [])
    end = f"<tfoot>{''.join(map(line, last))}</tfoot>" if last else ""
    return (
        f'<div class="scroll"><table><caption>{escape(caption)}</caption><thead><tr>{columns}</tr></thead>'
        f"<tbody>{''.join(map(line, body))}</tbody>{end}</table></div>"
    )


def figure(svg: str, alt: str, caption: str = "") -> str:
    """Return a figure around an <svg> element, with words for those who do not see it."""
    picture = svg.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1)
    below = element("figcaption", caption) if caption else ""
    return f"<figure>{picture}{below}</figure>"


def missing(text: str) -> str:
    """Return a line that says why there is nothing to see."""
    return element("p", text, class_="missing")
