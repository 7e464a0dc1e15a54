"""Compare maps by Pellucid, Zennit, LXT and Captum on trained networks that `pellucid.open` opened."""

import argparse
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks.relevance.measure import N_CAPTUM, N_CHOOSING, N_MEASURED, N_ORDERS, NETWORKS, Rows, measure

PAGE = Path(__file__).resolve().parents[2] / "docs" / "relevance.md"
PAGE_PARTS = (
    """# Relevance beside Zennit, LXT and Captum

Written by `python -m benchmarks.relevance` with Pellucid {pellucid}, PyTorch {torch}, Zennit {zennit}, LXT {lxt}
and Captum {captum}; nothing in the tables is typed by hand. `pellucid.open` opened trained modules of PyTorch; the
others run on these.

| network | source | right, of 500 test images |
|---|---|---:|
""",
    """
## Equal where theirs is right

The gap is the largest difference between two maps of {measured} images, in float64, relative to Pellucid's largest
relevance. The sums are those of the explained scores and of the two maps. What Pellucid's map lacks of the scores is
absorbed by layers, which its ledger names.

| network | rules | gap | scores | sum of theirs | sum of ours | absorbed |
|---|---|---:|---:|---:|---:|---|
""",
    """
- **ResNet-20 as written.** Zennit attaches rules to modules, and the authors add the shortcut by `out += shortcut`,
  which is none: both branches receive the whole relevance, nine times one after another. An opened network has a node
  for each sum. With a module of Zennit for each sum the maps are equal; one module for all sums fails, since its hook
  keeps one input. The sums of airbench96 are modules of the exported code, for which Zennit has no rule either.
- **ResNet-20, its own epsilon.** Zennit's SequentialMergeBatchNorm merges batch normalization into convolutions, but
  still divides by sqrt(1 + ε). In the other rows, ε was added to the variances first, which changes no output.
- **ViT, Zennit.** Attention and layer normalization have no rule there; they keep their gradients, and relevance is
  not conserved.
- **ViT, LXT.** The maps are equal, up to the 1e-10 that LXT adds to inputs of GELU. LXT does not report what biases,
  positions and softmax absorb.
- **With `F.gelu`, LXT.** LXT patches classes of modules. A function in place of the module keeps its gradient, and
  nothing says so.

## Captum

The gap is that between two maps of {few} images, relative to Captum's largest value, in float64; Captum takes the steps
of integrated gradients in float32. Where one of the two refuses, its message stands there.

| network | method | gap |
|---|---|---:|
""",
    """
- **Captum, LRP.** It refuses modules that it has no rule for, `Flatten` among them, and it needs a module for each
  operation, used once. An opened network has a node for each call.
- **airbench96, Deconvolution.** Captum rectifies gradients at `ReLU` alone and leaves GELU its derivative; here the
  rule holds for GELU as well.

## Deletion curves

Pixels are replaced by 0 in the order of their relevance: the mean colour, or black for digits. The area is that under
the curve of the predicted class's probability, a mean over {measured} test images: lower is better. Pellucid's
composite was chosen by `measure_composites` on {choosing} other images; beside the other rows stands how much they are
above it, with the standard error over the images. In the last column, for how many images the area is below all
{orders} random orders. Where random orders are lower than all maps, scattered holes disturb the network more than the
loss of what any map names; then compare the maps with each other. Curves of the same rules differ by the epsilon alone:
Pellucid's default is 1e-6, and LXT adds none to the denominators of layers.

| network | order | area | above Pellucid's | below random orders |
|---|---|---:|---:|---:|
""",
)


def read_rows() -> dict[str, Rows]:
    """Return the rows of the page, by network."""
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
