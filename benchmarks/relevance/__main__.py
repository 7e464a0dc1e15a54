"""Compare maps by Pellucid, Zennit, LXT and Captum of trained networks, and write docs/relevance.md."""

import argparse
import json
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.relevance.measure import N_CAPTUM, N_CHOOSING, N_MEASURED, N_ORDERS, NETWORKS, Rows, measure

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE, RESULTS = DOCS / "relevance.md", DOCS / "relevance.json"
LIBRARIES = ("Zennit", "LXT")
HEAD = """# Relevance compared with Zennit, LXT and Captum

Written by `python -m benchmarks.relevance` with Pellucid {pellucid}, PyTorch {torch}, Zennit {zennit}, LXT {lxt}
and Captum {captum}; nothing in the tables is typed by hand. All rows are in [relevance.json](relevance.json). Pellucid
explains trained PyTorch modules opened by `pellucid.open`; the other libraries explain the modules themselves.

| network | source | right, of 500 test images |
|---|---|---:|
"""
GAPS = """
## Differences from Zennit and LXT

The gap is the largest difference between two maps of {measured} images, in float64, relative to Pellucid's largest
relevance, for the rules of each library from the smallest to the largest.

| network | rules | gap |
|---|---|---:|
"""
CAPTUM = """
- **ResNet-20 as written, airbench96.** Zennit attaches rules to modules, and the sums of these networks are none, or
  modules without a rule, so that both branches of a block receive the full relevance. An opened network has a node for
  each sum. With a Zennit module for each sum, the maps are equal.
- **ResNet-20, its own epsilon.** Zennit merges batch normalization into convolutions, but still divides by sqrt(1 + ε).
- **ViT.** Zennit has no rule for attention and layer normalization, and relevance is not conserved. LXT's maps are
  equal, up to the 1e-10 that LXT adds to inputs of GELU; it does not report the relevance absorbed by biases, positions
  and softmax. With `F.gelu` in place of the module, LXT changes nothing, and issues no warning.

## Captum

The gap is the largest difference between two maps of {few} images, relative to Captum's largest value, in float64;
Captum computes the steps of integrated gradients in float32. *Captum*, *Pellucid*: that library raises an error.

"""
CURVES = """
Captum has no rules for LRP of modules such as `Flatten`, and needs a separate module for each operation. For
Deconvolution it rectifies gradients only at `ReLU`, Pellucid at GELU as well. Pellucid has no rules of guided
backpropagation and deconvolution for attention.

## Deletion curves

Pixels are replaced by 0 (the mean colour, or black for digits) in descending order of their relevance. The area is the
mean area under the curve of the predicted class's probability over {measured} test images; lower is better. Pellucid's
composite was chosen on {choosing} other images; of the other libraries, the best rules are shown. The next column shows
by how much the area is above Pellucid's, with the standard error over the images, and the last one the number of images
whose area is below those of all {orders} random orders. If random orders have lower areas than all maps, only the
comparison between maps is meaningful.

| network | order | area | above Pellucid's | below random orders |
|---|---|---:|---:|---:|
"""


def page(results: dict[str, Any]) -> str:
    """Return the page of the results, as they are in docs/relevance.json."""
    values = {"measured": N_MEASURED, "orders": N_ORDERS, "few": N_CAPTUM, "choosing": N_CHOOSING}
    rows = [Rows(**results["rows"][name]) for name in NETWORKS if name in results["rows"]]
    text = HEAD.format(**results["versions"]) + "".join(f"{line}\n" for one in rows for line in one.networks)
    text += GAPS.format(**values) + "".join(map(_line, _gap_rows(rows)))
    text += CAPTUM.format(**values) + _captum_table(rows)
    text += CURVES.format(**values) + "".join(_line(row) for one in rows for row in _shown_curves(one.curve_rows))
    return f"{text}\nMeasured {results['date']}.\n"


def cells(line: str) -> list[str]:
    """Return the cells of a row in Markdown."""
    return [cell.strip() for cell in line.strip()[1:-1].split("|")]


def _line(row: Sequence[str]) -> str:
    return f"| {' | '.join(row)} |\n"


def _gap_rows(rows: Sequence[Rows]) -> list[tuple[str, str, str]]:
    """Return the smallest and the largest gap for each network, also in another form, and library."""
    gaps: dict[tuple[str, str], list[str]] = {}
    for network, rules, gap, *_ in (cells(line) for one in rows for line in one.gaps):
        gaps.setdefault((network, rules.replace(",", " ").split()[0]), []).append(gap)
    spreads = {key: sorted(values, key=float) for key, values in gaps.items()}
    return [
        (network, library, values[0] if len(values) == 1 else f"{values[0]} to {values[-1]}")
        for (network, library), values in spreads.items()
    ]


def _captum_table(rows: Sequence[Rows]) -> str:
    """Return a table of the gap by method and network; for an error, the library that raised it."""
    gaps: dict[str, dict[str, str]] = {}
    for one in rows:
        for network, method, gap in (cells(line) for line in one.captum):
            gaps.setdefault(method, {})[network] = gap.partition(":")[0]
    networks = list(dict.fromkeys(name for by_network in gaps.values() for name in by_network))
    head = _line(["method", *networks]) + "|---" + "|---:" * len(networks) + "|\n"
    return head + "".join(
        _line([method, *(by_network.get(name, "-") for name in networks)]) for method, by_network in gaps.items()
    )


def _shown_curves(lines: Sequence[str]) -> list[list[str]]:
    """Return the rows of Pellucid's chosen composite, of random orders, and of the best rules of each other library."""
    shown: list[list[str]] = []
    seen: set[str] = set()
    for row in map(cells, lines):  # the smallest area comes first
        library = row[1].partition(",")[0]
        is_best = library in LIBRARIES and library not in seen
        if is_best or row[1] == "random order" or row[1].endswith(", chosen"):
            shown.append(row)
        seen.add(library)
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"{', '.join(NETWORKS)} (the default: all); others keep their rows")
    names = parser.parse_args().names or list(NETWORKS)
    torch.set_num_threads(1)
    measured = {name: measure(name)._asdict() for name in names}
    stored = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"] if RESULTS.exists() else {}
    results = {
        "date": time.strftime("%Y-%m-%d"),
        "versions": {name: version(name) for name in ("pellucid", "torch", "zennit", "lxt", "captum")},
        "rows": {name: (stored | measured)[name] for name in NETWORKS if name in stored | measured},
    }
    RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(results), encoding="utf-8")
    print(f"wrote {PAGE.name}")


if __name__ == "__main__":
    main()
