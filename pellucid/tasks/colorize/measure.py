"""Evaluation of colorizers on colour images, with grey images as the baseline."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid import shipped_files
from pellucid.base.errors import PellucidError
from pellucid.base.files import is_picture
from pellucid.base.text import note
from pellucid.calibration.familiarity import features
from pellucid.data.files import readable_images
from pellucid.data.images import load_image
from pellucid.data.mask_layouts import MASK_SUFFIX, mask_layout
from pellucid.data.parts import HELD_OUT_PARTS, parts_among, standard_part
from pellucid.data.tree import Tree, open_tree
from pellucid.layers.base import Mode
from pellucid.metrics import PSNR, SSIM, ab_histogram, colourfulness_lab, colourfulness_rgb, frechet_distance, overlap
from pellucid.model import Model
from pellucid.ops.colour import delta_e_2000, recolour, rgb_to_lab
from pellucid.tasks.annotated import data_path
from pellucid.tasks.colorize.colorizer import Colorizer
from pellucid.training.distributed import ALONE, Processes

BATCH_PIXELS = 1 << 18  # pixels of a batch of images of one size
BACKBONE = "cifar"  # the shipped classifier whose features and predictions are compared
BACKBONE_SIDE = 32  # pixels, the side of its input images
MAX_BACKBONE_IMAGES = 2000  # images that the classifier receives, evenly spaced among all images
IMAGES_PER_PART = 64  # images whose metrics are added up at a time
GREY = "grey"  # name of the baseline: a and b are 0
TRUE = "true"  # key of the metrics of the true colours; the other keys are names of models and GREY
LOWER_IS_BETTER = ("delta_e", "frechet")  # metrics for which lower is better
METRIC_DESCRIPTIONS = {
    "psnr": "PSNR in dB, from the squared error of sRGB pooled over all pixels",
    "ssim": "structural similarity, the mean over the images of at least 11 x 11 pixels",
    "delta_e": "CIEDE2000, the mean over all pixels",
    "ab_overlap": "overlap of the histograms of a and b, in bins of 10 x 10, from 0 to 1",
    "colourfulness": "colourfulness M3 of Hasler and Suesstrunk 2003, of R - G and (R + G) / 2 - B",
    "colourfulness_lab": "colourfulness M1 of the same authors, of a and b",
    "answers": f"fraction of images to which {BACKBONE} assigns the same class as in true colours",
    "frechet": f"squared Frechet distance of the 256 features of {BACKBONE}, images reduced to 32 x 32; not the FID",
}


class BackboneOutputs(NamedTuple):
    """The outputs of the backbone for images: features (n, 256) and predicted classes (n,)."""

    features: Tensor
    classes: Tensor


@dataclass
class ColourMetrics:
    """The accumulated metrics of images in some colours, compared with the same images in true colours."""

    psnr: PSNR = field(default_factory=PSNR)
    ssim: SSIM = field(default_factory=SSIM)
    delta_e: float = 0.0
    colourfulness_sums: Tensor = field(default_factory=lambda: torch.zeros(2, dtype=torch.float64))
    histogram: Tensor = field(default_factory=lambda: torch.zeros(()))
    backbone_outputs: list[BackboneOutputs] = field(default_factory=list)

    def add(self, colours: Tensor, true: Tensor, outputs: BackboneOutputs | None) -> None:
        """Add images (N, 3, H, W), sRGB from 0 to 1; outputs: the backbone's, for the images that it receives."""
        lab = rgb_to_lab(colours)
        self.psnr.update(colours, true)
        self.ssim.update(colours, true)
        self.delta_e += float(delta_e_2000(lab, rgb_to_lab(true)).double().sum())
        self.colourfulness_sums += torch.stack((colourfulness_rgb(colours).sum(), colourfulness_lab(lab).sum()))
        self.histogram = self.histogram + ab_histogram(lab)
        if outputs is not None:
            self.backbone_outputs.append(outputs)

    def merge(self, other: "ColourMetrics") -> None:
        """Add the metrics of later images."""
        self.psnr.merge(other.psnr)
        self.ssim.merge(other.ssim)
        self.delta_e += other.delta_e
        self.colourfulness_sums += other.colourfulness_sums
        self.histogram = self.histogram + other.histogram
        self.backbone_outputs += other.backbone_outputs

    def compute(self, true: "ColourMetrics", n_images: int) -> dict[str, float | None]:
        """Return the metrics of METRIC_DESCRIPTIONS by name; true: the metrics of the same images in true colours."""
        outputs, true_outputs = (
            BackboneOutputs(*map(torch.cat, zip(*metrics.backbone_outputs, strict=True))) for metrics in (self, true)
        )
        rgb, lab = (self.colourfulness_sums / n_images).tolist()
        return {
            **self.psnr.compute(),
            **self.ssim.compute(),
            "delta_e": self.delta_e / int(self.histogram.sum()),
            "ab_overlap": overlap(self.histogram.double(), true.histogram.double()),
            "colourfulness": rgb,
            "colourfulness_lab": lab,
            "answers": float((outputs.classes == true_outputs.classes).double().mean()),
            "frechet": frechet_distance(outputs.features, true_outputs.features) if len(outputs.features) > 1 else None,
        }


