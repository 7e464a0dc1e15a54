"""The table that a verification returns: one row for each tensor, as text and as JSON."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from pellucid.base.brief import screen_repr
from pellucid.base.text import aligned
from pellucid.verify import differences

WRITTEN = "written"
OBJECTIVE = "objective"
TRAINS = "training"
PREDICTS = "predicting"
TOLERANCE = 1e-9  # relative to the largest entry of the tensor's gradient, in float64
FLOOR = 1e-12  # smaller values are rounding errors of 0; multiplied by the network's largest gradient if above 1
FORM_TOLERANCE = 1e-7  # relative to the largest entry; fused forms have other rounding errors than the network
HEADINGS = {
    WRITTEN: "",
    OBJECTIVE: "The objective: output gradients of its networks, and all gradients of their parameters, in training "
    "mode\n",
    TRAINS: "The form for training, in training mode\n",
    PREDICTS: "The form for prediction\n",
}


@dataclass(frozen=True)
class GradientRow:
    """The comparison of one tensor."""

    path: str  # the path of the tensor's layer
    layer: str  # the class of the tensor's layer
    what: str  # the name of the tensor, such as weight, bias, dx or dy
    entries: int  # its number of entries
    largest: float  # its largest magnitude
    # largest absolute error beside autograd, relative to the largest magnitude; None without its gradient
    autograd: float | None
    differences: float | None  # the same beside central differences
    checked: int  # the number of entries compared with central differences
    kinks: int  # the number of additional entries at a kink
    ok: bool
    note: str
    # the form of the network: as written, for training or for prediction; or "objective", for gradients that an
    # objective passes to its networks or returns
    form: str = WRITTEN
    # for the forms for training and prediction, the largest error relative to the network as written
    written: float | None = None

    @property
    def errors(self) -> dict[str, float]:
        """The largest errors by reference, "autograd" and "differences", for references with a gradient."""
        errors = {"autograd": self.autograd, "differences": self.differences}
        return {name: error for name, error in errors.items() if error is not None}


@dataclass(frozen=True)
class GradientTable:
    """The result of a verification: rows in forward order."""

    rows: tuple[GradientRow, ...]
    culprit: str | None  # the layer that computes the first wrong gradient in the order of the backward pass, or None
    notes: tuple[str, ...] = ()  # lines about comparisons that were left out, with the reason
    __repr__ = screen_repr

    @property
    def ok(self) -> bool:
        """Whether every gradient is right, and all forms of the network agree."""
        return all(row.ok for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """Return the table as JSON values, with None for numbers that are not finite."""
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
        summary = {"ok": self.ok, "culprit": self.culprit, "tolerances": bounds, "notes": list(self.notes)}
        return {**summary, "rows": rows}

    def __str__(self) -> str:
        """Return the table as aligned text: a part for each form, the notes, and a summary line."""
        by_form = {form: [row for row in self.rows if row.form == form] for form in HEADINGS}
        tables = [_form_table(form, rows) for form, rows in by_form.items() if rows]
        return "\n\n".join([*tables, *self.notes, self._verdict()])

    def _verdict(self) -> str:
        n_wrong = sum(not row.ok for row in self.rows)
        bounds = f"tolerances: vs autograd {TOLERANCE:g}, vs differences {differences.TOLERANCE:g}"
        if any(row.form in (TRAINS, PREDICTS) for row in self.rows):
            bounds += f", vs written {FORM_TOLERANCE:g}"
        bounds += ", of each one's largest entry, in float64"
        if not n_wrong:
            return f"{bounds}\nall {len(self.rows)} gradients agree"
        return f"{bounds}\n{n_wrong} of {len(self.rows)} gradients FAIL; going backward, the first is at {self.culprit}"


def _form_table(form: str, rows: list[GradientRow]) -> str:
    is_written = form in (WRITTEN, OBJECTIVE)
    columns = ("vs autograd", "vs differences", "checked") if is_written else ("vs written", "vs autograd")
    lines: list[tuple[str, ...]] = [("path", "layer", "what", "entries", "largest", *columns, "verdict")]
    for row in rows:
        errors = (row.autograd, row.differences) if is_written else (row.written, row.autograd)
        error_texts = tuple("-" if error is None else f"{error:.1e}" for error in errors)
        lines.append((
            row.path, row.layer, row.what, f"{row.entries:,}", f"{row.largest:.2e}", *error_texts,
            *((f"{row.checked:,}",) if is_written else ()),
            ("ok" if row.ok else "FAIL") + (f" ({row.note})" if row.note else ""),
        ))  # fmt: skip
    return HEADINGS[form] + aligned(lines, right=range(3, 5 + len(columns)))
