"""Why does the loss change with this weight? `python examples/explain_a_weight.py [PICTURE] [-o weight.html]`.

Without PICTURE, the input is an enlarged digit of scikit-learn. The model is the shipped `mnist-mlp-100`, Nielsen's
network of 784, 100 and 10 sigmoid units.
"""

import argparse
import io
from pathlib import Path

import torch
from PIL import Image
from sklearn.datasets import load_digits

from pellucid import SGD, Model, shipped_files
from pellucid.tasks.pictures import read_picture
from pellucid.trace import trace


def main() -> None:
    """Explain the weight with the largest gradient, change it, and apply one optimizer step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", nargs="?")
    parser.add_argument("-o", "--out", default="weight.html")
    options = parser.parse_args()
    model = Model.load(shipped_files.pretrained_file("mnist-mlp-100"))
    if options.picture is None:
        digit = Image.fromarray((load_digits().images[12] * 15.9).astype("uint8")).resize((160, 160), Image.BICUBIC)
        file = io.BytesIO()
        digit.save(file, "PNG")
        x = read_picture(model, file.getvalue(), "digit")[None]
    else:
        x = read_picture(model, options.picture)[None]

    passes = trace(model, x, torch.tensor([2]))
    print(passes, end="\n\n")
    why = passes.explain("features.dense1.weight")  # the entry with the largest gradient
    print(why, end="\n\n")
    product = 1.0
    for factor in why.links[0].terms[0].factors:
        product *= factor.value
    gradient = passes[why.name.replace(".weight", ".dweight")].item()
    print(f"delta times activation is {product!r}, the gradient {gradient!r}\n")
    print(passes.nudge(why.name, 0.1), end="\n\n")
    print(passes.step(SGD(0.5)))
    Path(options.out).write_text(f"<meta charset=utf-8>{passes._repr_html_()}{why._repr_html_()}", encoding="utf-8")
    print(f"\nwrote {options.out}")


if __name__ == "__main__":
    main()