@dataclass(frozen=True)
class MeasuredColorizers:
    """The metrics of several models.

    rows: the metrics by name, for each model and "grey". true: the metrics of the true colours. n_images: the number of
    images. backbone_images: the number of images that the backbone received. data: the folder or zip.
    """

    rows: dict[str, dict[str, float | None]]
    true: dict[str, float | None]
    n_images: int
    backbone_images: int
    data: str


def evaluate(model: Model, data: str | None = None, processes: Processes = ALONE) -> dict[str, Any]:
    """Evaluate a colorizer on the images of `colour_images`, colour images of any size.

    Returns each metric of METRIC_DESCRIPTIONS, the metrics of grey images as NAME_grey, and the colourfulness of the
    true images as colourfulness_true; n; n_judged, the number of images for answers and frechet; and the data. skipped
    is empty, since a file that cannot be read raises PellucidError.
    """
    measurements = measure({"": model}, data, processes)
    grey = {f"{name}_grey": value for name, value in measurements.rows[GREY].items()}
    true = {f"{name}_true": measurements.true[name] for name in ("colourfulness", "colourfulness_lab")}
    about = {
        "n": measurements.n_images,
        "n_judged": measurements.backbone_images,
        "backbone": BACKBONE,
        "data": measurements.data,
        "skipped": {},
    }
    return {**measurements.rows[""], **grey, **true, **about}


def measure(models: Mapping[str, Model], data: str | None, processes: Processes = ALONE) -> MeasuredColorizers:
    """Evaluate several colorizers on the same images; data: see `data_path`, None for the first model's data set.

    Raises PellucidError if an image cannot be read, or if there are no images.
    """
    colorizers = {name: Colorizer(model) for name, model in models.items()}
    path = data_path(next(iter(models.values())), data)
    backbone = CifarBackbone()
    metrics_by_name = {name: ColourMetrics() for name in (*colorizers, GREY)}
    true = ColourMetrics()
    with open_tree(path) as tree:
        files = readable_images(tree, colour_images(tree))
        if data is None and not any(
            standard_part(folder) in HELD_OUT_PARTS for name in files for folder in name.split("/")[:-1]
        ):
            note(f"{path} has no held-out part: all its images are measured, including training images")
        backbone_indices = {
            k * len(files) // min(len(files), MAX_BACKBONE_IMAGES) for k in range(min(len(files), MAX_BACKBONE_IMAGES))
        }

        def measure_part(start: int) -> dict[str, ColourMetrics]:
            part_metrics = {name: ColourMetrics() for name in (TRUE, *metrics_by_name)}
            for indices, images in _batches(tree, files, range(start, min(start + IMAGES_PER_PART, len(files)))):
                is_for_backbone = torch.tensor([index in backbone_indices for index in indices])
                lightness = rgb_to_lab(images)[:, :1]
                ab = {name: colorizer.ab(lightness) for name, colorizer in colorizers.items()}
                ab[GREY] = torch.zeros_like(images[:, :2])
                part_metrics[TRUE].add(images, images, backbone(images[is_for_backbone]))
                for name in metrics_by_name:
                    predicted = (recolour(lightness, ab[name]) * 255).round() / 255  # as in 8-bit files
                    part_metrics[name].add(predicted, images, backbone(predicted[is_for_backbone]))
            return part_metrics

        for part in processes.shared(range(0, len(files), IMAGES_PER_PART), measure_part):
            for name, metrics in ((TRUE, true), *metrics_by_name.items()):
                metrics.merge(part[name])
    if not files:
        raise PellucidError(f"{path} contains no images; give a folder of colour images")
    rows = {name: metrics.compute(true, len(files)) for name, metrics in metrics_by_name.items()}
    n_judged_images = sum(len(outputs.classes) for outputs in true.backbone_outputs)
    return MeasuredColorizers(
        rows=rows,
        true=true.compute(true, len(files)),
        n_images=len(files),
        backbone_images=n_judged_images,
        data=str(path),
    )


