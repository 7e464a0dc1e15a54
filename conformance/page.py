"""The text of the scorecard: a short page, and two tables beside it with all suites and checks."""

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence

from conformance.coverage import Entry
from conformance.tally import Row, decade

PAGE, CASES, CHECKS = "scorecard.md", "scorecard.csv", "scorecard-checks.csv"  # in docs/
CHECKSUM_LINE = "<!-- sha256 of the page and its tables: {} -->\n"
GROUPS = (  # of suites, by the beginnings of their names
    ("PyTorch's own samples (OpInfo, ModuleInfo)", ("torch OpInfo", "torch ModuleInfo")),
    ("ONNX's backend cases", ("onnx node", "onnx simple", "onnx pytorch-")),
    ("PyTorch's optimizers, schedules, penalties, clipping", ("torch.",)),
    ("scikit-learn's metrics", ("sklearn",)),
    ("pycocotools", ("pycocotools",)),
    ("networks of Keras, ONNX and Hugging Face", ("keras.applications", "onnx light", "torch transformers")),
    ("published numbers of parameters (torchvision)", ("torchvision",)),
    ("explanations of Captum and Zennit", ("Captum", "Zennit")),
)

INTRODUCTION = """# Scorecard

Test suites of other projects, run against Pellucid, and comparisons with other libraries. Written by `pellucid
scorecard` (extra `pellucid[scorecard]`); nothing here is typed by hand, and CI compares it with a run.

- **torch OpInfo, ModuleInfo**: all inputs on which PyTorch tests these operators and modules, forward and backward, in
  float64 and float32, modules in training and evaluation mode. Our outputs and gradients must equal PyTorch's within
  1e-11 in float64 and 1e-5 in float32 of each tensor's largest entry, and each entry within 0.1 %.
- **onnx**: ONNX's backend cases with the values that ONNX publishes, forward only, within 1e-5. For one case of
  AveragePool it publishes four decimals, which the row shows.
- **torch.optim and related functions**: 100 steps of both in float64, within 1e-12, with the settings of PyTorch's own
  tests and with a grid of settings.
- **sklearn.metrics**: scikit-learn's functions compared with ours on our own data.
- **pycocotools**: all of COCO's figures for 200 random sets each of boxes, masks and key-points, with crowds, equal
  scores and overlaps, and areas at the limits of the sizes, within 1e-9.
- **keras.applications, onnx light, torch transformers**: the networks of Keras Applications, ONNX's light model zoo
  (run by onnxruntime) and Hugging Face, with the same random weights as ours: logits within 1e-4 in float32 and 1e-9
  in float64, gradients of the images and the weights by automatic differentiation of their code, and batch
  normalization in training mode.
- **torchvision documentation**: the published number of parameters of each network, which must equal ours.

A case is **skipped** if it needs an option that we do not have, or a result in which we differ on purpose; the reasons
are in the table of all suites. A suite that reaches a layer does not test all of its options: tests/layers and
tests/losses do.

"""
RAW = """\
All suites, with their versions, worst errors and reasons for skips, are in [scorecard.csv](scorecard.csv). The **worst
error** there is the smallest power of ten above the largest difference, divided by the expected tensor's largest entry
(for gradients, by at least 1 % of the largest entry of the output gradient). If it is 0 compared with PyTorch, our
layer calls the same kernel as PyTorch's derivative. Such a row checks the arguments of the kernel and not its
arithmetic, which ONNX's values and the references and central differences of tests/ check.

No suite reaches {entries} public classes and functions; the independent check of each is in
[scorecard-checks.csv](scorecard-checks.csv).

"""


def summary(rows: Sequence[Row]) -> str:
    """Return one line with the numbers of passed, failed and skipped cases."""
    passed, failed, skipped = _counts(rows)
    return f"Passed: {passed:,}. Failed: {failed:,}. Skipped, each with a reason: {skipped:,}."


def render(rows: Sequence[Row], entries: Sequence[Entry]) -> dict[str, str]:
    """Return the text of each file by its name in docs/; the page has a checksum of all of them."""
    lines = ["| compared with | passed | failed | skipped |", "|---|---:|---:|---:|"]
    for name, prefixes in GROUPS:
        group = [row for row in rows if row.suite.startswith(prefixes)]
        if group:
            lines.append(_counts_line(name, group))
    lines.append(_counts_line("**all**", rows))
    body = INTRODUCTION + "\n".join(lines) + "\n\n" + RAW.format(entries=len(entries))
    tables = {CASES: _cases_table(rows), CHECKS: _checks_table(entries)}
    return {PAGE: with_checksum(body, tables), **tables}


def with_checksum(body: str, tables: Mapping[str, str]) -> str:
    """Return the page with the SHA-256 checksum of itself and its tables as the last line."""
    content = "".join([body, *(tables[name] for name in sorted(tables))])
    return body + CHECKSUM_LINE.format(hashlib.sha256(content.encode()).hexdigest())


def _counts(rows: Sequence[Row]) -> tuple[int, int, int]:
    """Return the numbers of passed, failed and skipped cases."""
    return sum(row.passed for row in rows), sum(row.failed for row in rows), sum(row.skipped for row in rows)


def _counts_line(name: str, rows: Sequence[Row]) -> str:
    return f"| {name} | {' | '.join(f'{count:,}' for count in _counts(rows))} |"


def _cases_table(rows: Sequence[Row]) -> str:
    header = ("suite", "version", "cases", "passed", "skipped", "failed", "worst error", "our file", "skips")
    return _csv([header, *map(_cells, rows)])


def _cells(row: Row) -> tuple[object, ...]:
    skips = "; ".join(f"{count} {reason}" for reason, count in sorted(row.skips.items()))
    counts = (row.cases, row.passed, row.skipped, row.failed)
    return (row.suite, row.version, *counts, decade(row.worst_error), row.file, skips)


def _checks_table(entries: Sequence[Entry]) -> str:
    header = ("what", "kind", "our file", "checked by")
    return _csv([header, *((one.name, one.kind, one.file, one.checked_by or "nothing") for one in entries)])


def _csv(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
