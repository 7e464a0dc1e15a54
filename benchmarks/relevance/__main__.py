"""Compare maps by Pellucid, Zennit, LXT and Captum of trained networks, and write docs/relevance.md."""

import argparse
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks.relevance.measure import N_CAPTUM, N_CHOOSING, N_MEASURED, N_ORDERS, NETWORKS, Rows, measure

PAGE = Path(__file__).resolve().parents[2] / "docs" / "relevance.md"
PAGE_PARTS = (
    """# Relevance compared with Zennit, LXT and Captum

Written by `python -m benchmarks.relevance` with Pellucid {pellucid}, PyTorch {torch}, Zennit {zennit}, LXT {lxt}
and Captum {captum}; nothing in the tables is typed by hand. Pellucid explains trained PyTorch modules opened by
`pellucid.open`; the other libraries explain the modules themselves.

| network | source | right, of 500 test images |
|---|---|---:|
""",
    """
## Differences from Zennit and LXT

The gap is the largest difference between two maps of {measured} images, in float64, relative to Pellucid's largest
relevance. The next columns are the sum of the explained scores and the sums of the two maps. Layers absorb the
difference between the scores and the sum of Pellucid's map; the last column lists the causes in its ledger.

| network | rules | gap | scores | sum of theirs | sum of ours | absorbed |
|---|---|---:|---:|---:|---:|---|
""",
    """
- **ResNet-20 as written.** Zennit attaches rules to modules. The authors add the shortcut by `out += shortcut`, not by
  a module, so both branches of each of the nine blocks receive the full relevance. An opened network has a node
  for each sum. With a Zennit module for each sum, the maps are equal; a single module for all sums fails, because its
  hook keeps only one input. The sums of airbench96 are modules of the exported code, for which Zennit has no rule.
- **ResNet-20, its own epsilon.** Zennit's SequentialMergeBatchNorm merges batch normalization into convolutions, but
  still divides by sqrt(1 + ε). For the other rows, ε was added to the variances first, which does not change outputs.
- **ViT, Zennit.** Zennit has no rule for attention and layer normalization; their gradients are not modified, and
  relevance is not conserved.
- **ViT, LXT.** The maps are equal, up to the 1e-10 that LXT adds to inputs of GELU. LXT does not report the relevance
  absorbed by biases, positions and softmax.
- **With `F.gelu`, LXT.** LXT patches classes of modules. The gradient of a function used instead of the module is not
  modified, and no warning is issued.

## Captum

The gap is the largest difference between two maps of {few} images, relative to Captum's largest value, in float64;
Captum computes the steps of integrated gradients in float32. If one of the libraries raises an error, its message is
shown.

| network | method | gap |
|---|---|---:|
""",
    """
- **Captum, LRP.** Captum raises an error for modules without a rule, such as `Flatten`, and needs a separate module for
  each operation. An opened network has a node for each call.
- **airbench96, Deconvolution.** Captum rectifies gradients only at `ReLU` and uses the derivative of GELU; Pellucid
  applies the rule to GELU as well.

## Deletion curves

Pixels are replaced by 0 (the mean colour, or black for digits) in descending order of their relevance. The area is the
mean area under the curve of the predicted class's probability over {measured} test images; lower is better. Pellucid's
composite was chosen by `measure_composites` on {choosing} other images. The next column shows by how much the area of a
row is above Pellucid's, with the standard error over the images. The last column shows the number of images whose area
is below those of all {orders} random orders. If random orders have lower areas than all maps, scattered missing pixels
disturb the network more than the loss of the pixels that any map ranks first; then only the comparison between maps is
meaningful. Curves of the same rules differ only by the epsilon: Pellucid's default is 1e-6, and LXT adds none to the
denominators of layers.

| network | order | area | above Pellucid's | below random orders |
|---|---|---:|---:|---:|
""",
)


def read_rows() -> dict[str, Rows]:
    """Return the rows of the existing page, by network."""
    tables = PAGE.read_text(encoding="utf-8").split("\n|---")[1:]
    lines = [table.splitlines() for table in tables]
    return {
        name: Rows(*([line for line in table if line.startswith(f"| {name}")] for table in lines)) for name in NETWORKS
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"{', '.join(NETWORKS)} (the default: all); others keep their rows")
    names = parser.parse_args().names or list(NETWORKS)
    torch.set_num_threads(1)
    measured = {name: measure(name) for name in names}
    rows = (read_rows() if len(names) < len(NETWORKS) and PAGE.exists() else {}) | measured
    values = {"measured": N_MEASURED, "orders": N_ORDERS, "few": N_CAPTUM, "choosing": N_CHOOSING}
    values |= {name: version(name) for name in ("pellucid", "torch", "zennit", "lxt", "captum")}
    text = ""
    for index, part in enumerate(PAGE_PARTS):
        text += part.format(**values)
        text += "".join(f"{row}\n" for name in NETWORKS if name in rows for row in rows[name][index])
    PAGE.write_text(text, encoding="utf-8")
    print(f"wrote {PAGE.name}")


if __name__ == "__main__":
    main()