def colour_images(tree: Tree) -> list[str]:
    """Return the image files of a folder or zip, without masks; with a train folder, only those of the held-out part.

    If there is a train folder but no held-out part, all image files are returned.
    """
    folders = {file: file.split("/")[:-1] for file in tree.names if is_picture(file)}
    masks = {name for pairs in mask_layout(tree).values() for name in pairs.masks.values()}
    files = [
        file
        for file, parents in folders.items()
        if file not in masks and not any(parent.endswith(MASK_SUFFIX) for parent in parents)
    ]
    folder_names = {folder for file in files for folder in folders[file]}
    parts = parts_among(filter(standard_part, folder_names))
    if parts.train is None or parts.held_out is None:
        return files
    parts.note_used_parts(tree.path)
    return [file for file in files if parts.held_out in folders[file]]


def _batches(tree: Tree, files: Sequence[str], positions: range) -> Iterator[tuple[list[int], Tensor]]:
    """Yield batches of consecutive images of one size: their indices in `files`, and the images (N, 3, H, W), 0..1."""
    indices: list[int] = []
    images: list[Tensor] = []
    for index in positions:
        image = load_image(tree.read(files[index]), tree.where(files[index])).float() / 255
        is_full = (len(images) + 1) * image[0].numel() > BATCH_PIXELS
        if images and (is_full or image.shape != images[0].shape):
            yield indices, torch.stack(images)
            indices, images = [], []
        indices.append(index)
        images.append(image)
    if images:
        yield indices, torch.stack(images)


class CifarBackbone:
    """The shipped classifier of CIFAR-10; images are resized to its input size of 32 x 32."""

    def __init__(self) -> None:
        self._model = Model.load(shipped_files.pretrained_file(BACKBONE))
        self._head = self._model.layers[-1]  # Dense

    def __call__(self, images: Tensor) -> BackboneOutputs:
        """Return the features and predicted classes for images (N, 3, H, W), 0 to 1."""
        if tuple(images.shape[2:]) != (BACKBONE_SIDE, BACKBONE_SIDE):
            images = F.interpolate(images, (BACKBONE_SIDE, BACKBONE_SIDE), mode="bilinear", antialias=True)
        model, path = self._model, self._head.path
        if not len(images):
            return BackboneOutputs(
                torch.zeros(0, self._head.params["weight"].shape[1]), torch.zeros(0, dtype=torch.int64)
            )
        outputs = features(model.net, model.params, images, [path], model.stats)[path]
        with torch.inference_mode():
            scores, _ = self._head.layer.forward(dict(self._head.params), outputs, Mode(keep=False))
        return BackboneOutputs(outputs, scores.argmax(1))
