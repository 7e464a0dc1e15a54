"""Comparison of detectors on one split: average precision by the size of objects, and the time of each stage."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.base.text import plural
from pellucid.combine.nets import parameter_counts
from pellucid.data import DetectionFolder
from pellucid.data.augment.standardise import scaled as scaled_images
from pellucid.data.detection import scale_objects
from pellucid.detectors import Detector
from pellucid.detectors.search import Search, selective_search
from pellucid.ops.image_objects import Detections, Objects
from pellucid.recipe.job import load_data
from pellucid.recipe.material import Material
from pellucid.recipe.recipe import Recipe, load_recipe
from pellucid.recipe.resume import train_or_resume
from pellucid.tasks.comparison import (
    ComparedColumn,
    ComparedRow,
    Comparison,
    ComparisonProgress,
    measure_candidates,
    select,
)
from pellucid.tasks.detect.linear import MAX_IMAGES, LinearDetector
from pellucid.tasks.detect.results import coco_evaluation, metrics_of_kind, percent_cell
from pellucid.tasks.detect.stages import StageTimes, mean_stages, timed_predictor

ROI_POOL: Mapping[str, Any] = {"objective.pool": True}


class DetectorCandidate(NamedTuple):
    """A kind of detector. recipe: its name, "" for R-CNN. changes: settings that override those of the recipe."""

    title: str
    recipe: str
    changes: Mapping[str, Any] = {}


CANDIDATES = {
    "rcnn": DetectorCandidate("R-CNN", ""),
    "fast": DetectorCandidate("Fast R-CNN", "bccd-fast"),
    "fast-pool": DetectorCandidate("Fast R-CNN, RoIPool", "bccd-fast", ROI_POOL),
    "faster": DetectorCandidate("Faster R-CNN", "bccd-faster"),
    "faster-pool": DetectorCandidate("Faster R-CNN, RoIPool", "bccd-faster", ROI_POOL),
    "ssd": DetectorCandidate("SSD", "bccd-ssd"),
    "yolo1": DetectorCandidate("YOLO v1", "bccd-yolo1"),
    "yolo3": DetectorCandidate("YOLO v3", "bccd-yolo3"),
    "single": DetectorCandidate("single-stage", "bccd-single"),
}
MASK_CANDIDATES = {
    "mask": DetectorCandidate("Mask R-CNN", "pennfudan-mask"),
    "mask-pool": DetectorCandidate("Mask R-CNN, RoIPool", "pennfudan-mask", ROI_POOL),
}
UNREGRESSED_TITLE = "R-CNN, boxes as proposed"


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.1f}"


# "figures" in keys of columns are figures of merit, such as average precisions.
COLUMNS = (
    ComparedColumn("figures.ap50", "AP50", percent_cell, ranking_title="AP50, in per cent", in_percent=True),
    ComparedColumn("figures.ap", "AP", percent_cell, "the mean over IoU thresholds from 0.5 to 0.95"),
    ComparedColumn(
        "figures.ap_small", "small", percent_cell, "AP below 32 x 32 pixels", "AP of small objects", in_percent=True
    ),
    ComparedColumn("figures.ap_medium", "medium", percent_cell, ranking_title="AP of medium objects", in_percent=True),
    ComparedColumn(
        "figures.ap_large", "large", percent_cell, "AP above 96 x 96 pixels", "AP of large objects", in_percent=True
    ),
)
MASK_COLUMNS = (
    ComparedColumn("masks.ap50", "mask AP50", percent_cell),
    ComparedColumn("masks.ap", "mask AP", percent_cell),
)
TIME_COLUMNS = (
    ComparedColumn(
        "stages.features", "features", _milliseconds, "ms for the maps of the image; R-CNN's are of each proposal"
    ),
    ComparedColumn(
        "stages.proposals", "proposals", _milliseconds, "ms for what a first network, a search or a file gives"
    ),
    ComparedColumn("stages.heads", "heads", _milliseconds, "ms for what is computed for each proposal or cell"),
    ComparedColumn("stages.decision", "decision", _milliseconds, "ms for the threshold and the suppression of boxes"),
    ComparedColumn("seconds", "ms / image", _milliseconds, ranking_title="Milliseconds per image"),
)
METRICS = ("ap", "ap50", "ap_small", "ap_medium", "ap_large")


def comparison_of(
    data: str, train: int, held_out: int, seed: int, proposals: str, rows: tuple[ComparedRow, ...]
) -> Comparison:
    """Return the comparison of the rows of detectors.

    train, held_out: numbers of images. proposals: the source of R-CNN's proposals.
    """
    threads = torch.get_num_threads()
    has_masks = rows[0].values["masks"] is not None
    notes = [
        f"AP in per cent on {held_out} held-out images, in their own pixels. Milliseconds for one image at a time on "
        f"{plural(threads, 'thread')}."
    ]
    if not all(row.run for row in rows):
        notes.append(
            f"R-CNN learned from {min(MAX_IMAGES, train)} of the {train} training images, without fine-tuning; its "
            f"proposals are from {proposals}."
        )
    return Comparison(
        title=f"Detectors on {data}",
        noun="detector",
        facts={
            "data": data,
            "train": train,
            "held_out": held_out,
            "seed": seed,
            "threads": threads,
            "proposals": proposals,
        },
        columns=[*COLUMNS, *(MASK_COLUMNS if has_masks else ()), *TIME_COLUMNS],
        rows=rows,
        examples=held_out,
        notes=notes,
    )


def compare_detectors(
    name: str,
    root: str | os.PathLike[str] | None = None,
    seed: int = 0,
    only: Collection[str] = (),
    overrides: Mapping[str, Any] | None = None,
    runs: str | os.PathLike[str] = "runs",
    proposals: dict[str, Tensor] | Search = "selective_search",
    progress: ComparisonProgress = lambda title, number, total: None,
    verbose: bool = False,
) -> Comparison:
    """Train the detectors of CANDIDATES on annotated images, or of MASK_CANDIDATES for masks, and measure each.

    name, root: see `pellucid.data.catalogue.load`. only: names of candidates, () for all. overrides: settings for all
    recipes. runs: the folder of run folders; a finished run of the same recipe is not repeated, an unfinished one is
    resumed. proposals: for R-CNN, boxes by file name, or the name of a search. progress: see `measure_candidates`.
    verbose: whether to print the progress of trainings. Raises PellucidError for an unknown candidate, and for data
    without objects.
    """
    base_recipe = load_recipe("bccd-single", {"data.name": name, **(overrides or {})})
    material = load_data(base_recipe, root)
    if not isinstance(material.train, DetectionFolder):
        raise PellucidError(f"{name} has no annotated objects; give data with boxes, such as bccd")
    unknown_detector = f"there is no detector {{!r}} for {name}"
    candidates = select(MASK_CANDIDATES if material.train.has_masks else CANDIDATES, only, unknown_detector)
    settings = {"data.name": name, "objective.classes": len(material.train.classes or ()), "recipe.seed": seed}
    if proposals == "selective_search" and "rcnn" in candidates:
        selective_search(torch.zeros(3, 32, 32))  # raises PellucidError if the package is missing

    def measure_candidate(key: str, candidate: DetectorCandidate) -> Iterable[ComparedRow]:
        if not candidate.recipe:
            return _measure_linear(key, material, proposals, seed, root)
        recipe = load_recipe(candidate.recipe, {**candidate.changes, **settings, **(overrides or {})})
        return [_train_and_measure(key, candidate.title, recipe, root, runs=Path(runs), verbose=verbose)]

    rows = measure_candidates(candidates, measure_candidate, progress)
    held_out = material.validation or material.test
    source = proposals if isinstance(proposals, str) else "a file"
    return comparison_of(
        name, train=len(material.train), held_out=len(held_out), seed=seed, proposals=source, rows=rows
    )


def _train_and_measure(
    key: str, title: str, recipe: Recipe, root: str | os.PathLike[str] | None, runs: Path, verbose: bool
) -> ComparedRow:
    material = load_data(recipe, root)
    run_result = train_or_resume(recipe, material, runs, root, verbose)
    model = run_result.model
    held_out = material.validation or material.test
    assert isinstance(held_out, DetectionFolder)
    assert isinstance(model.objective, Detector)
    predict, detections, stages = timed_predictor(model.objective, model.params), [], []
    with torch.inference_mode():
        predict(scaled_images(held_out.example(0)[0][None], model.stats))  # the first pass allocates memory
        for k in range(len(held_out)):
            image_detections, image_times = predict(scaled_images(held_out.example(k)[0][None], model.stats))
            detections.append(_scale_to_file(image_detections, held_out, k))
            stages.append(image_times)
    n_parameters = parameter_counts(model.objective.nets, model.params).parameters
    return _compared_detector(
        key, title, held_out, detections, stages, n_parameters=n_parameters, run=str(run_result.path)
    )


def _measure_linear(
    key: str,
    material: Material[Any],
    proposals: dict[str, Tensor] | Search,
    seed: int,
    root: str | os.PathLike[str] | None,
) -> Iterator[ComparedRow]:
    """Yield the rows of R-CNN: with the boxes as proposed, and with regressed boxes."""
    held_out = material.validation or material.test
    with torch.inference_mode():
        detector = LinearDetector(len(material.train.classes), proposals, root).fit(material.train, seed)
        timed_detections = [detector.detections(held_out, k) for k in range(len(held_out))]
    stages = [timed.stages for timed in timed_detections]
    for name, title, attribute in (
        (f"{key}-unmoved", UNREGRESSED_TITLE, "unregressed"),
        (key, CANDIDATES[key].title, "regressed"),
    ):
        detections = [
            _scale_to_file(getattr(timed, attribute), held_out, k) for k, timed in enumerate(timed_detections)
        ]
        yield _compared_detector(name, title, held_out, detections, stages, n_parameters=detector.parameters, run="")


def _compared_detector(
    key: str,
    title: str,
    test: DetectionFolder,
    detections: list[Detections],
    stages: list[StageTimes],
    n_parameters: int,
    run: str,
) -> ComparedRow:
    objects = [_objects_in_file(test, k) for k in range(len(test))]
    boxes = coco_evaluation("boxes", detections, objects)
    metrics, masks = boxes.figures(), metrics_of_kind("masks", detections, objects)
    mean_times = mean_stages(stages)
    ap50 = boxes.weighted_figures(["ap50"])  # a function of the weights of the images
    values = {
        "figures": {name: metrics[name] for name in METRICS},
        "masks": None if masks is None else {name: masks[name] for name in ("ap", "ap50")},
        "stages": mean_times._asdict(),  # seconds per image
        "seconds": mean_times.total,
        "parameters": n_parameters,
        "run": run,
    }
    return ComparedRow(key, title, values, weighted_value=lambda weights: ap50(weights)["ap50"], run=run)


def _objects_in_file(test: DetectionFolder, k: int) -> Objects:
    """Return the objects of image k in the pixels of its file."""
    return test.records[k].objects(len(test.keypoints), test.has_masks)


def _scale_to_file(detections: Detections, test: DetectionFolder, k: int) -> Detections:
    """Return the detections in image k, scaled from the network's input to the pixels of its file."""
    return scale_objects(detections, test.size_of(k), test.records[k].size)
