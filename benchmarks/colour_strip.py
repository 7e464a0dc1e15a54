"""Draw a strip of photos colorized well and badly: `python -m benchmarks.colour_strip MODEL --data DIR ... --out FILE`.

Photos are taken at even intervals from each folder, for example from folders that the model was not trained on. The
gain of a photo is the mean CIEDE2000 difference of the grey image from the true colours minus that of the colorized
image. The strip shows the photos with the largest, the middle and the smallest gains, so no photo is chosen by hand.
The gain of each photo is printed.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.base.files import write_atomically
from pellucid.command.models import open_model
from pellucid.data.images import load_image
from pellucid.data.tree import open_tree
from pellucid.ops.colour import delta_e_2000, rgb_to_lab
from pellucid.report.figures.style import FIGURE_WIDTH, INK, SMALL, panels, png, truncate
from pellucid.tasks.colorize.colorizer import Colorizer
from pellucid.tasks.colorize.measure import colour_images

ROW_TITLES = ("grey", "colorized", "true")
GROUP_TITLES = ("good", "mediocre", "wrong")


class Photo(NamedTuple):
    """A photo: its grey, colorized and true images (3, H, W), and the gain of colorizing in mean CIEDE2000."""

    name: str
    pictures: tuple[Tensor, Tensor, Tensor]
    gain: float


def rank_photos(folders: list[str], colorizer: Colorizer, grey: Colorizer, n: int) -> list[Photo]:
    """Return n photos, taken at even intervals from each folder, sorted by descending gain."""
    photos: list[Photo] = []
    for number, folder in enumerate(folders):
        n_of_folder = n // len(folders) + (number < n % len(folders))
        with open_tree(folder) as tree:
            names = colour_images(tree)
            for k in range(min(n_of_folder, len(names))):
                name = names[k * len(names) // n_of_folder]
                image = load_image(tree.read(name), tree.where(name))
                pictures = grey(image), colorizer(image), image
                lab = [rgb_to_lab(one.float() / 255) for one in pictures]
                grey_error, model_error = (float(delta_e_2000(one, lab[2]).mean()) for one in lab[:2])
                photos.append(Photo(f"{Path(folder).name}/{Path(name).name}", pictures, grey_error - model_error))
    return sorted(photos, key=lambda one: -one.gain)


def strip_png(ranked: list[Photo], per_group: int) -> bytes:
    """Return the strip as PNG: `per_group` photos of each group, one column per photo."""
    if len(ranked) < len(GROUP_TITLES) * per_group:
        raise SystemExit(
            f"{len(ranked)} photos are too few for {len(GROUP_TITLES)} groups of {per_group}; give more, or --each"
        )
    middle = (len(ranked) - per_group) // 2
    selected = [*ranked[:per_group], *ranked[middle : middle + per_group], *ranked[-per_group:]]
    columns, gap = len(selected), 0.05
    side = (FIGURE_WIDTH - gap * (columns + 1)) / columns
    figure, plots = panels(len(ROW_TITLES) * columns, columns, side, side, gap, name_height=0.18, left=gap)
    for row, kind in enumerate(ROW_TITLES):
        for column, photo in enumerate(selected):
            plot = plots[row * columns + column]
            plot.imshow(centre_square(photo.pictures[row]).permute(1, 2, 0).numpy(), interpolation="antialiased")
            plot.set_axis_off()
            title = (
                f"{GROUP_TITLES[column // per_group]}: {photo.gain:+.1f}"
                if row == 0
                else truncate(kind if column == 0 else "")
            )
            plot.set_title(title, fontsize=SMALL, color=INK, pad=2)
    return png(figure)


def centre_square(image: Tensor) -> Tensor:
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
    ranked = rank_photos(args.data, Colorizer(model), Colorizer(model, 0), args.n)
    for photo in ranked:
        print(f"{photo.gain:+6.2f}  {photo.name}")
    gains = torch.tensor([photo.gain for photo in ranked])
    print(f"{int((gains > 0).sum())} of {len(ranked)} photos are closer to their true colours than grey is")
    write_atomically(args.out, strip_png(ranked, args.each))


if __name__ == "__main__":
    main()
