"""Pages as values: a page has sections, and a section has paragraphs, figures and tables; all texts are escaped."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pellucid.base.files import make_folder, write_atomically
from pellucid.base.text import aligned
from pellucid.report.page import render

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pellucid.report.embedded import Embedded

TextPairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, eq=False)
class FigurePart:
    """A figure, or the text `otherwise` if it is None.

    name: name of its PNG file. alt: alternative text. caption: text below the figure.
    """

    kind: ClassVar[str] = "figure"
    name: str
    figure: "Figure | None"
    alt: str
    caption: str = ""
    otherwise: str = "There is nothing to show."


@dataclass(frozen=True)
class TablePart:
    """A table; the first column names the rows.

    right: indices of columns of numbers, by default all but the first. foot: whether the last row is the total. wrap:
    whether long values are broken.
    """

    kind: ClassVar[str] = "table"
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Collection[int] | None = None
    foot: bool = False
    wrap: bool = False

    @property
    def numbers(self) -> Collection[int]:
        """The indices of the columns of numbers."""
        return range(1, len(self.head)) if self.right is None else self.right

    def __str__(self) -> str:
        """Return the table in plain text."""
        return aligned([self.head, *self.rows], self.numbers)

    def markdown(self) -> list[str]:
        """Return the lines of the table in Markdown."""

        def line(values: Sequence[str]) -> str:
            escaped = (value.replace("|", "\\|").replace("\n", " ") for value in values)
            return f"| {' | '.join(escaped)} |"

        rule = ["---:" if k in self.numbers else "---" for k in range(len(self.head))]
        return [line(self.head), line(rule), *map(line, self.rows)]


@dataclass(frozen=True)
class TextPart:
    """A text; `kind` determines how it is displayed."""

    kind: ClassVar[str]
    text: str


class Missing(TextPart):
    """A sentence about what is missing."""

    kind = "missing"


class Warned(TextPart):
    """A sentence in red."""

    kind = "warned"


class CodeBlock(TextPart):
    """Preformatted text, such as a command or a file."""

    kind = "code"


class Fragment(TextPart):
    """HTML that `render` returned for a notebook, such as an explanation's `_repr_html_`; it is not escaped."""

    kind = "html"


class Heading(TextPart):
    """A heading within a section."""

    kind = "heading"


@dataclass(frozen=True)
class Facts:
    """Pairs of a name and a text, folded if there is a summary."""

    kind: ClassVar[str] = "facts"
    pairs: TextPairs
    summary: str = ""


@dataclass(frozen=True)
class Bullets:
    """A list of sentences, and more sentences folded under a summary."""

    kind: ClassVar[str] = "bullets"
    texts: Sequence[str]
    folded: Sequence[str] = ()
    summary: str = ""


@dataclass(frozen=True)
class Legend:
    """Names with their colours."""

    kind: ClassVar[str] = "legend"
    pairs: TextPairs


@dataclass(frozen=True)
class ImageRow:
    """Embedded images side by side, each with its caption; name: what all of them show."""

    kind: ClassVar[str] = "images"
    name: str
    images: "Sequence[tuple[str, Embedded]]"


@dataclass(frozen=True)
class FigureRow:
    """Parts side by side, if the page is wide enough; a sequence of parts is one column."""

    kind: ClassVar[str] = "row"
    parts: "Sequence[SectionPart | Sequence[SectionPart]]"


@dataclass(frozen=True)
class Folded:
    """Parts that are folded under a summary."""

    kind: ClassVar[str] = "folded"
    summary: str
    parts: "Sequence[SectionPart]"


# A string is a paragraph.
SectionPart = str | FigurePart | TablePart | TextPart | Facts | Bullets | Legend | ImageRow | FigureRow | Folded


@dataclass(frozen=True)
class Section:
    """A section of a page. id: anchor of links, "" for none. wide: whether it spans the page.

    colour: colour of a dot before the heading, "" for no dot.
    """

    id: str
    heading: str
    parts: Sequence[SectionPart]
    wide: bool = False
    colour: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show: each part is a sentence about what is missing, or a missing figure."""
        return _is_missing(self.parts)


def _is_missing(part: SectionPart | Sequence[SectionPart]) -> bool:
    if isinstance(part, FigureRow | Folded):
        return all(map(_is_missing, part.parts))
    if isinstance(part, Sequence) and not isinstance(part, str):
        return all(map(_is_missing, part))
    return isinstance(part, Missing) or (isinstance(part, FigurePart) and part.figure is None)


@dataclass(frozen=True)
class Page:
    """A page with a title and sections.

    about: a sentence about the page. header: parts above the sections. results: the main results as pairs of name and
    text. heading: the heading, if it is not the title. command: the command that writes the page, shown at its end.
    """

    title: str
    sections: Sequence[Section]
    about: str = ""
    results: TextPairs = ()
    header: Sequence[SectionPart] = ()
    heading: str = ""
    command: str = ""

    @property
    def figures(self) -> "dict[str, Figure | None]":
        """The figures by name."""
        return {part.name: part.figure for section in self.sections for part in _figure_parts(section.parts)}

    def html(self) -> str:
        """Return the HTML document."""
        return render("page", it=self)

    def write(self, path: Path) -> Path:
        """Write the page atomically, and its figures to figures/*.png in its folder; return `path`.

        Raises PellucidError if writing fails.
        """
        from pellucid.report.figures.style import png

        folder = make_folder(path.parent / "figures")
        for name, figure in self.figures.items():
            if figure is not None:
                write_atomically(folder / f"{name}.png", png(figure), durable=False)
        write_atomically(path, self.html().encode("utf-8"))
        return path


def _figure_parts(parts: "Sequence[SectionPart | Sequence[SectionPart]]") -> Iterator[FigurePart]:
    for part in parts:
        if isinstance(part, FigurePart):
            yield part
        elif isinstance(part, FigureRow | Folded):
            yield from _figure_parts(part.parts)
        elif isinstance(part, list | tuple):
            yield from _figure_parts(part)
