"""Pages as values: a page has sections, and a section has paragraphs, figures and tables; all texts are escaped."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pellucid.report.page import render
from pellucid.report.write import write_page

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class FigurePart:
    """A figure, or the text `otherwise` if it is None.

    name: of its PNG file. alt: for those who do not see it. caption: below it.
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

    right: indices of columns of numbers. foot: whether the last row is the total. wrap: whether long values are broken.
    """

    kind: ClassVar[str] = "table"
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Collection[int] = ()
    foot: bool = False
    wrap: bool = False


@dataclass(frozen=True)
class Missing:
    """A sentence that says what is not there."""

    kind: ClassVar[str] = "missing"
    text: str


@dataclass(frozen=True)
class CodeBlock:
    """A text in its own lines, such as a command or a file."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True)
class FigureRow:
    """Figures side by side, if the page is wide enough."""

    kind: ClassVar[str] = "row"
    parts: Sequence["FigurePart"]


SectionPart = str | FigurePart | TablePart | Missing | CodeBlock | FigureRow  # a string is a paragraph


@dataclass(frozen=True)
class Section:
    """A section of a page. id: of the link to it. wide: whether it takes the whole width."""

    id: str
    heading: str
    parts: Sequence[SectionPart]
    wide: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show: each part is a sentence about what is missing, or a missing figure."""
        return all(isinstance(part, Missing) or _is_missing(part) for part in self.parts)


def _is_missing(part: SectionPart) -> bool:
    if isinstance(part, FigureRow):
        return all(map(_is_missing, part.parts))
    return isinstance(part, FigurePart) and part.figure is None


@dataclass(frozen=True)
class Page:
    """A page with a title, a sentence about it, and its main results as pairs of name and text."""

    title: str
    about: str
    results: Sequence[tuple[str, str]]
    sections: Sequence[Section]

    def html(self) -> str:
        """Return the HTML document."""
        return render("page", it=self)

    def write(self, path: Path) -> Path:
        """Write the page atomically, and its figures to figures/*.png beside it; return `path`."""
        return write_page(path, self.html(), {part.name: part.figure for part in self._figures()})

    def _figures(self) -> Iterator[FigurePart]:
        for part in (part for section in self.sections for part in section.parts):
            yield from part.parts if isinstance(part, FigureRow) else [part] if isinstance(part, FigurePart) else []
