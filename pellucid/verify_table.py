"""The table that a verification returns: one row for each tensor, as text and as JSON."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from pellucid import differences
from pellucid.text import aligned

WRITTEN, TRAINS, PREDICTS = "written", "training", "predicting"
TOLERANCE = 1e-9  # of the largest entry of the tensor's gradient, in float64
FLOOR = 1e-12  # relative to the network's largest gradient; smaller values are rounding errors of 0
FORM_TOLERANCE = 1e-7  # of the largest entry; a fused form has other rounding errors than the network as written
HEADINGS = {WRITTEN: "", TRAINS: "The form that trains, in training mode\n", PREDICTS: "The form that predicts\n"}


@dataclass(frozen=True)
class Row:
    """One tensor, compared.

    `what` is weight, bias, dx, dy ...; `entries` is its size and `largest` its largest magnitude. `autograd` and
    `differences` are the largest absolute errors divided by the largest magnitude, or None where that oracle has
    no answer; `checked` entries were compared with central differences, `kinks` more lie on a corner of the loss.
    `form` is the form of the network that the tensor is of: as written, or that which trains or predicts, and then
    `written` is its largest error against the network as written.
    """

    path: str
    layer: str
    what: str
    entries: int
    largest: float
    autograd: float | None
    differences: float | None
    checked: int
    kinks: int
    ok: bool
    note: str
    form: str = WRITTEN
    written: float | None = None

    @property
    def errors(self) -> dict[str, float]:
        """The largest errors by the name of the reference."""
        errors = {"autograd": self.autograd, "differences": self.differences}
        return {name: error for name, error in errors.items() if error is not None}


@dataclass(frozen=True)
class Table:
    """The rows of one verification, in forward order, and where the first wrong gradient arose.

    `notes` say what was left out, and why.
    """

    rows: tuple[Row, ...]
    culprit: str | None
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every gradient is right, and every form of the network computes the same."""
        return all(row.ok for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """Return the table as plain values, with None for values that are not finite."""
        rows = [
            {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(row).items()}
            for row in self.rows
        ]
        bounds = {
            "autograd": TOLERANCE,
            "differences": differences.TOLERANCE,
            "floor": FLOOR,
            "written": FORM_TOLERANCE,
        }
        about = {"ok": self.ok, "culprit": self.culprit, "tolerances": bounds, "notes": list(self.notes)}
        return {**about, "rows": rows}

    def __str__(self) -> str:
        """Return the table as aligned text, a part for each form, and a line that sums it up."""
        by_form = {form: [row for row in self.rows if row.form == form] for form in HEADINGS}
        parts = [_part(form, rows) for form, rows in by_form.items() if rows]
        return "\n\n".join([*parts, *self.notes, self._verdict()])

    def _verdict(self) -> str:
        wrong = sum(not row.ok for row in self.rows)
        bounds = f"within {TOLERANCE:g} of autograd and {differences.TOLERANCE:g} of central differences"
        if any(row.form != WRITTEN for row in self.rows):
            bounds += f", the forms within {FORM_TOLERANCE:g} of the network as written"
        if not wrong:
            return f"all {len(self.rows)} gradients agree ({bounds}, relative to each one's largest entry, float64)"
        return f"{wrong} of {len(self.rows)} gradients FAIL ({bounds}); going backward, the first is at {self.culprit}"


def _part(form: str, rows: list[Row]) -> str:
    """Return the rows of one form as text."""
    written = form == WRITTEN
    columns = ("vs autograd", "vs differences", "checked") if written else ("vs written", "vs autograd")
    lines: list[tuple[str, ...]] = [("path", "layer", "what", "entries", "largest", *columns, "verdict")]
    for row in rows:
        errors = (row.autograd, row.differences) if written else (row.written, row.autograd)
        compared = tuple("-" if error is None else f"{error:.1e}" for error in errors)
        lines.append((
            row.path, row.layer, row.what, f"{row.entries:,}", f"{row.largest:.2e}", *compared,
            *((f"{row.checked:,}",) if written else ()),
            ("ok" if row.ok else "FAIL") + (f" ({row.note})" if row.note else ""),
        ))  # fmt: skip
    return HEADINGS[form] + aligned(lines, right=range(3, 5 + len(columns)))
