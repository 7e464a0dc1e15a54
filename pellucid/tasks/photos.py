"""Photos of maps of labels, measured beside flat colours."""

from typing import Any, cast

import torch
from torch import Tensor

from pellucid.data import MaskFolder
from pellucid.data.images import strict_warnings
from pellucid.data.label_maps import label_channels
from pellucid.errors import PellucidError
from pellucid.generators import Translator
from pellucid.metrics import PSNR, SSIM, frechet_distance
from pellucid.model import Model
from pellucid.tasks.colorize.measure import BACKBONE, Backbone
from pellucid.tasks.segment.segmenter import mask_folder

TILE = 60  # pixels of the sides of parts of photos that the backbone receives
FLAT = "flat"
FIGURES = {
    "psnr": "PSNR in dB, from the squared error pooled over all pixels",
    "ssim": "structural similarity, the mean over the photos",
    "frechet": f"squared Frechet distance in the features of {BACKBONE}, of tiles of 60 x 60 pixels: ours alone",
}


def is_photo_model(model: Model) -> bool:
    """Return whether a model makes photos of maps of labels."""
    return isinstance(model.objective, Translator) and model.objective.to == "image"


def evaluate(model: Model, data: str | None = None) -> dict[str, Any]:
    """Measure a model that makes photos of maps of labels; data: see `pellucid.tasks.segment.segmenter.mask_folder`.

    Returns psnr, from the pooled error; ssim; frechet, the squared Frechet distance in the features of the shipped
    classifier `cifar` of tiles of 60 x 60 pixels, reduced to 32 x 32; and the same as NAME_flat where each label has
    its mean colour in these photos. n: photos; n_tiles. Raises PellucidError for labels that the model does not have.
    """
    source, count = mask_folder(model, data, None), model.nominal_shape[0] - 1
    objective, judge = cast(Translator, model.objective), Backbone()
    similar = {kind: (PSNR(), SSIM()) for kind in ("", FLAT)}
    features: dict[str, list[Tensor]] = {"": [], FLAT: [], "true": []}
    with strict_warnings(), torch.inference_mode():
        means = _mean_colours(source, count)
        for k in range(len(source)):
            photo, maps = _example(source, k, count)
            made = objective.predict(model.params, model.scaled(maps)).float().cpu().clamp(0, 1)
            flat = torch.einsum("nkhw,kc->nchw", maps.float() / 255, means)
            for kind, found in (("", made), (FLAT, flat)):
                for metric in similar[kind]:
                    metric.update(found, photo)
                features[kind].append(judge(tiles(found)).features)
            features["true"].append(judge(tiles(photo)).features)
    results: dict[str, Any] = {}
    true = torch.cat(features["true"])
    for kind, metrics in similar.items():
        for metric in metrics:
            results |= {_named(name, kind): value for name, value in metric.compute().items()}
        results[_named("frechet", kind)] = frechet_distance(torch.cat(features[kind]), true)
    where = source.tree.where("").rstrip("/:")
    return {**results, "n": len(source), "n_tiles": len(true), "backbone": BACKBONE, "data": where}


def _named(name: str, kind: str) -> str:
    return f"{name}_{kind}" if kind else name


def _example(source: MaskFolder, k: int, count: int) -> tuple[Tensor, Tensor]:
    """Return a photo (1, 3, H, W), 0 to 1, and its map of labels (1, count + 1, H, W) uint8."""
    photo, mask = source.example(k)
    if int(mask.max()) > count:
        raise PellucidError(
            f"{source.tree.where(source.others[k])} holds the label {int(mask.max())}, but the model has labels 0 to "
            f"{count}; give masks of its labels"
        )
    return photo[None].float() / 255, label_channels(mask[None], count)


def _mean_colours(source: MaskFolder, count: int) -> Tensor:
    """Return the mean colour of the pixels of each label, (count + 1, 3)."""
    sums, pixels = torch.zeros(count + 1, 3, dtype=torch.float64), torch.zeros(count + 1, dtype=torch.float64)
    for k in range(len(source)):
        photo, maps = _example(source, k, count)
        there = maps[0].double().flatten(1) / 255  # (count + 1, H W)
        sums += there @ photo[0].double().flatten(1).T
        pixels += there.sum(1)
    return (sums / pixels.clamp_min(1)[:, None]).float()


def tiles(photos: Tensor) -> Tensor:
    """Return the tiles of 60 x 60 pixels beside each other of photos (N, C, H, W); smaller photos as they are."""
    height, width = (min(TILE, size) for size in photos.shape[2:])
    parts = photos.unfold(2, height, height).unfold(3, width, width)  # (N, C, rows, columns, height, width)
    return parts.permute(0, 2, 3, 1, 4, 5).reshape(-1, photos.shape[1], height, width)
