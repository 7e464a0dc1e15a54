"""Explanations of one box of a detector: a page and attribution maps as files, and the score of a box."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import PellucidError
from pellucid.command.out import repeat_command
from pellucid.data import load_image
from pellucid.data.images import read_full_size
from pellucid.model import Model
from pellucid.ops.boxes import box_iou
from pellucid.report.write import write_picture
from pellucid.task import Explained, Request
from pellucid.task.score_to_explain import Area, ScoreToExplain
from pellucid.tasks.detect.finder import ObjectFinder
from pellucid.tasks.detect.pipeline import LAYER_METHODS, METHODS, SIDES, WITHOUT_BIAS, run_detector
from pellucid.tasks.detect.pipeline_page import BoxPage, sentences


def explain_box(model: Model, request: Request, box: int) -> Explained:
    """Write the page and the attribution maps of a box; the lines of the result are the sentences of the page.

    box: the number of the box, from 1. Raises PellucidError if there is no such box.
    """
    out = request.folder(f"box{box}")
    image = load_image(
        read_full_size(request.image_source, request.image), request.image, mode=ObjectFinder(model).mode
    )
    methods = list(METHODS) if request.method is None else [request.method]
    box_page = BoxPage(run_detector(model, image), box, request.target, methods)
    options = {"--box": box, "--target": request.target, "--method": request.method, "--out": request.out}
    command = repeat_command(["explain", request.model, request.image], options, ())
    page = box_page.page(f"{box_page.title} of {Path(request.image).name}", command)
    files = [page.write(out / "page.html")]
    arrays = {"image": box_page.steps.image, "box": box_page.boxes[box_page.detection_index]}
    for method, map_ in box_page.maps.items():
        figure = page.figures[method]
        assert figure is not None
        files += write_picture(out, method, figure, {"map": map_, **arrays})
    lines = [
        line
        for step in page.sections
        for line in (f"{step.heading}:", *(f"  {sentence}" for sentence in sentences(step)))
    ]
    return Explained(box_page.to_json(), lines, out, files)


def area_of_box(model: Model, image: Tensor, box: int, score: float) -> Area:
    """Return the area of detection number `box` in the resized picture, for which `box_to_explain` finds this box.

    image: (C, H, W) uint8. score: the minimum score of a box. Raises PellucidError if there is no such box with this
    score, and if another is at the same place.
    """
    steps = run_detector(model, image)
    index = steps.index_of(box)
    boxes = steps.decision.detections.boxes
    scores = steps.decision.detections.scores
    if scores[index] < score:
        raise PellucidError(f"box {box} has a score below {score:g}; explain it without --html")
    x0, y0, x1, y1 = boxes[index].round().long().tolist()
    area = y0, x0, max(y1, y0 + 1), max(x1, x0 + 1)
    nearest_index = int(_overlaps(area, boxes[scores >= score]).argmax())
    if nearest_index != index:
        raise PellucidError(f"box {box} lies where box {nearest_index + 1} is; explain it without --html")
    return area


def _overlaps(area: Area, boxes: Tensor) -> Tensor:
    """Return the IoU of an area with each of N boxes, (N,)."""
    top, left, bottom, right = area
    return box_iou(torch.tensor([[left, top, right, bottom]], dtype=boxes.dtype), boxes)[0]


def box_to_explain(model: Model, x: Tensor, choice: str | None, area: Area | None, score: float) -> ScoreToExplain:
    """Return the logit of a class for one box, by default of its own class, or a coordinate of it.

    See `Task.score_to_explain`. x: the resized picture (C, h, w), 0 to 1. area: selects the box with the highest IoU
    with it; by default the box with the highest score is used. score: the minimum score of a box. Raises PellucidError
    if there is no such box.
    """
    steps = run_detector(model, (x * 255).round().to(torch.uint8))
    boxes = steps.decision.detections.boxes[steps.decision.detections.scores >= score]  # by descending score
    if not len(boxes):
        raise PellucidError(f"no object with a score of at least {score:g} is found in the picture")
    index = 0
    if area is not None:
        overlaps = _overlaps(area, boxes)
        index = int(overlaps.argmax())  # if several boxes contain a click, the smallest
        if not overlaps[index]:
            raise PellucidError("there is no box at that place; point at one of the boxes")
    scorer, (label, side) = steps.scorer(index + 1, choice), steps.class_and_side(index + 1, choice)
    x0, y0, x1, y1 = boxes[index].round().long().tolist()
    name = steps.classes[label] if side is None else f"{SIDES[side]} of {steps.classes[label]}"
    scores = steps.outputs.candidates.scores[steps.decision.selected_indices[index]]
    options: dict[str, dict[str, Any]] = {method: {"layer": scorer.path} for method in LAYER_METHODS}
    options["gradcam"]["local"] = True  # HiResCAM: each position is weighted by its own gradient
    options["lrp"] = {"composite": WITHOUT_BIAS}
    return ScoreToExplain(
        label=f"{name} of box {index + 1}",
        net=scorer.net,
        params=scorer.params,
        x=steps.x,
        target=0,
        choices=(*steps.classes, *SIDES),
        scores=torch.cat([scores, scores.new_full((len(SIDES),), torch.nan)]),
        chosen=label if side is None else len(scores) + side,
        area=(y0, x0, y1, x1),
        options=options,
        are_logits=False,  # the scores of all choices are probabilities
    )
