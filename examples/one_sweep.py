"""Draw one forward and one backward pass: `python examples/one_sweep.py [PICTURE] [-o sweep.png]`.

Without PICTURE, the input is an enlarged digit of scikit-learn. The model is the shipped `mnist-lenet`.
"""

import argparse
import io

import torch
from matplotlib.figure import Figure
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor

from pellucid import Mode, Model, shipped_files
from pellucid.sweep import backward, forward
from pellucid.tasks.pictures import read_picture

SHOWN_PATHS = (
    "features.conv1",
    "features.relu1",
    "features.pool1",
    "features.conv2",
    "features.relu2",
    "features.pool2",
    "head.relu1",
    "head.relu2",
    "head.scores",
)


def mosaic(maps: Tensor) -> Tensor:
    """Return the maps (C, H, W), or a vector, as a grid in one picture (height, width); gaps are NaN."""
    if maps.dim() == 1:
        width = -(-len(maps) // 12)
        return torch.nn.functional.pad(maps, (0, 12 * width - len(maps)), value=torch.nan).view(12, width)
    columns = {1: 1, 6: 2}.get(len(maps), 4)
    rows = -(-len(maps) // columns)
    padding = maps.new_full((rows * columns - len(maps), *maps.shape[1:]), torch.nan)
    framed = torch.nn.functional.pad(torch.cat([maps, padding]), (1, 1, 1, 1), value=torch.nan)
    grid = framed.view(rows, columns, *framed.shape[1:]).transpose(1, 2)
    return grid.reshape(rows * framed.shape[1], columns * framed.shape[2])


def main() -> None:
    """Run the network forward and backward, and draw the outputs and output gradients of its layers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", nargs="?")
    parser.add_argument("-o", "--out", default="sweep.png")
    options = parser.parse_args()
    model = Model.load(shipped_files.pretrained_file("mnist-lenet"))
    if options.picture is None:
        digit = Image.fromarray((load_digits().images[12] * 15.9).astype("uint8")).resize((160, 160), Image.BICUBIC)
        file = io.BytesIO()
        digit.save(file, "PNG")
        x = read_picture(model, file.getvalue(), "digit")[None]
    else:
        x = read_picture(model, options.picture)[None]

    outputs: dict[str, Tensor] = {"": x}
    output_gradients: dict[str, Tensor] = {}
    y, cache = forward(model.net, model.params, x, Mode(), lambda path, layer, x, y, cache: outputs.update({path: y}))
    label = int(y.argmax())
    _, dy = model.loss(y, torch.tensor([(label + 1) % 10]))  # the next digit is the label
    dx, _ = backward(
        model.net,
        model.params,
        cache,
        dy,
        watch=lambda path, layer, dy, dx, dparams: output_gradients.update({path: dy}),
    )
    columns = [("input", x[0], dx[0]), *((path, outputs[path][0], output_gradients[path][0]) for path in SHOWN_PATHS)]
    figure = Figure((1.45 * len(columns), 4.6), layout="constrained")
    grid = figure.subplots(2, len(columns), width_ratios=[1.2] * 7 + [0.9, 0.7, 0.35])
    for column, (path, value, gradient) in enumerate(columns):
        grid[0][column].imshow(mosaic(value).numpy(), cmap="gray")
        limit = float(gradient.abs().max()) or 1.0
        grid[1][column].imshow(mosaic(gradient).numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
        grid[0][column].set_title(f"{path}\n{'x'.join(map(str, value.shape))}", fontsize=9)
        grid[1][column].set_title(f"within ±{limit:.2g}", fontsize=8)
        for axes in (grid[0][column], grid[1][column]):
            axes.set_axis_off()
    figure.suptitle(
        f"above: forward, it reads {label}   ·   below: backward, the gradient that would make it {(label + 1) % 10}"
    )
    figure.savefig(options.out, dpi=90)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
