"""The text of the scorecard's page and of its line in the README."""

import hashlib
from collections.abc import Sequence

from conformance.coverage import Entry
from conformance.tally import Row, decade

CHECKSUM_LINE = "<!-- sha256 of all above: {} -->\n"
ONNX_KINDS = ("onnx node", "onnx simple", "onnx pytorch-")
LIBRARIES = ("keras.applications", "onnx light", "torch transformers")
SUMMARY_PREFIX = "Passed: "  # the beginning of the summary, by which it is found in the page

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

**Worst error** is the smallest power of ten above the largest difference, divided by the expected tensor's largest
entry (for gradients, by at least 1 % of the largest entry of the output gradient). If it is 0 compared with PyTorch,
our layer calls the same kernel as PyTorch's derivative. Such a row checks the arguments of the kernel (shapes, padding,
which gradient belongs to which tensor) and not its arithmetic, which ONNX's values and the references and central
differences of tests/ check. A case is **skipped** if it needs an option that we do not have, or a result in which we
differ on purpose. A suite that reaches a layer does not test all of its options: tests/layers and tests/losses do.

"""


def summary(rows: Sequence[Row]) -> str:
    """Return one line with the numbers of passed, failed and skipped cases."""
    counts = (
        f"{_passed_cases(rows, 'torch OpInfo', 'torch ModuleInfo')} of PyTorch's own samples in float64 and float32",
        f"{_passed_cases(rows, *ONNX_KINDS)} ONNX backend cases",
        f"{_passed_cases(rows, 'torch.')} comparisons with PyTorch's optimizers, schedules, penalties and clipping",
        f"{_passed_cases(rows, 'sklearn')} with scikit-learn",
        f"{_passed_cases(rows, 'pycocotools')} with pycocotools",
        f"{_passed_cases(rows, *LIBRARIES)} with other libraries' networks",
        f"{_passed_cases(rows, 'torchvision')} with published numbers of parameters",
        f"{_passed_cases(rows, 'Captum', 'Zennit')} with Captum's and Zennit's explanations",
    )
    failed, skipped = sum(row.failed for row in rows), sum(row.skipped for row in rows)
    return f"{SUMMARY_PREFIX}{', '.join(counts)}. Failed: {failed}. Skipped, each with a reason: {skipped:,}."


def render(rows: Sequence[Row], entries: Sequence[Entry]) -> str:
    """Return the page as Markdown, with its checksum."""
    lines = [INTRODUCTION + summary(rows), ""]
    lines += ["| suite | version | cases | passed | skipped | failed | worst error | our file | skips |"]
    lines += ["|---|---|---:|---:|---:|---:|---:|---|---|"]
    lines += [_row_line(row) for row in rows]
    lines += ["", "## What no outside suite reaches", ""]
    if entries:
        lines += ["| what | kind | our file | checked by |", "|---|---|---|---|"]
        lines += [f"| {e.name} | {e.kind} | {e.file} | {e.checked_by or '**nothing**'} |" for e in entries]
    else:
        lines += ["Nothing: every public layer, loss, optimizer, rule and metric is reached by a suite above."]
    return with_checksum("\n".join(lines) + "\n\n")


def with_checksum(text: str) -> str:
    """Return the text with its SHA-256 checksum as the last line."""
    return text + CHECKSUM_LINE.format(hashlib.sha256(text.encode()).hexdigest())


def _passed_cases(rows: Sequence[Row], *suite_prefixes: str) -> str:
    return f"{sum(row.passed for row in rows if row.suite.startswith(suite_prefixes)):,}"


def _row_line(row: Row) -> str:
    skips = "; ".join(f"{count} {reason}" for reason, count in sorted(row.skips.items()))
    numbers = f"{row.cases} | {row.passed} | {row.skipped} | {row.failed} | {decade(row.worst_error)}"
    return f"| {row.suite} | {row.version} | {numbers} | {row.file} | {skips} |"
