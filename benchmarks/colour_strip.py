"""Draw good, mediocre and wrong colours: `python -m benchmarks.colour_strip MODEL --data DIR ... --out FILE`.

Photos are drawn evenly from folders, such as those that the model's training never saw. They are ranked by how much
closer to the true colours than grey the model's are, in the mean CIEDE2000; the strip shows the best, those in the
middle and the worst, so that nobody chooses. The gain of each photo is printed.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.command.models import open_model
from pellucid.data.images import load_image
from pellucid.data.tree import open_tree
from pellucid.files import write_atomically
from pellucid.ops.colour import delta_e_2000, rgb_to_lab
from pellucid.report.figures.style import INK, SMALL, WIDE, cut, panels, png
from pellucid.tasks.colorize.colorizer import Colorizer
from pellucid.tasks.colorize.measure import colour_images

ROWS = ("grey", "colorized", "true")
GROUPS = ("good", "mediocre", "wrong")


class Photo(NamedTuple):
    """A photo in grey, colorized and in true colours, and by how much CIEDE2000 colorizing makes it closer to these."""

    name: str
    pictures: tuple[Tensor, Tensor, Tensor]
    gain: float


def photos(folders: list[str], colorizer: Colorizer, grey: Colorizer, n: int) -> list[Photo]:
    """Return n photos, drawn evenly from each folder, the best first."""
    found: list[Photo] = []
    for number, folder in enumerate(folders):
        share = n // len(folders) + (number < n % len(folders))
        with open_tree(folder) as tree:
            names = colour_images(tree)
            for k in range(min(share, len(names))):
                name = names[k * len(names) // share]
                image = load_image(tree.read(name), tree.where(name))
                pictures = grey(image), colorizer(image), image
                lab = [rgb_to_lab(one.float() / 255) for one in pictures]
                off, left = (float(delta_e_2000(one, lab[2]).mean()) for one in lab[:2])
                found.append(Photo(f"{Path(folder).name}/{Path(name).name}", pictures, off - left))
    return sorted(found, key=lambda one: -one.gain)


def strip(ranked: list[Photo], each: int) -> bytes:
    """Return the picture as PNG: `each` photos of each group, a column for each photo."""
    if len(ranked) < len(GROUPS) * each:
        raise SystemExit(f"{len(ranked)} photos are too few for {len(GROUPS)} groups of {each}; give more, or --each")
    middle = (len(ranked) - each) // 2
    chosen = [*ranked[:each], *ranked[middle : middle + each], *ranked[-each:]]
    columns, gap = len(chosen), 0.05
    side = (WIDE - gap * (columns + 1)) / columns
    figure, plots = panels(len(ROWS) * columns, columns, side, side, gap, name=0.18, left=gap)
    for row, kind in enumerate(ROWS):
        for column, photo in enumerate(chosen):
            plot = plots[row * columns + column]
            plot.imshow(squared(photo.pictures[row]).permute(1, 2, 0).numpy(), interpolation="antialiased")
            plot.set_axis_off()
            title = f"{GROUPS[column // each]}: {photo.gain:+.1f}" if row == 0 else cut(kind if column == 0 else "")
            plot.set_title(title, fontsize=SMALL, color=INK, pad=2)
    return png(figure)


def squared(image: Tensor) -> Tensor:
    """Return the largest square in the middle of an image (3, H, W)."""
    side = min(image.shape[1:])
    top, left = ((size - side) // 2 for size in image.shape[1:])
    return image[:, top : top + side, left : left + side]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--data", nargs="+", required=True, metavar="DIR")
    parser.add_argument("--n", type=int, default=20, help="photos (default: 20)")
    parser.add_argument("--each", type=int, default=2, help="photos of each group (default: 2)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    args = parser.parse_args()
    model = open_model(args.model)
    ranked = photos(args.data, Colorizer(model), Colorizer(model, 0), args.n)
    for photo in ranked:
        print(f"{photo.gain:+6.2f}  {photo.name}")
    gains = torch.tensor([photo.gain for photo in ranked])
    print(f"{int((gains > 0).sum())} of {len(ranked)} photos are closer to their true colours than grey is")
    write_atomically(args.out, strip(ranked, args.each))


if __name__ == "__main__":
    main()
