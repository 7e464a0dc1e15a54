"""Boxes, frames and lines, stacked or side by side: the layout of network diagrams.

All sizes are in points; y increases downwards.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from pellucid.report.figures.style import INK, PALE

GAP = 9.0  # space between stacked pieces, and inside a frame
BRANCH_SPACE = 14.0  # space between branches
TITLE_SIZE, TEXT_SIZE = 7.5, 6.5  # font sizes
CHARACTER_WIDTH = 0.6  # average width of a character, as a fraction of the font size

DrawPiece = Callable[[Axes, float, float], None]  # (plot, left, top)


@dataclass(frozen=True)
class Piece:
    """A part of the drawing; port: distance from its left side at which the connecting line enters and leaves.

    draw: function that draws the piece with its upper left corner at (left, top).
    """

    width: float
    height: float
    port: float
    draw: DrawPiece


def box(title: str, lines: Sequence[str], colour: str) -> Piece:
    """Return a coloured box with a title and smaller lines of text."""
    width = max(text_width(title, TITLE_SIZE), *(text_width(line, TEXT_SIZE) for line in lines), 40.0) + 8
    height = 7 + 10.0 + 8.5 * len(lines)  # margins, the title, and the lines

    def draw(plot: Axes, left: float, top: float) -> None:
        _rectangle(plot, left, top, width, height, colour, alpha=0.16, corner_radius=2.5)
        plot.text(left + width / 2, top + 8.5, title, color=INK, fontsize=TITLE_SIZE, ha="center", va="center")
        for index, line in enumerate(lines):
            y = top + 18.0 + 8.5 * index
            plot.text(left + width / 2, y, line, color=PALE, fontsize=TEXT_SIZE, ha="center", va="center")

    return Piece(width, height, width / 2, draw)


def merge_box(text: str, colour: str = INK) -> Piece:
    """Return a short text in a rounded box, for the merge of branches."""
    width = text_width(text, TITLE_SIZE) + 10

    def draw(plot: Axes, left: float, top: float) -> None:
        _rectangle(plot, left, top, width, 13, colour, alpha=0.1, corner_radius=6)
        plot.text(left + width / 2, top + 6.8, text, color=INK, fontsize=TITLE_SIZE, ha="center", va="center")

    return Piece(width, 13, width / 2, draw)


def with_label(label: str, piece: Piece) -> Piece:
    """Return a piece with a small label above it, to the left of the line that enters the piece."""
    label_height = 9.0
    port_offset = max(text_width(label, TEXT_SIZE) + 3, piece.port)

    def draw(plot: Axes, left: float, top: float) -> None:
        port_x = left + port_offset
        plot.text(port_x - 3, top + 4, label, color=PALE, fontsize=TEXT_SIZE, ha="right", va="center")
        draw_line(plot, [(port_x, top), (port_x, top + label_height)])
        piece.draw(plot, port_x - piece.port, top + label_height)

    return Piece(port_offset + piece.width - piece.port, piece.height + label_height, port_offset, draw)


def empty_piece() -> Piece:
    """Return an empty piece, such as a branch without layers."""
    return Piece(10, 0, 5, lambda plot, left, top: None)


def stack(pieces: Sequence[Piece], connected: Sequence[bool] | None = None) -> Piece:
    """Return pieces one below the other; connected: whether a line connects each to the one above, by default all."""
    if not pieces:
        return empty_piece()
    port = max(piece.port for piece in pieces)
    width = port + max(piece.width - piece.port for piece in pieces)
    height = sum(piece.height for piece in pieces) + GAP * (len(pieces) - 1)

    def draw(plot: Axes, left: float, top: float) -> None:
        for index, piece in enumerate(pieces):
            if index and (connected is None or connected[index]):
                draw_line(plot, [(left + port, top - GAP), (left + port, top)])
            piece.draw(plot, left + port - piece.port, top)
            top += piece.height + GAP

    return Piece(width, height, port, draw)


def side_by_side(branches: Sequence[Piece], merge: Piece | None) -> Piece:
    """Return branches side by side, with lines from a common input, and to the merge if there is one."""
    branches_width = sum(piece.width for piece in branches) + BRANCH_SPACE * (len(branches) - 1)
    branch_height = max(piece.height for piece in branches)
    connector_height = GAP + (0 if merge is None else GAP / 2 + merge.height)
    width = max(branches_width, 0 if merge is None else merge.width)

    def draw(plot: Axes, left: float, top: float) -> None:
        middle, branch_left = left + width / 2, left + (width - branches_width) / 2
        for piece in branches:
            port_x = branch_left + piece.port
            draw_line(plot, [(middle, top), (port_x, top), (port_x, top + GAP)])
            piece.draw(plot, branch_left, top + GAP)
            if merge is not None:
                merge_y = top + GAP + branch_height + GAP / 2
                draw_line(plot, [(port_x, top + GAP + piece.height), (port_x, merge_y), (middle, merge_y)])
            branch_left += piece.width + BRANCH_SPACE
        if merge is not None:
            merge_top = top + GAP + branch_height + GAP
            draw_line(plot, [(middle, merge_top - GAP / 2), (middle, merge_top)])
            merge.draw(plot, middle - merge.port, merge_top)

    return Piece(width, branch_height + connector_height + (GAP / 2 if merge is not None else 0), width / 2, draw)


def framed(label: str, note: str, piece: Piece) -> Piece:
    """Return a piece in a frame, with a name on the upper left and a grey note on the upper right."""
    heading_height = 17.0
    label_width = text_width(f"{label}  ", TITLE_SIZE)
    width = max(piece.width + 2 * GAP, label_width + text_width(note, TEXT_SIZE) + 12)

    def draw(plot: Axes, left: float, top: float) -> None:
        middle_x = left + width / 2
        height = heading_height + piece.height + GAP
        _rectangle(plot, left, top, width, height, PALE, alpha=0.07, corner_radius=4)
        plot.text(left + 5, top + 8, label, color=INK, fontsize=TITLE_SIZE, va="center", fontweight="bold")
        plot.text(left + width - 5, top + 8, note, color=PALE, fontsize=TEXT_SIZE, va="center", ha="right")
        draw_line(plot, [(middle_x, top + 14), (middle_x, top + heading_height)])
        piece.draw(plot, middle_x - piece.port, top + heading_height)
        draw_line(plot, [(middle_x, top + height - GAP), (middle_x, top + height)])

    # The connecting line and the port of the piece are in the middle of the frame.
    width = max(width, 2 * (GAP + max(piece.port, piece.width - piece.port)))
    return Piece(width, heading_height + piece.height + GAP, width / 2, draw)


def text_width(text: str, size: float) -> float:
    """Return the approximate width of a text in a font size."""
    return CHARACTER_WIDTH * size * len(text)


def draw_line(plot: Axes, points: Sequence[tuple[float, float]]) -> None:
    """Draw a line through points."""
    xs, ys = zip(*points, strict=True)
    plot.plot(xs, ys, color=PALE, linewidth=0.8, solid_capstyle="round", zorder=2)


def _rectangle(
    plot: Axes, left: float, top: float, width: float, height: float, colour: str, alpha: float, corner_radius: float
) -> None:
    style = f"round,pad=0,rounding_size={corner_radius}"
    plot.add_patch(FancyBboxPatch((left, top), width, height, style, facecolor="white", edgecolor="none", zorder=2))
    plot.add_patch(
        FancyBboxPatch((left, top), width, height, style, facecolor=colour, edgecolor="none", alpha=alpha, zorder=2)
    )
    plot.add_patch(
        FancyBboxPatch(
            (left, top), width, height, style, facecolor="none", edgecolor=colour, linewidth=0.7, alpha=0.8, zorder=2
        )
    )
