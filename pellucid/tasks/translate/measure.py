"""Evaluation of photos generated from label maps, with the mean colour of each label as a baseline."""

from itertools import chain
from typing import Any, cast

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.data import MaskFolder
from pellucid.data.images import pillow_warnings_as_errors
from pellucid.data.source import label_channels
from pellucid.generators import Translator
from pellucid.metrics import PSNR, SSIM, Metric, frechet_distance
from pellucid.model import Model
from pellucid.tasks.colorize.measure import BACKBONE, CifarBackbone
from pellucid.tasks.segment.segmenter import mask_folder
from pellucid.training.distributed import ALONE, Processes

TILE_SIDE = 60  # pixels, the side of the tiles of photos that the backbone receives
FLAT = "flat"  # name of the baseline, in which each label has its mean colour
METRIC_DESCRIPTIONS = {
    "psnr": "PSNR in dB, from the squared error pooled over all pixels",
    "ssim": "structural similarity, the mean over the photos",
    "frechet": f"squared Frechet distance of the features of {BACKBONE}, on tiles of 60 x 60 pixels; not the FID",
}


def evaluate(model: Model, data: str | None = None, processes: Processes = ALONE) -> dict[str, Any]:
    """Evaluate a model that generates photos from label maps; data: see `pellucid.tasks.segment.segmenter.mask_folder`.

    Returns psnr, from the pooled squared error; ssim; frechet, the squared Frechet distance of the features of the
    shipped classifier `cifar`, for tiles of 60 x 60 pixels, reduced to 32 x 32; the same metrics as NAME_flat for a
    baseline, in which each label has its mean colour in these photos; n and n_tiles, the numbers of photos and tiles;
    and the path of the data. Raises PellucidError for labels that the model does not have.
    """
    source, n_labels = mask_folder(model, data, None), model.nominal_shape[0] - 1
    objective, backbone = cast(Translator, model.objective), CifarBackbone()
    metrics_by_kind = {kind: (PSNR(), SSIM()) for kind in ("", FLAT)}
    features: dict[str, list[Tensor]] = {"": [], FLAT: [], "true": []}
    with pillow_warnings_as_errors(), torch.inference_mode():
        mean_colours = _mean_colours(source, n_labels)

        def measure_photo(k: int) -> tuple[list[Metric], dict[str, Tensor]]:
            photo, maps = _example(source, k, n_labels)
            generated_images = objective.predict(model.params, model.scaled(maps)).float().cpu().clamp(0, 1)
            flat_photo = torch.einsum("nkhw,kc->nchw", maps.float() / 255, mean_colours)
            metrics: list[Metric] = [PSNR(), SSIM(), PSNR(), SSIM()]
            for metric, images in zip(
                metrics, (generated_images, generated_images, flat_photo, flat_photo), strict=True
            ):
                metric.update(images, photo)
            images_by_kind = {"": generated_images, FLAT: flat_photo, "true": photo}
            return metrics, {kind: backbone(tiles(images)).features for kind, images in images_by_kind.items()}

        for photo_metrics, photo_features in processes.shared(range(len(source)), measure_photo):
            for metric, photo_metric in zip(chain(*metrics_by_kind.values()), photo_metrics, strict=True):
                metric.merge(photo_metric)
            for kind, kind_features in photo_features.items():
                features[kind].append(kind_features)
    results: dict[str, Any] = {}
    true_features = torch.cat(features["true"])
    for kind, metrics in metrics_by_kind.items():
        for metric in metrics:
            results |= {_metric_key(name, kind): value for name, value in metric.compute().items()}
        results[_metric_key("frechet", kind)] = frechet_distance(torch.cat(features[kind]), true_features)
    path = source.tree.where("").rstrip("/:")
    return {**results, "n": len(source), "n_tiles": len(true_features), "backbone": BACKBONE, "data": path}


def _metric_key(name: str, kind: str) -> str:
    return f"{name}_{kind}" if kind else name


def _example(source: MaskFolder, k: int, n_labels: int) -> tuple[Tensor, Tensor]:
    """Return a photo (1, 3, H, W), 0 to 1, and its label map (1, n_labels + 1, H, W) uint8."""
    photo, mask = source.example(k)
    if int(mask.max()) > n_labels:
        raise PellucidError(
            f"{source.tree.where(source.others[k])} has the label {int(mask.max())}, but the model has labels 0 to "
            f"{n_labels}; give masks of its labels"
        )
    return photo[None].float() / 255, label_channels(mask[None], n_labels)


def _mean_colours(source: MaskFolder, n_labels: int) -> Tensor:
    """Return the mean colour of the pixels of each label, (n_labels + 1, 3)."""
    colour_sums, pixel_counts = (
        torch.zeros(n_labels + 1, 3, dtype=torch.float64),
        torch.zeros(n_labels + 1, dtype=torch.float64),
    )
    for k in range(len(source)):
        photo, maps = _example(source, k, n_labels)
        label_masks = maps[0].double().flatten(1) / 255  # (n_labels + 1, H W)
        colour_sums += label_masks @ photo[0].double().flatten(1).T
        pixel_counts += label_masks.sum(1)
    return (colour_sums / pixel_counts.clamp_min(1)[:, None]).float()


def tiles(photos: Tensor) -> Tensor:
    """Return adjacent tiles of 60 x 60 pixels of photos (N, C, H, W), with shorter sides for smaller photos."""
    height, width = (min(TILE_SIDE, size) for size in photos.shape[2:])
    parts = photos.unfold(2, height, height).unfold(3, width, width)  # (N, C, rows, columns, height, width)
    return parts.permute(0, 2, 3, 1, 4, 5).reshape(-1, photos.shape[1], height, width)
