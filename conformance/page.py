"""The scorecard's page and its line in the README: written from the rows, and held against what is committed."""

import hashlib
from collections.abc import Sequence

from conformance.coverage import Entry
from conformance.tally import Row, decade

# Checks that come with parts of ours that do not exist yet.
PENDING_SUITES = ("sklearn check_estimator",)
CHECKSUM_LINE = "<!-- sha256 of all above: {} -->\n"
ONNX_KINDS = ("onnx node", "onnx simple", "onnx pytorch-")
LIBRARIES = ("keras.applications", "onnx light", "torch transformers")
SUMMARY_PREFIX = "Passed: "  # how the summary begins

INTRODUCTION = """# Scorecard

Other people's test suites, and other people's libraries as references, run against ours. Written by `pellucid
scorecard` (extra `pellucid[scorecard]`); nothing here is typed by hand, and CI compares it with a run.

- **torch OpInfo, ModuleInfo**: the inputs that PyTorch tests its own operators and modules on, all of them, forward and
  backward, in float64 and float32, modules in training and in evaluation mode. We must give PyTorch's outputs and
  gradients within 1e-11 in float64 and 1e-5 in float32 of each tensor's largest entry, and each entry within 0.1 %.
- **onnx**: ONNX's backend cases with the values that ONNX publishes, forward only, within 1e-5; of one case of
  AveragePool it publishes four decimals, which the row shows.
- **torch.optim and its like**: 100 steps side by side in float64, within 1e-12, with the settings that PyTorch tests
  its optimizers with and a grid of our own.
- **sklearn.metrics**: scikit-learn's functions beside ours on data of our own.
- **pycocotools**: all of COCO's figures of 200 drawn sets of boxes, of masks and of key-points, with crowds, equal
  scores and overlaps, and areas at the limits of the sizes, within 1e-9.
- **keras.applications, onnx light, torch transformers**: whole networks as Keras Applications, ONNX's light model zoo
  (run by onnxruntime) and Hugging Face define them, with the same random weights: logits within 1e-4 in float32 and
  1e-9 in float64, gradients of the images and the weights by automatic differentiation of their code, and batch
  normalization in training mode.
- **torchvision documentation**: the published number of each network's parameters, which must be ours.

**Worst error** is the power of ten that the largest difference stays below, divided by the expected tensor's largest
entry (for gradients at least 1 % of the gradient sent in). Where it is 0 against PyTorch, our layer calls the same
kernel as PyTorch's derivative: such a row checks what the kernel is handed (arguments, shapes, padding, which gradient
is whose) and not its arithmetic, which ONNX's values and the references and central differences of tests/ check. A case
is **skipped** where it asks for an option that we do not have, or for an answer in which we differ on purpose.
That a suite reaches a layer does not say that it tries every option: tests/layers and tests/losses do.

"""


def summary(rows: Sequence[Row]) -> str:
    """Return the one line that sums the rows up."""
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
    """Return the whole page, sealed by its own checksum."""
    lines = [INTRODUCTION + summary(rows), ""]
    lines += ["| suite | version | cases | passed | skipped | failed | worst error | our file | skips |"]
    lines += ["|---|---|---:|---:|---:|---:|---:|---|---|"]
    lines += [_row_line(row) for row in rows]
    lines += [f"| {name} | - | not yet | - | - | - | - | - | - |" for name in PENDING_SUITES]
    lines += ["", "## What no outside suite reaches", ""]
    if entries:
        lines += ["| what | kind | our file | checked by |", "|---|---|---|---|"]
        lines += [f"| {e.name} | {e.kind} | {e.file} | {e.checked_by or '**nothing**'} |" for e in entries]
    else:
        lines += ["Nothing: every public layer, loss, optimizer, rule and metric is reached by a suite above."]
    return with_checksum("\n".join(lines) + "\n\n")


def with_checksum(text: str) -> str:
    """Return the page with its checksum as the last line."""
    return text + CHECKSUM_LINE.format(hashlib.sha256(text.encode()).hexdigest())


def _passed_cases(rows: Sequence[Row], *suite_prefixes: str) -> str:
    return f"{sum(row.passed for row in rows if row.suite.startswith(suite_prefixes)):,}"


def _row_line(row: Row) -> str:
    skips = "; ".join(f"{count} {reason}" for reason, count in sorted(row.skips.items()))
    numbers = f"{row.cases} | {row.passed} | {row.skipped} | {row.failed} | {decade(row.worst_error)}"
    return f"| {row.suite} | {row.version} | {numbers} | {row.file} | {skips} |"
